"""What is to be solved row by row, after validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.controllers import Controller
from nde.solvers.events import Event
from nde.solvers.method import Method, StepResult
from nde.solvers.norms import Quotient
from nde.solvers.rows.field import Counter, RowField, RowLayout
from nde.solvers.rows.landings import Gap, Landings, gaps, row_landings, table_of
from nde.solvers.rows.saving import Saver
from nde.solvers.watching import StepWatcher

__all__ = ["PickedRows", "RowProblem", "RowStepper", "as_column", "joined_rows", "put_rows", "spread_rows", "take_rows"]


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
        step_ts: Times that steps must end on.
        jump_ts: Times at which the field is discontinuous.
        norm: See `nde.solvers.problem.Problem`.
        saver: What is kept at output times; None for the states.
        lands: Whether steps end on every output time.
        snap: Moves the ends of steps, ``(t, t1) -> t1``, where some times are cheaper than others; None to leave them.
        on_accept: Called with the field of some rows, the steps of them that were accepted, their states at the
            beginnings and what the method returned; None for nothing.
        watcher: See `nde.solvers.problem.Problem`.
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
    step_ts: tuple[float, ...] = ()
    jump_ts: tuple[float, ...] = ()
    norm: Callable[[Any], Tensor] | None = None
    saver: Saver | None = None
    lands: bool = False
    snap: Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray] | None = None
    on_accept: Callable[[RowField, Any, Tensor, StepResult], None] | None = None
    watcher: StepWatcher | None = None

    @property
    def layout(self) -> RowLayout:
        """Layout of the state."""
        return self.field.layout

    def stepper(self) -> RowStepper:
        """Return the method's steps on rows."""
        return RowStepper(self.method, self.layout, inward=bool(self.jump_ts))

    def with_field(self, counter: Counter, y0: Tensor, ts: Tensor) -> RowProblem:
        """Return the same problem, counted elsewhere, from another copy of its inputs."""
        return dataclasses.replace(self, field=self.field.counted(counter), y0=y0, ts=ts)

    def off_tape(self) -> RowProblem:
        """Return the same problem with nothing that autograd would record."""
        return dataclasses.replace(self, field=self.field.off_tape(), y0=self.y0.detach(), ts=self.ts.detach())

    def spans(self) -> list[tuple[float, float]]:
        """Return the first and the last time of each row."""
        ends = self.times[numpy.arange(len(self.counts)), self.counts - 1]
        return list(zip(self.times[:, 0].tolist(), ends.tolist(), strict=True))

    def landings(self) -> Landings:
        """Return the times that steps must end on."""
        rows, last = self.times.shape[0], self.counts - 1
        ends = self.times[numpy.arange(rows), last]
        asked = self.controller.landings()
        on_outputs = asked is None or self.lands
        if not on_outputs and not len(asked or ()) and not self.step_ts and not self.jump_ts:
            return Landings(self.times[:, 0], ends[:, None], ends[:, None], last[:, None])
        across: dict[tuple[float, float], list[Gap]] = {}
        every = []
        fixed = [float(time) for time in (*(asked or ()), *self.step_ts)]
        for row in range(rows):
            times = self.times[row, : last[row] + 1].tolist()
            span = min(times[0], times[-1]), max(times[0], times[-1])
            if span not in across:
                across[span] = gaps(self.jump_ts, *span, self.layout.structure.time_dtype)
            every.append(row_landings(times, fixed, on_outputs, across[span]))
        return table_of(every)


