"""What is to be solved row by row, after validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        step_ts: Times that steps must end on.
        jump_ts: Times at which the field is discontinuous.
        norm: See `nde.solvers.problem.Problem`.
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

    @property
    def layout(self) -> RowLayout:
        """Layout of the state."""
        return self.field.layout

    def with_field(self, counter: Counter, y0: Tensor, ts: Tensor) -> RowProblem:
        """Return the same problem, counted elsewhere, from another copy of its inputs."""
        field = RowField(self.field.function, self.layout, self.field.all_args, None, counter)
        return dataclasses.replace(self, field=field, y0=y0, ts=ts)

    def landings(self) -> Landings:
        """Return the times that steps must end on."""
        rows, last = self.times.shape[0], self.counts - 1
        ends = self.times[numpy.arange(rows), last]
        asked = self.controller.landings()
        if asked is not None and not len(asked) and not self.step_ts and not self.jump_ts:
            return Landings(ends[:, None], ends[:, None], last[:, None])
        every: list[list[tuple[float, float, int]]] = []
        for row in range(rows):
            low, high = sorted((self.times[row, 0], ends[row]))
            up = bool(ends[row] > self.times[row, 0])
            points: dict[float, tuple[float, float, int]] = {}
            for time in (*(asked or ()), *self.step_ts):
                points[float(time)] = (float(time), float(time), -1)
            if asked is None:
                for index in range(1, int(last[row])):
                    time = float(self.times[row, index])
                    points[time] = (time, time, index)
            for time in self.jump_ts:
                before, after = around(time, self.layout.structure.time_dtype)
                points[float(time)] = (before, after, -1) if up else (after, before, -1)
            inner = sorted((time for time in points if low < time < high), reverse=not up)
            every.append([*(points[time] for time in inner), (float(ends[row]), float(ends[row]), int(last[row]))])
        width = max(map(len, every))
        table = numpy.array([[*points, *[points[-1]] * (width - len(points))] for points in every])
        return Landings(table[:, :, 0], table[:, :, 1], table[:, :, 2].astype(int))


class Landings(NamedTuple):
    """Times that steps must end on, shape ``(rows, landings)``; behind the last one of a row stands its last again.

    Attributes:
        before: Where the steps end.
        after: Where the next ones begin: later than that across a discontinuity.
        anchors: Index of the output time that each is; -1 if it is none.
    """

    before: numpy.ndarray
    after: numpy.ndarray
    anchors: numpy.ndarray


def around(time: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the nearest times below and above one, as far from it as a field that sees ``dtype`` can tell."""
    # a few units, because the end of a step is the rounded sum of its beginning and its size
    room = 4 * torch.finfo(dtype).eps * max(abs(time), torch.finfo(dtype).tiny)
    return time - room, time + room


class _FlatField(VectorField):
    """The field of the only row, for methods that take flat vectors."""

    def __init__(self, field: RowField) -> None:
        super().__init__(field.function, field.layout.structure, field.args)
        self._counter = field.counter

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        inspect = self._counter.inspect
        if inspect is not None:
            self._counter.inspect = None
            with torch.enable_grad():
                value = self(t, y)
            inspect(value, y)
            return value if torch.is_grad_enabled() else value.detach()
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
