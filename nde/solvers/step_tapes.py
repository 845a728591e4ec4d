"""Whole steps that keep their tape, so that a backward pass need not take them again.

What `nde.solvers.tape` does for methods that pull cotangents through the evaluations of the field themselves, this does
for any other: stochastic ones above all, whose steps are cheap and many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Method, StepResult
from nde.solvers.norms import Quotient
from nde.solvers.tape import measured

__all__ = ["StepGraph", "TapingMethod", "detached"]


@dataclass(frozen=True, slots=True)
class StepGraph:
    """One accepted step with its tape.

    Attributes:
        state: The state that it began at, a leaf.
        carry: Leaves of its carry.
        result: What the method returned, on the tape.
    """

    state: Tensor
    carry: Sequence[Tensor]
    result: StepResult


class TapingMethod:
    """A method whose steps keep their tape while it hands out plain values; all else is the method's own.

    A step is kept once the next one goes on from where it ended.

    Args:
        method: The method; its carry is None or not a function of the state.
        captured: Tensors that the field depends on; their memory is not the tape's.
        memory: Bytes that the states of all steps and the kept tapes may use together.
    """

    def __init__(self, method: Method, captured: Sequence[Tensor], memory: int) -> None:
        self._method = method
        self._captured = captured
        self._room = memory
        self._size: int | None = None  # bytes of a step's tape, measured at the first one
        self._graphs: deque[tuple[int, StepGraph]] = deque()
        self._count = 0
        self._last: tuple[Tensor, StepGraph | None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def step(self, field: VectorField, t: float, h: float, y: Tensor, carry: Any, workspace: Any = None) -> StepResult:
        """See `Method.step`."""
        self._keep(y)
        if self._room <= 0:
            result = self._method.step(field, t, h, y, carry, workspace)
            self._last = result.y1, None
            return result
        with torch.enable_grad():
            if self._size is None:
                graph, self._size = measured(
                    lambda: self._take(field, t, h, y, carry), lambda made: (made.result.y1,), self._captured
                )
            else:
                graph = self._take(field, t, h, y, carry)
        result = _plain(graph.result)
        self._last = result.y1, graph
        return result

    def _take(self, field: VectorField, t: float, h: float, y: Tensor, carry: Any) -> StepGraph:
        state = y.detach().requires_grad_()
        own, leaves = detached(carry)
        return StepGraph(state, leaves, self._method.step(field, t, h, state, own))

    def _keep(self, y: Tensor) -> None:
        """Keep the last step if ``y`` is where it ended."""
        if self._last is None or self._last[0] is not y:
            return
        _, graph = self._last
        self._last = None
        self._room -= y.nbytes
        if graph is not None and self._size is not None:
            self._graphs.append((self._count, graph))
            self._room -= self._size
        while self._room < 0 and self._graphs and self._size is not None:
            self._graphs.popleft()
            self._room += self._size
        self._count += 1

    def tapes(self, y1: Tensor) -> dict[int, StepGraph]:
        """Hand over the tapes that were kept, by the index of their step, given the state that was reached."""
        self._keep(y1)
        tapes = dict(self._graphs)
        self._graphs.clear()
        self._last = None
        return tapes


def detached(carry: Any) -> tuple[Any, list[Tensor]]:
    """Return a carry whose tensors are leaves, and these leaves."""
    if carry is None:
        return None, []
    if isinstance(carry, Tensor):
        leaf = carry.detach().requires_grad_()
        return leaf, [leaf]
    leaves = [tensor.detach().requires_grad_() for tensor in carry]
    return type(carry)(leaves), leaves


def _plain(result: StepResult) -> StepResult:
    """Return the same values without their tape."""
    carry, stiffness = result.carry, result.stiffness
    if isinstance(carry, Tensor):
        carry = carry.detach()
    elif carry is not None:
        carry = type(carry)(tensor.detach() for tensor in carry)
    if isinstance(stiffness, Quotient):
        (one, two), (three, four) = stiffness
        stiffness = Quotient((one.detach(), two.detach()), (three.detach(), four.detach()))
    elif stiffness is not None:
        stiffness = stiffness.detach()
    errors = None if result.errors is None else result.errors.detach()
    plain = StepResult(result.y1.detach(), carry, errors, stiffness, result.interior, result.unsolved)
    plain.iterations = result.iterations
    return plain
