"""Which output times lie in a step, and the rows that are computed for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.loop import AcceptedStep
from nde.solvers.problem import Problem
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import may_move

__all__ = ["NO_OUTPUTS", "OutputRows", "RecordedStep", "StepOutputs"]


@dataclass(slots=True)
class StepOutputs:
    """Inner output times reached by one step.

    Attributes:
        first: Index of the first of them.
        thetas: Where those inside the step lie, as fractions of it.
        at_end: Index of the inner output time that is the step's end, whose state needs no interpolation; None if
            there is none.
    """

    first: int
    thetas: tuple[Any, ...]  # host floats, or 0-d tensors where output times are differentiated
    at_end: int | None


NO_OUTPUTS = StepOutputs(0, (), None)


@dataclass(slots=True)
class RecordedStep:
    """An accepted step: all that is needed to take it again. See `nde.solvers.loop.AcceptedStep`."""

    t: float
    t1: float
    h: float
    start: int | None
    end: int | None
    outputs: StepOutputs
    y: Tensor | None
    carry: Any


class OutputRows:
    """Collects the states at the inner output times as steps arrive; the first and the last need no row.

    Args:
        problem: The problem.
        axis: The time axis; it hands out tensors where output times are differentiated.
    """

    def __init__(self, problem: Problem, axis: TimeAxis) -> None:
        self.problem = problem
        self.axis = axis
        self._direction = 1.0 if problem.times[-1] > problem.times[0] else -1.0
        self._rows: list[Tensor] = []
        self._next = 1

    def read(self, step: AcceptedStep) -> StepOutputs:
        """Compute the rows for the inner output times in a step."""
        times, first, end = self.problem.times, self._next, step.t1
        last = len(times) - 1
        if first == last:
            return NO_OUTPUTS
        index = first
        while index < last and (times[index] - end) * self._direction < 0:
            index += 1
        at_end = index if index < last and times[index] == end else None
        if at_end is not None and step.end != at_end and may_move(self.problem.ts):
            index, at_end = index + 1, None  # the end of this step is a constant, the output time is not
        thetas: tuple[Any, ...] = ()
        if index > first:
            method, field, axis = self.problem.method, self.problem.field, self.axis
            t, h = axis.time(step.t, step.start), axis.size(step.t, step.start, step.t1, step.end)
            thetas = tuple(axis.theta(i, t, h) for i in range(first, index))
            self._rows.append(method.interpolate(field, t, h, step.y, step.result, thetas))
        if at_end is not None:
            self._rows.append(step.result.y1.unsqueeze(0))
            index += 1
        self._next = index
        return StepOutputs(first, thetas, at_end)

    def result(self) -> Tensor:
        """Return the inner rows, shape ``(T - 2, size)``; NaN where the solve did not come."""
        y0 = self.problem.y0
        missing = len(self.problem.times) - 1 - self._next
        unreached = [torch.full_like(y0, torch.nan).expand(missing, -1)] if missing else []
        rows = [*self._rows, *unreached]
        return torch.cat(rows) if rows else y0.new_empty(0, y0.shape[0])
