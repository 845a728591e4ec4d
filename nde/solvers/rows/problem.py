"""What is to be solved row by row, after validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.controllers import Controller
from nde.solvers.events import Event
from nde.solvers.field import VectorField
from nde.solvers.method import Method, StepResult
from nde.solvers.norms import Quotient
from nde.solvers.rows.field import Counter, RowField, RowLayout

__all__ = ["RowProblem", "RowStepper", "take_rows"]


@dataclass(frozen=True)
class RowProblem:
    """Initial value problems, one per row.

    Attributes:
        field: The vector field.
        y0: Initial states, shape ``(rows, row size)``.
        ts: Output times on the user's tape, shape ``(T,)`` or ``(rows, T)``.
        times: The same on the host, shape ``(rows, T)``; NaN behind the last time of a row.
        counts: Number of output times of each row.
        method, controller, rtol, atol, max_steps, dt_min, dt_max, keep_local_errors: See `nde.solvers.problem.Problem`.
        events: The events to watch for.
    """

    field: RowField
    y0: Tensor
    ts: Tensor
    times: numpy.ndarray
    counts: numpy.ndarray
    method: Method
    controller: Controller
    rtol: float | Tensor
    atol: float | Tensor
    max_steps: int
    dt_min: float
    dt_max: float
    keep_local_errors: bool
    events: tuple[Event, ...]

    @property
    def layout(self) -> RowLayout:
        """Layout of the state."""
        return self.field.layout

    def with_field(self, counter: Counter, y0: Tensor, ts: Tensor) -> RowProblem:
        """Return the same problem, counted elsewhere, from another copy of its inputs."""
        field = RowField(self.field.function, self.layout, self.field.all_args, None, counter)
        return dataclasses.replace(self, field=field, y0=y0, ts=ts)

    def landings(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the times that steps must end on, and the index of the output time that each is.

        Both have shape ``(rows, landings)``; behind the last one of a row stands its last time again.
        """
        rows, last = self.times.shape[0], self.counts - 1
        asked = self.controller.landings()
        if asked is None:
            index = numpy.minimum(numpy.arange(1, self.times.shape[1])[None, :], last[:, None])
            return numpy.take_along_axis(self.times, index, 1), index
        ends = self.times[numpy.arange(rows), last]
        if not len(asked):
            return ends[:, None], last[:, None]
        inner = []
        for start, end in zip(self.times[:, 0], ends, strict=True):
            low, high = sorted((start, end))
            inner.append(sorted({float(time) for time in asked if low < time < high}, reverse=bool(end < start)))
        width = max(map(len, inner)) + 1
        targets, anchors = numpy.tile(ends[:, None], (1, width)), numpy.tile(last[:, None], (1, width))
        for row, constants in enumerate(inner):
            targets[row, : len(constants)] = constants
            anchors[row, : len(constants)] = -1
        return targets, anchors


class _FlatField(VectorField):
    """The field of the only row, for methods that take flat vectors."""

    def __init__(self, field: RowField) -> None:
        super().__init__(field.function, field.layout.structure, field.args)
        self._counter = field.counter

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        self._counter.calls += 1
        self._counter.rows += 1
        return super().__call__(t, y)


class RowStepper:
    """A method's steps on rows; where the whole state is one row, of any method.

    Args:
        method: The method.
        layout: The layout of the state.
    """

    def __init__(self, method: Method, layout: RowLayout) -> None:
        self.method = method
        self.flat = layout.samples is None

    def start(self, field: RowField, t: Tensor, y: Tensor) -> Any:
        """See `Method.start`."""
        if self.flat:
            return self.method.start(_FlatField(field), t.reshape(()), y[0])
        return self.method.start(field, t, y)  # type: ignore[arg-type]  # a field on rows

    def slope(self, field: RowField, t: Tensor, y: Tensor, carry: Any) -> Tensor:
        """See `Method.slope`."""
        if self.flat:
            return self.method.slope(_FlatField(field), t.reshape(()), y[0], carry).unsqueeze(0)
        return self.method.slope(field, t, y, carry)  # type: ignore[arg-type]

    def workspace(self, y: Tensor) -> Any:
        """See `Method.workspace`; None where the whole state is one row."""
        return None if self.flat else self.method.workspace(y)

    def step(self, field: RowField, t: Tensor, h: Tensor, y: Tensor, carry: Any, workspace: Any = None) -> StepResult:
        """See `Method.step`."""
        if not self.flat:
            return self.method.step(field, t, h.to(y.dtype), y, carry, workspace)  # type: ignore[arg-type]
        result = self.method.step(_FlatField(field), t.reshape(()), h.reshape(()), y[0], carry)
        stiffness = result.stiffness
        if isinstance(stiffness, Quotient):
            (one, two), (three, four) = stiffness
            stiffness = Quotient((one[None], two[None]), (three[None], four[None]))
        elif stiffness is not None:
            stiffness = stiffness.reshape(1)
        errors = None if result.errors is None else result.errors.unsqueeze(1)
        return StepResult(result.y1.unsqueeze(0), result.carry, errors, stiffness, result)

    def interpolate(
        self, field: RowField, t: Tensor, h: Tensor, y: Tensor, result: StepResult, theta: Tensor
    ) -> Tensor:
        """Return the solution of each row at ``t + theta * h``; ``theta`` has shape ``(rows, 1)``."""
        if not self.flat:
            if isinstance(result.interior, PickedRows):
                result = dataclasses.replace(result, interior=result.interior.all())
            return self.method.interpolate(field, t, h.to(y.dtype), y, result, [theta])[0]  # type: ignore[arg-type]
        # rows are places within the one step here
        thetas = list(theta.reshape(-1).unbind(0))
        return self.method.interpolate(_FlatField(field), t[0, 0], h[0, 0], y[0], result.interior, thetas)

    def take(self, result: StepResult, index: Tensor) -> StepResult:
        """Return the result of some rows, for `interpolate`."""
        if self.flat:
            return result
        return StepResult(result.y1.index_select(0, index), None, None, None, take_rows(result.interior, index))


class PickedRows:
    """Some rows of what a step leaves for its interpolation, taken when they are needed, which is rarely.

    Args:
        interior: What the step left.
        index: The rows.
    """

    def __init__(self, interior: Any, index: Tensor) -> None:
        self.interior = interior
        self.index = index

    def take_rows(self, index: Tensor) -> Any:
        """Return rows of these rows."""
        return take_rows(self.interior, self.index[index])

    def all(self) -> Any:
        """Return all of these rows."""
        return take_rows(self.interior, self.index)


def take_rows(value: Any, index: Tensor) -> Any:
    """Return the rows of what a step leaves for its interpolation, or of its carry."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        return value.index_select(0, index)
    if hasattr(value, "take_rows"):
        return value.take_rows(index)
    if isinstance(value, (tuple, list)):
        items: Sequence[Any] = [take_rows(item, index) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def as_column(values: numpy.ndarray, device: torch.device | None) -> Tensor:
    """Return a host vector as a column, shape ``(rows, 1)``, float64."""
    return torch.from_numpy(numpy.ascontiguousarray(values)).to(device).unsqueeze(-1)
