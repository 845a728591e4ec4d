"""Steps that can be undone: a second state beside the solution's, and the backward pass that keeps no states.

A pair of states ``(y, z)`` moves from ``t`` to ``t1`` by ``z1 = z + 2 (y - z) + change(z)`` and
``y1 = y + (change(z) + change(z1)) / 2``, where ``change`` is ``f h`` or ``f h + g dW``. With the middle
``m = y + change(z) / 2`` this reads ``z1 = 2 m - z``, ``y1 = m + change(z1) / 2``, which has the same form backwards.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Method, Reversal, Scalar, StepCotangents, StepResult, TimeCotangents
from nde.solvers.replay import accumulate

__all__ = ["PairUndoer", "ReversibleHeunODE", "ReversiblePair"]

Change = Callable[[Sequence[Tensor]], Tensor]


class ReversiblePair(Method):
    """A method whose carry is ``(z, *values)``: the second state, and what the field is there.

    It makes one evaluation per step, at ``z1``, and its embedded difference is that to the Euler step.

    Reference:
        Kidger, Foster, Li, Lyons (2021), Efficient and accurate gradients for neural SDEs, algorithms 1 and 2.
    """

    carry_is_function_of_state = False
    judged_later = True
    reversible = True

    @abstractmethod
    def evaluate(self, field: VectorField, t: Scalar, z: Tensor) -> tuple[Any, ...]:
        """Return what the field is at a time and a state: the drift first."""

    @abstractmethod
    def change(self, field: VectorField, t: Scalar, h: Scalar) -> Change:
        """Return the linear function that turns the field's values into a change over the step from ``t``."""

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """Return the first carry: both states are one."""
        return (y, *self.evaluate(field, t, y))

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """Return the drift of the carry."""
        drift: Tensor = carry[1]
        return drift

    def advance(self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """Take one step."""
        z, *values = carry
        change = self.change(field, t, h)
        first = change(values)
        middle = torch.add(y, first, alpha=0.5)
        carry1 = self.start(field, t + h, torch.lerp(z, middle, 2.0))
        second = change(carry1[1:])
        error = torch.sub(second, first).mul_(0.5)
        return StepResult(torch.add(middle, second, alpha=0.5), carry1, error.unsqueeze(0), None, error)

    def undo(self, field: VectorField, t: Scalar, h: Scalar, y1: Tensor, carry1: Any) -> tuple[Tensor, Any]:
        """See `Method.undo`."""
        z1, *values1 = carry1
        change = self.change(field, t, h)
        middle = torch.sub(y1, change(values1), alpha=0.5)
        carry = self.start(field, t, torch.lerp(z1, middle, 2.0))
        return torch.sub(middle, change(carry[1:]), alpha=0.5), carry

    def undoer(
        self,
        reversal: Reversal,
        t1: float,
        y1: Tensor,
        carry1: Any,
        at_carry1: Sequence[Tensor | None] | None,
    ) -> PairUndoer:
        """See `Method.undoer`."""
        return PairUndoer(self, reversal, t1, y1, carry1[0], at_carry1)


class ReversibleHeunODE(ReversiblePair):
    """The reversible Heun method for ordinary equations.

    Its linear stability is that of the leapfrog method, an interval of the imaginary axis: decaying modes leave an
    oscillation between both states that grows slowly. Its use is the memory of ``adjoint="reversible"``.
    """

    name = "reversible_heun"
    order = 2
    error_order = 2
    interpolation_order = 2
    source = "Kidger, Foster, Li, Lyons (2021), Efficient and accurate gradients for neural SDEs, algorithm 1"

    def evaluate(self, field: VectorField, t: Scalar, z: Tensor) -> tuple[Tensor]:
        """See `ReversiblePair.evaluate`."""
        return (field(t, z),)

    def change(self, field: VectorField, t: Scalar, h: Scalar) -> Change:
        """See `ReversiblePair.change`."""
        return lambda values: h * values[0]

    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        """See `Method.step`."""
        return self.advance(field, t, h, y, carry)

    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        """Return the parabola through both ends whose slopes there are the field's values."""
        change, bend = result.y1 - y, result.interior
        return torch.stack([y + theta * change - theta * (1 - theta) * bend for theta in thetas])


@dataclass(slots=True)
class _Node:
    """The field's values at the second state, on a tape of their own."""

    time: Tensor | None
    z: Tensor
    values: Sequence[Any]


class PairUndoer:
    """Undoes the steps of a `ReversiblePair` and pulls cotangents through them; see `StepUndoer`.

    The values of the field at a second state serve the step that ends there and the step that begins there. They are
    computed once, on the tape, and pulled through once, when both steps' cotangents are known.

    Args:
        method: The method.
        reversal: What is asked for.
        t1: End of the last step.
        y1, z1: Both states there.
        at_carry1: Cotangents of ``z1`` and of the field's values at it; None if they have none.
    """

    def __init__(
        self,
        method: ReversiblePair,
        reversal: Reversal,
        t1: float,
        y1: Tensor,
        z1: Tensor,
        at_carry1: Sequence[Tensor | None] | None,
    ) -> None:
        self.method = method
        self.reversal = reversal
        self.gradients: list[Tensor | None] = [None] * len(reversal.targets)
        self._y = y1
        self._node = self._evaluate(t1, z1)
        at_z, *at_values = at_carry1 or [None]
        self._at_z = torch.zeros_like(z1) if at_z is None else at_z
        # what the step that begins at the node uses of it
        self._later = [
            (value, cotangent)
            for value, cotangent in zip(self._node.values, at_values, strict=False)
            if cotangent is not None
        ]

    def pull(self, t: float, h: float, cotangents: StepCotangents) -> tuple[Tensor, TimeCotangents | None]:
        """See `StepUndoer.pull`."""
        change = self.method.change(self.reversal.field, t, h)
        y1, node = self._y, self._node
        with torch.enable_grad():
            second = 0.5 * change(node.values)
        middle = y1 - second.detach()
        self._node = self._evaluate(t, 2 * middle - node.z.detach())
        with torch.enable_grad():
            first = 0.5 * change(self._node.values)
        self._y = middle - first.detach()
        at_y, at_y1, at_error, at_thetas = self._outputs(t, h, y1, (second - first).detach(), cotangents)
        at_second = at_y1 if at_error is None else at_y1 + at_error
        at_z1, at_t1 = self._leave(node, [(second, at_second), *self._later])
        at_middle = torch.add(at_y1, at_z1, alpha=2)
        at_first = at_middle if at_error is None else at_middle - at_error
        self._later, self._at_z = [(first, at_first)], -at_z1
        times = None
        if at_t1 is not None:
            # only ordinary equations ask for it: there, a change is the size times the field's value
            at_size = (torch.dot(at_first, first.detach()) + torch.dot(at_second, second.detach())) / h
            times = TimeCotangents(at_t1, at_t1 + at_size, at_thetas)
        return at_middle if at_y is None else at_middle + at_y, times

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """See `StepUndoer.finish`."""
        return self._leave(self._node, self._later)

    def leave(self) -> Sequence[Tensor | None]:
        """See `StepUndoer.leave`; the field's values are functions of the second state, whose cotangent is all."""
        return [self.finish()[0], *[None] * len(self._node.values)]

    def _evaluate(self, t: float, z: Tensor) -> _Node:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            time = None
            if self.reversal.with_times:
                time = torch.full((), t, dtype=torch.float64, device=z.device).requires_grad_()
            return _Node(time, leaf, self.method.evaluate(self.reversal.field, t if time is None else time, leaf))

    def _leave(self, node: _Node, used: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor | None]:
        """Pull through a node's tape, and return the cotangents of its state and its time."""
        at_time = None if node.time is None else torch.zeros_like(node.time)
        pairs = [(value, cotangent) for value, cotangent in used if value.requires_grad]
        if not pairs:
            return self._at_z, at_time
        times = [] if node.time is None else [node.time]
        at_z, *found = torch.autograd.grad(
            [value for value, _ in pairs],
            [node.z, *times, *self.reversal.targets],
            [cotangent for _, cotangent in pairs],
            allow_unused=True,
            retain_graph=self.reversal.through,
        )
        if times and found[0] is not None:
            at_time = found[0]
        accumulate(self.gradients, found[len(times) :])
        return self._at_z if at_z is None else self._at_z + at_z, at_time

    def _outputs(
        self, t: float, h: float, y1: Tensor, error: Tensor, cotangents: StepCotangents
    ) -> tuple[Tensor | None, Tensor, Tensor | None, Tensor | None]:
        """Return the cotangents of both ends, of the error vector and of the thetas, from those of a step's outputs."""
        at_y, at_y1, at_error, at_thetas = None, cotangents.y1, cotangents.local_error, None
        if cotangents.ratio is not None:
            norm = self.reversal.norm
            of_errors, at_y, more = norm.pull_ratio(error.unsqueeze(0), self._y, y1, cotangents.ratio)
            at_error = of_errors[0] if at_error is None else at_error + of_errors[0]
            at_y1 = at_y1 + more
        if cotangents.outputs is not None:
            with torch.enable_grad():
                ends = [tensor.detach().requires_grad_() for tensor in (self._y, y1, error)]
                thetas = error.new_tensor(cotangents.thetas).requires_grad_()
                result = StepResult(ends[1], None, None, None, ends[2])
                rows = self.method.interpolate(self.reversal.field, t, h, ends[0], result, thetas.unbind(0))
            more_y, more, more_error, at_thetas = torch.autograd.grad(
                rows, [*ends, thetas], cotangents.outputs, allow_unused=True
            )
            at_y, at_y1 = more_y if at_y is None else at_y + more_y, at_y1 + more
            if more_error is not None:
                at_error = more_error if at_error is None else at_error + more_error
        return at_y, at_y1, at_error, at_thetas
