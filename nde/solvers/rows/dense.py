"""The dense output of a row solve: the steps that are asked for are taken again, all of them in one batch."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepResult
from nde.solvers.rows.field import RowField
from nde.solvers.rows.moving import step_shifts
from nde.solvers.rows.problem import RowProblem, as_column, joined_rows, take_rows
from nde.solvers.rows.record import RowRecord
from nde.solvers.rows.steps import shift_of
from nde.solvers.structure import State
from nde.solvers.transforms import as_host, transforms_active

__all__ = ["RowDense"]


class RowDense:
    """Evaluates the solution anywhere.

    Args:
        problem: The problem.
        states: States at the ends of all accepted steps, in the order of the record, on the user's tape.
        record: What happened.
        event_times: Times of all occurrences of events, on the user's tape; None without events.
        continuous: Whether the derivatives of the states are those at constant times, as the continuous adjoint has
            them, and not those of the ends of steps that move.
    """

    def __init__(
        self,
        problem: RowProblem,
        states: Tensor,
        record: RowRecord,
        event_times: Tensor | None = None,
        continuous: bool = False,
    ) -> None:
        self.problem = problem
        self.stepper = problem.stepper()
        sample = record.joined("rows").astype(int)
        t, h, t1 = (record.joined(name) for name in ("t", "h", "t1"))
        # steps of one sample follow each other in the order in which they were recorded
        order = numpy.argsort(sample, kind="stable")
        self._sample, self._t, self._h, self._t1 = sample[order], t[order], h[order], t1[order]
        count = problem.layout.count
        self._first = numpy.searchsorted(self._sample, numpy.arange(count))
        self._behind = numpy.searchsorted(self._sample, numpy.arange(count), side="right")
        opens = numpy.zeros(len(order), dtype=bool)
        opens[self._first[self._first < self._behind]] = True
        self._opens, self._continuous = opens, continuous
        before = numpy.where(opens, self._sample, count + numpy.roll(order, 1))
        self._starts = torch.cat([problem.y0, states]).index_select(0, torch.from_numpy(before).to(states.device))
        self._order = torch.from_numpy(order).to(states.device)
        self._record, self._event_times = record, event_times
        # of a method whose carry no state can tell
        self._carries = [step.carry for step in record.steps]
        self._row_carries: Any = None
        if problem.layout.samples is not None and record.steps and record.steps[0].carry is not None:
            self._row_carries = take_rows(joined_rows(self._carries), self._order)
        # steps taken again, by their index and by whether autograd recorded them
        self._taken: dict[tuple[int, bool], StepResult] = {}
        self._shifts: tuple[Tensor, Tensor] | None = None

    def state(self, t: Tensor | float) -> State:
        """Return the states at times; see `RowSolution.__call__`."""
        return self._evaluate(t, slope=False)

    def derivative(self, t: Tensor | float) -> State:
        """Return the derivatives by time."""
        return self._evaluate(t, slope=True)

    def _evaluate(self, t: Tensor | float, slope: bool) -> State:
        layout, y0 = self.problem.layout, self.problem.y0
        whole = layout.samples is None
        asked = torch.as_tensor(t, dtype=torch.float64, device=y0.device)
        if not whole and asked.dim() and asked.shape[-1] not in (1, layout.count):
            raise ValueError(
                f"t must be a number or have a last axis of length {layout.count} (the samples) or 1, "
                f"but has the shape {tuple(asked.shape)}."
            )
        lead = asked.shape if whole else asked.shape[:-1]
        if not asked.numel():
            return layout.to_state(y0.new_empty(*lead, layout.count, y0.shape[1]))
        times = asked.expand(*lead, layout.count) if not whole else asked.unsqueeze(-1)
        times = times.reshape(-1, layout.count)
        host = as_host(times)
        steps = numpy.stack([self._find(host[:, sample], sample) for sample in range(layout.count)], 1).reshape(-1)
        unique, place = numpy.unique(steps, return_inverse=True)
        picked = torch.from_numpy(unique).to(y0.device)
        field = self.problem.field.of(self._sample[unique])
        start, size = as_column(self._t[unique], y0.device), as_column(self._h[unique], y0.device)
        y = self._starts.index_select(0, picked)
        shifts = self._moved()
        if shifts is not None:
            start, size = start + shifts[0].index_select(0, picked), size + shifts[1].index_select(0, picked)
        flat_times = times.reshape(-1, 1)
        if whole:
            parts = []
            for i, step in enumerate(unique.tolist()):
                begin, length, state = start[i : i + 1], size[i : i + 1], y[i : i + 1]
                result = self._again(step, field, begin, length, state)
                parts.append(self._at(field, begin, length, state, flat_times[place == i], slope, result))
            order = numpy.argsort(numpy.concatenate([numpy.flatnonzero(place == i) for i in range(len(unique))]))
            values = torch.cat(parts)[torch.from_numpy(order).to(y0.device)]
            return layout.row.unflatten(values.view(*lead, -1))
        carries = self._row_carries
        carry = self.stepper.start(field, start, y) if carries is None else take_rows(carries, picked)
        result = self.stepper.step(field, start, size, y, carry)
        values = self._at(field, start, size, y, flat_times, slope, result, torch.from_numpy(place).to(y0.device))
        return layout.to_state(values.view(*lead, layout.count, -1))

    def _moved(self) -> tuple[Tensor, Tensor] | None:
        """Return what carries the derivatives of the steps' times, in the order of the samples."""
        if self._continuous:
            return self._moved_beginning()
        if self._shifts is None:
            found = step_shifts(self.problem, self._record, self._event_times)
            if found is None:
                return None
            self._shifts = found[0].index_select(0, self._order), found[1].index_select(0, self._order)
        return self._shifts if torch.is_grad_enabled() else None

    def _moved_beginning(self) -> tuple[Tensor, Tensor] | None:
        """Return the same where the first steps of the samples alone move, with their beginnings."""
        if not (torch.is_grad_enabled() and self.problem.ts.requires_grad):
            return None
        first = shift_of(self.problem)[:, :1]
        device = first.device
        start = first.index_select(0, torch.from_numpy(self._sample).to(device))
        start = start.masked_fill(torch.from_numpy(~self._opens[:, None]).to(device), 0.0)
        return start, -start

    def _again(self, step: int, field: RowField, start: Tensor, size: Tensor, y: Tensor) -> StepResult:
        """Take a step of the only row again, once."""
        key = step, torch.is_grad_enabled()
        known = None if transforms_active() else self._taken.get(key)
        if known is not None:
            return known
        carry = self._carries[step]
        result = self.stepper.step(
            field, start, size, y, self.stepper.start(field, start, y) if carry is None else carry
        )
        if not transforms_active():
            self._taken[key] = result
        return result

    def _at(
        self,
        field: RowField,
        start: Tensor,
        size: Tensor,
        y: Tensor,
        times: Tensor,
        slope: bool,
        result: StepResult,
        place: Tensor | None = None,
    ) -> Tensor:
        """Return the dense output of steps at times, each in the step at its place; the first one by default."""
        stepper = self.stepper
        if place is None:
            place = torch.zeros(times.shape[0], dtype=torch.int64, device=y.device)
        starts, sizes, states = start[place], size[place], y[place]
        part = stepper.take(result, place)

        def value(theta: Tensor) -> Tensor:
            return stepper.interpolate(field, starts, sizes, states, part, theta)

        theta = (times - starts) / sizes
        if not slope:
            return value(theta)
        tangent: Tensor = torch.func.jvp(value, (theta,), (1 / sizes,))[1]
        return tangent

    def _find(self, times: numpy.ndarray, sample: int) -> numpy.ndarray:
        """Return the step of a sample that holds each time."""
        first, behind = int(self._first[sample]), int(self._behind[sample])
        if first == behind:
            raise ValueError(f"t: sample {sample} took no step, so that its solution is known nowhere but at ts[0].")
        begin, end = self.problem.times[sample, 0], self._record.t1[sample]
        low, high = min(begin, end), max(begin, end)
        room = 4 * numpy.spacing(max(abs(low), abs(high)))
        outside = ~((times >= low - room) & (times <= high + room))
        if outside.any():
            which = "" if self.problem.layout.samples is None else f" of sample {sample}"
            raise ValueError(
                f"t must lie in the span{which} that was solved, from {begin:.10g} to {end:.10g}, "
                f"but is {times[outside][0]:.10g}."
            )
        direction = 1.0 if end >= begin else -1.0
        ends = self._t1[first:behind] * direction
        found = numpy.searchsorted(ends, times * direction, side="left")
        return numpy.minimum(found, behind - first - 1) + first
