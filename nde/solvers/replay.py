"""Cotangents through a recorded step of any method: replay it under autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde.solvers.method import Method, Reversal, StepCotangents, TimeCotangents
from nde.solvers.norms import Quotient
from nde.solvers.step_tapes import StepGraph, detached
from nde.solvers.tape import StepTape

__all__ = ["AutogradReverser", "AutogradUndoer", "accumulate"]


def accumulate(totals: list[Tensor | None], parts: Sequence[Tensor | None]) -> None:
    """Add ``parts`` to ``totals`` in place; None counts as zero."""
    for index, part in enumerate(parts):
        if part is None:
            continue
        total = totals[index]
        if total is None:
            totals[index] = part.clone()  # autograd may hand out one tensor twice: never add into it
        else:
            total.add_(part)


class AutogradReverser:
    """Replays each step with the tape on; see `nde.solvers.method.StepReverser`.

    A carry that is a function of the state is computed again from it, inside the tape of the step that uses it; any
    other carry is a leaf whose cotangent is handed to the step before.

    Args:
        method: The method.
        reversal: What is asked for.
        at_carry1: Cotangents of the last carry's tensors; None if they have none.

    Attributes:
        carry_cotangent: Cotangents of the tensors of the carry at the beginning of the last step that was pulled.
    """

    def __init__(self, method: Method, reversal: Reversal, at_carry1: list[Tensor | None] | None = None) -> None:
        self.method = method
        self.reversal = reversal
        self.gradients: list[Tensor | None] = [None] * len(reversal.targets)
        self.carry_cotangent = at_carry1
        self._first: tuple[float, Tensor] | None = None

    def pull(
        self,
        t: float,
        h: float,
        y: Tensor,
        y1: Tensor,
        carry: Any,
        cotangents: StepCotangents,
        tape: StepTape | StepGraph | None,
    ) -> tuple[Tensor, TimeCotangents | None]:
        """See `StepReverser.pull`."""
        method, field, norm = self.method, self.reversal.field, self.reversal.norm
        with torch.enable_grad():
            time, size = (_leaf(t, y), _leaf(h, y)) if self.reversal.with_times else (t, h)
            thetas: list[Any] = list(cotangents.thetas)
            if self.reversal.with_times:
                thetas = [_leaf(theta, y) for theta in thetas]
            if isinstance(tape, StepGraph):
                state, carry_leaves, result = tape.state, list(tape.carry), tape.result
            else:
                state = y.detach().requires_grad_()
                if method.carry_is_function_of_state:
                    carry_leaves = []
                    carry = method.start(field, time, state)
                else:
                    carry, carry_leaves = detached(carry)
                result = method.step(field, time, size, state, carry)
            pairs: list[tuple[Tensor | None, Tensor | None]] = [(result.y1, cotangents.y1)]
            if cotangents.ratio is not None and result.errors is not None:
                ratio = norm.ratio(result.errors, state, result.y1)
                pairs.append((ratio, torch.full_like(ratio, cotangents.ratio)))
            if cotangents.local_error is not None and result.errors is not None:
                pairs.append((norm.local_error(result.errors, state, result.y1), cotangents.local_error))
            if cotangents.stiffness is not None and result.stiffness is not None:
                stiffness = result.stiffness
                if isinstance(stiffness, Quotient):
                    stiffness = norm.quotient(stiffness, result.y1)
                pairs.append((stiffness, torch.full_like(stiffness, cotangents.stiffness)))
            if cotangents.outputs is not None:
                inner = method.interpolate(field, time, size, state, result, thetas)
                pairs.append((inner, cotangents.outputs))
            if self.carry_cotangent is not None:
                pairs.extend(zip(_tensors(result.carry), self.carry_cotangent, strict=True))
        used = [(out, cot) for out, cot in pairs if out is not None and cot is not None and out.requires_grad]
        times = [time, size, *thetas] if self.reversal.with_times else []
        inputs = [state, *carry_leaves, *times, *self.reversal.targets]
        grads = torch.autograd.grad(
            [out for out, _ in used],
            inputs,
            [cot for _, cot in used],
            allow_unused=True,
            retain_graph=self.reversal.through,
        )
        kept = 1 + len(carry_leaves)
        self.carry_cotangent = list(grads[1:kept]) if carry_leaves else None
        self._first = (t, state.detach())
        accumulate(self.gradients, grads[kept + len(times) :])
        state_cotangent = torch.zeros_like(y) if grads[0] is None else grads[0]
        if not self.reversal.with_times:
            return state_cotangent, None
        zero = torch.zeros((), dtype=y.dtype, device=y.device)
        at, step, *inside = (zero if grad is None else grad for grad in grads[kept : kept + len(times)])
        return state_cotangent, TimeCotangents(at, step, torch.stack(inside) if inside else None)

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """See `StepReverser.finish`."""
        if self.carry_cotangent is None or self._first is None:
            return None, None
        t, y = self._first
        with torch.enable_grad():
            state = y.detach().requires_grad_()
            time = _leaf(t, y)
            carry = _tensors(self.method.start(self.reversal.field, time, state))
        used = [(c, g) for c, g in zip(carry, self.carry_cotangent, strict=True) if g is not None and c.requires_grad]
        if not used:
            return None, None
        grads = torch.autograd.grad(
            [c for c, _ in used],
            [state, time, *self.reversal.targets],
            [g for _, g in used],
            allow_unused=True,
            retain_graph=self.reversal.through,
        )
        accumulate(self.gradients, grads[2:])
        return grads[0], grads[1]


class AutogradUndoer:
    """Undoes each step off the tape, then replays it on the tape; see `nde.solvers.method.StepUndoer`.

    Args:
        method: A reversible method.
        reversal: What is asked for.
        y1: State at the end of the last step.
        carry1: Carry there, a tuple.
        at_carry1: Cotangents of its tensors; None if they have none.
    """

    def __init__(
        self, method: Method, reversal: Reversal, y1: Tensor, carry1: Any, at_carry1: Sequence[Tensor | None] | None
    ) -> None:
        self._reverser = AutogradReverser(method, reversal, None if at_carry1 is None else list(at_carry1))
        self._end = y1, carry1 or None
        self.gradients = self._reverser.gradients

    def pull(self, t: float, h: float, cotangents: StepCotangents) -> tuple[Tensor, TimeCotangents | None]:
        """See `StepUndoer.pull`."""
        reverser, (y1, carry1) = self._reverser, self._end
        with torch.no_grad():
            self._end = y, carry = reverser.method.undo(reverser.reversal.field, t, h, y1, carry1)
        return reverser.pull(t, h, y, y1, carry, cotangents, None)

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """See `StepUndoer.finish`."""
        return self._reverser.finish()

    def leave(self) -> Sequence[Tensor | None]:
        """See `StepUndoer.leave`."""
        return self._reverser.carry_cotangent or []


def _leaf(value: float, like: Tensor) -> Tensor:
    return torch.full((), value, dtype=torch.float64, device=like.device).requires_grad_()


def _tensors(carry: Any) -> list[Tensor]:
    if carry is None:
        return []
    return [carry] if isinstance(carry, Tensor) else list(carry)
