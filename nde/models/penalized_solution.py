"""The solution of a solve that did more than was asked for."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from nde.models.extra_times import ExtraTimes
from nde.regularize import TrajectoryPenalty
from nde.solvers import Solution
from nde.solvers.retake import RetakenStep
from nde.solvers.solution import OnDemand
from nde.solvers.structure import State

__all__ = ["PenalizedSolution"]


class PenalizedSolution(Solution):
    """A solution whose solve did more than was asked for, which it leaves out; the rest is that of the whole.

    Args:
        solution: What the solve returned.
        ts: Output times that were asked for.
        augmented: Whether its state is ``{"y": ..., "integrals": ...}``.
        extra: Output times that were added.
        integrals: Integral of each penalty, shape ``(samples,)`` or ``()``.
    """

    def __init__(
        self,
        solution: Solution,
        ts: Tensor,
        augmented: bool,
        extra: ExtraTimes | None,
        integrals: dict[TrajectoryPenalty, Tensor],
    ) -> None:
        self.ts = ts
        self.integrals = integrals
        self.steps = solution.steps
        if augmented:
            self.carry1 = None  # that of another state
            self.steps = copy.copy(solution.steps)
            for name in ("y", "local_error"):
                value = getattr(solution.steps, name)
                if value is not None:
                    object.__setattr__(self.steps, name, value["y"])  # of a frozen record
        self._whole = solution
        self._augmented = augmented
        self._extra = extra
        self._recorded = solution._recorded

    def __getattr__(self, name: str) -> Any:
        # asked for what is not found here; the guard is for copies, which are made without the whole
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._whole, name)

    @OnDemand
    def ys(self) -> State:
        """See `Solution.ys`."""
        states = self._own(self._whole.ys)
        return states if self._extra is None else self._extra.without(states)

    @OnDemand
    def y1(self) -> State:
        """See `Solution.y1`."""
        return self._own(self._whole.y1)

    def __call__(self, t: Tensor | float) -> State:
        """See `Solution.__call__`."""
        return self._own(self._whole(t))

    def derivative(self, t: Tensor | float) -> State:
        """See `Solution.derivative`."""
        return self._own(self._whole.derivative(t))

    def retake(self, index: int, *, grad: str = "direct", reference: bool = False) -> RetakenStep:
        """See `Solution.retake`."""
        return self._whole.retake(index, grad=grad, reference=reference)

    def _own(self, state: State) -> State:
        return state["y"] if self._augmented else state