class RowStepper:
    """A method's steps on rows; where the whole state is one row, of any method.

    Args:
        method: The method.
        layout: The layout of the state.
        inward: Whether step sizes are rounded towards zero: that of a narrow dtype, rounded up, would carry the last
            stage across a discontinuity.
    """

    def __init__(self, method: Method, layout: RowLayout, inward: bool = False) -> None:
        self.method = method
        self._inward = inward
        self.flat = layout.samples is None

    def start(self, field: RowField, t: Tensor, y: Tensor) -> Any:
        """See `Method.start`."""
        if self.flat:
            return self.method.start(field.flat(), t.reshape(()), y[0])
        return self.method.start(field, t, y)  # type: ignore[arg-type]  # a field on rows

    def slope(self, field: RowField, t: Tensor, y: Tensor, carry: Any) -> Tensor:
        """See `Method.slope`."""
        if self.flat:
            return self.method.slope(field.flat(), t.reshape(()), y[0], carry).unsqueeze(0)
        return self.method.slope(field, t, y, carry)  # type: ignore[arg-type]

    def workspace(self, y: Tensor) -> Any:
        """See `Method.workspace`; None where the whole state is one row."""
        return None if self.flat else self.method.workspace(y)

    def step(self, field: RowField, t: Tensor, h: Tensor, y: Tensor, carry: Any, workspace: Any = None) -> StepResult:
        """See `Method.step`."""
        if not self.flat:
            if field.stochastic:
                size = h
            else:
                size = _inward(h, y.dtype) if self._inward else h.to(y.dtype)
            return self.method.step(field, t, size, y, carry, workspace)  # type: ignore[arg-type]
        result = self.method.step(field.flat(), t.reshape(()), h.reshape(()), y[0], carry)
        stiffness = result.stiffness
        if isinstance(stiffness, Quotient):
            (one, two), (three, four) = stiffness
            stiffness = Quotient((one[None], two[None]), (three[None], four[None]))
        elif stiffness is not None:
            stiffness = stiffness.reshape(1)
        errors = None if result.errors is None else result.errors.unsqueeze(1)
        rows = StepResult(result.y1.unsqueeze(0), result.carry, errors, stiffness, result, result.unsolved)
        rows.iterations = result.iterations
        return rows

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
        return self.method.interpolate(field.flat(), t[0, 0], h[0, 0], y[0], result.interior, thetas)

    def take(self, result: StepResult, index: Tensor) -> StepResult:
        """Return the result of some rows, for `interpolate`."""
        if self.flat:
            return result
        return StepResult(result.y1.index_select(0, index), None, None, None, take_rows(result.interior, index))


def _inward(h: Tensor, dtype: torch.dtype) -> Tensor:
    """Return step sizes in another dtype, none of them longer than before, with the same derivative."""
    size = h.to(dtype)
    with torch.no_grad():
        less = torch.where(size.double().abs() > h.abs(), torch.nextafter(size, torch.zeros_like(size)) - size, 0.0)
    return size + less


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


def put_rows(value: Any, index: Tensor, rows: Any) -> Any:
    """Return a carry with other rows at some places; None where a carry is no tensor and no tuple of them."""
    if isinstance(value, Tensor) and isinstance(rows, Tensor):
        return value.index_copy(0, index, rows)
    if isinstance(value, tuple) and isinstance(rows, tuple):
        return tuple(put_rows(part, index, row) for part, row in zip(value, rows, strict=True))
    return None


def spread_rows(result: StepResult, index: Tensor, count: int) -> StepResult:
    """Return what a step of some of many rows left, as one of all of them, with zeros for the others."""

    def spread(value: Any, axis: int = 0) -> Any:
        if isinstance(value, Tensor):
            shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
            return value.new_zeros(shape).index_copy(axis, index, value)
        if isinstance(value, Quotient):
            return Quotient(*(spread(part) for part in value))
        return tuple(spread(part) for part in value) if isinstance(value, tuple) else value

    return StepResult(
        spread(result.y1),
        spread(result.carry),
        spread(result.errors, 1),
        spread(result.stiffness),
        spread(result.interior),
        result.unsolved,
    )


def joined_rows(carries: Sequence[Any]) -> Any:
    """Return the carries of many iterations as one."""
    if isinstance(carries[0], Tensor):
        return torch.cat(list(carries))
    return tuple(joined_rows(parts) for parts in zip(*carries, strict=True))


def as_column(values: numpy.ndarray, device: torch.device | None) -> Tensor:
    """Return a host vector as a column, shape ``(rows, 1)``, float64."""
    column = torch.from_numpy(values[:, None])
    return column if device is None or device.type == "cpu" else column.to(device)
