"""The loop over rows: every sample has a time, a step size and an end of its own, and leaves when it is done.

Decisions are made on host vectors; what the steps leave is computed by `nde.solvers.rows.steps`, on the tape or off it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepResult
from nde.solvers.rows.control import row_control
from nde.solvers.rows.detect import EventWatch
from nde.solvers.rows.landings import MOVES
from nde.solvers.rows.norms import RowNorm, finite_rows, first_steps
from nde.solvers.rows.problem import PickedRows, RowProblem, as_column, take_rows
from nde.solvers.rows.steps import Hits, RowStep, outcome, times_of
from nde.solvers.status import Failure, Status

__all__ = ["RowOutputs", "RowRecord", "solve_rows"]

Vector = numpy.ndarray
_SMALLEST_STEP = 1e-100


@dataclass
class RowOutputs:
    """The differentiable outputs of a row solve; see the record for which sample and time each row belongs to.

    Attributes:
        saved: States at the inner output times, in the order of the record, shape ``(outputs, row size)``, or what is
            saved of them.
        y1: States that were reached, shape ``(samples, row size)``.
        error, stiffness: One value per accepted step of a sample, in the order of the record.
        local_error: Error vectors, likewise; None unless kept.
        states: States at the ends of these steps, likewise; None unless kept.
        event_times: Times of all occurrences, in the order of the record.
        event_states: States there.
    """

    saved: Tensor
    y1: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None
    states: Tensor | None
    event_times: Tensor | None
    event_states: Tensor | None

    def all(self) -> tuple[Tensor | None, ...]:
        """Return the outputs in the order of the attributes."""
        return (
            self.saved,
            self.y1,
            self.error,
            self.stiffness,
            self.local_error,
            self.states,
            self.event_times,
            self.event_states,
        )


@dataclass
class RowRecord:
    """What happened in a row solve, on the host.

    Attributes:
        steps: The iterations, accepted rows only.
        accepted, rejected: Steps of each sample.
        statuses: How each sample ended.
        failures: Where the failed samples failed.
        t1: Time that each sample reached.
        size_of_state: Scaled norm of the initial state.
    """

    steps: list[RowStep]
    accepted: Vector
    rejected: Vector
    statuses: list[Status]
    failures: dict[int, Failure] = field(default_factory=dict)
    t1: Vector = field(default_factory=lambda: numpy.empty(0))
    size_of_state: float = 0.0


@dataclass
class _Pieces:
    """Outputs as they arrive."""

    saved: list[Tensor] = field(default_factory=list)
    final: list[Tensor] = field(default_factory=list)
    final_rows: list[Vector] = field(default_factory=list)
    error: list[Tensor] = field(default_factory=list)
    stiffness: list[Tensor] = field(default_factory=list)
    local_error: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    event_times: list[Tensor] = field(default_factory=list)
    event_states: list[Tensor] = field(default_factory=list)


def solve_rows(
    problem: RowProblem, ts_shift: Tensor | None, on_tape: bool, keep_states: bool, dense: bool
) -> tuple[RowOutputs, RowRecord]:
    """Solve in the caller's autograd mode.

    Args:
        problem: The problem.
        ts_shift: Zeros of shape ``(samples, T)`` that carry the derivatives of the output times on the tape; None where
            none are wanted.
        on_tape: Whether the steps must be recorded by autograd; otherwise they work in scratch memory.
        keep_states: Whether the record keeps the states at the beginnings of steps, for a replay.
        dense: Whether the states at the ends of all steps are outputs.
    """
    return _RowSolve(problem, ts_shift, on_tape, keep_states, dense).run()


class _RowSolve:
    def __init__(
        self, problem: RowProblem, ts_shift: Tensor | None, on_tape: bool, keep_states: bool, dense: bool
    ) -> None:
        self.problem = problem
        self.stepper = problem.stepper()
        self.all_norm = RowNorm(problem.layout, problem.rtol, problem.atol, problem.norm)
        self.ts_shift = ts_shift
        self.keep_states = keep_states
        self.dense = dense
        self.device = problem.y0.device
        count = problem.layout.count
        self.pieces = _Pieces()
        self.record = RowRecord([], numpy.zeros(count, int), numpy.zeros(count, int), [Status.SUCCESS] * count)
        self.record.t1 = problem.times[:, 0].copy()
        self.watch = EventWatch(problem, self.stepper) if problem.events else None
        self.ends = problem.times[numpy.arange(count), problem.counts - 1]
        self.directions = numpy.where(self.ends > problem.times[:, 0], 1.0, -1.0)
        self.landings = problem.landings()
        self.landing = numpy.zeros(count, int)
        self.next_output = numpy.ones(count, int)
        # what follows belongs to the rows at work, in their order
        self.rows = numpy.arange(count)
        self.field, self.norm = problem.field, self.all_norm
        self.t = self.landings.begins.copy()
        self.direction = self.directions
        self.broken = numpy.zeros(count, dtype=bool)
        self.y = problem.y0
        self.shift = self._first_shift()
        self.carry: Any = None
        self.workspace = None if on_tape else self.stepper.workspace(self.y)

    def _first_shift(self) -> Tensor | None:
        differentiable = torch.is_grad_enabled() and (self.ts_shift is not None or bool(self.problem.events))
        if not differentiable:
            return None
        if self.ts_shift is not None:
            return self.ts_shift[:, :1]
        return torch.zeros(len(self.rows), 1, dtype=torch.float64, device=self.device)

    def run(self) -> tuple[RowOutputs, RowRecord]:
        problem = self.problem
        order = problem.method.error_order or 1
        control = row_control(problem.controller, order, len(self.rows))
        time = self._time()
        self.carry = self.stepper.start(self.field, time, self.y)
        if self.watch is not None:
            with torch.no_grad():
                self.watch.begin(self.field, time, self.y)
        given = problem.controller.first_step()
        if given is None:
            slope = self.stepper.slope(self.field, time, self.y, self.carry)
            span = self.ends - self.t
            size, self.record.size_of_state = first_steps(
                self.field, self.norm, time.detach(), span, self.y.detach(), slope.detach(), order
            )
            size = numpy.where(numpy.isnan(size), size, numpy.maximum(size, problem.dt_min))
            lost = numpy.isnan(size)
            size = size[~lost]
            self._leave(lost, Status.NON_FINITE, numpy.zeros(len(lost)), control)
        else:
            size = numpy.full(len(self.rows), given)
        stretch = 1.0 + problem.controller.stretch
        longest = problem.dt_max * (1 + 1e-9)
        adaptive = problem.controller.adaptive
        while len(self.rows):
            size = numpy.minimum(size, problem.dt_max)
            target = self.landings.before[self.rows, self.landing[self.rows]]
            lands = (target - self.t) * self.direction <= numpy.minimum(size * stretch, longest)
            with numpy.errstate(invalid="ignore"):
                t1 = numpy.where(lands, target, self.t + self.direction * size)
            h = t1 - self.t
            length = numpy.abs(h)
            attempted = self.record.accepted[self.rows] + self.record.rejected[self.rows]
            small = (length < max(problem.dt_min, _SMALLEST_STEP)) | (length <= 4 * numpy.spacing(numpy.abs(self.t)))
            stuck, spent = small & ~lands, attempted >= problem.max_steps
            if stuck.any() or spent.any():
                code = numpy.where(stuck, numpy.where(self.broken, 1, 2), numpy.where(spent, 3, 0))
                size = size[code == 0]
                for number, status in ((1, Status.NON_FINITE), (2, Status.STEP_UNDERFLOW), (3, Status.MAX_STEPS)):
                    now = code == number
                    self._leave(now, status, h, control)
                    code, h = code[~now], h[~now]
                continue
            size = self._iterate(size, h, t1, lands, control, adaptive)
        return self._outputs(), self.record

    def _iterate(self, asked: Vector, h: Vector, t1: Vector, lands: Vector, control: Any, adaptive: bool) -> Vector:
        stepper = self.stepper
        anchors = numpy.where(lands, self.landings.anchors[self.rows, self.landing[self.rows]], MOVES)
        facts = RowStep(self.rows, self.t, h, t1, anchors, *_NONE)
        t_column, h_column = times_of(facts, self.shift, self.ts_shift, self.device)
        if self.carry is None:
            self.carry = stepper.start(self.field, t_column, self.y)
        y, carry = self.y, self.carry
        result = stepper.step(self.field, t_column, h_column, y, carry, self.workspace)
        ratio = None if result.errors is None else self.norm.ratio(result.errors, y, result.y1)
        with torch.no_grad():
            nothing = self.norm.sums(result.y1) * 0  # NaN as soon as an entry of the row is not finite
            measure = nothing if ratio is None else ratio + nothing
            value = measure.double().cpu().numpy()
            if numpy.isnan(value).any():  # the sum alone may have overflowed
                finite = finite_rows(result.y1).cpu().numpy()
                plain = 0.0 if ratio is None else ratio.detach().double().cpu().numpy()
                value = numpy.where(finite, plain, math.nan)
        accept, size = control.decide(numpy.abs(h), value)
        broken = ~numpy.isfinite(value)
        # what made the steps shrink is to blame for their end, until they grow again
        self.broken = broken | (self.broken & ~(accept & (size > numpy.abs(h))))
        self.record.rejected[self.rows[~accept]] += 1
        leaving = numpy.zeros(len(self.rows), dtype=bool)
        if accept.any():
            # a step cut short by a landing says little about the size that the solution allows
            size = numpy.where(accept & lands, numpy.maximum(size, asked), size)
            leaving = self._accept(facts, accept, lands, result, ratio)
        failed = broken & ~leaving if not adaptive else numpy.zeros_like(leaving)
        gone = leaving | failed
        if gone.any():
            size = size[~gone]
            failed, h = failed[~leaving], h[~leaving]
            self._leave(leaving, Status.SUCCESS, h, control)
            self._leave(failed, Status.NON_FINITE, h, control)
        return size

    def _accept(
        self, facts: RowStep, accept: Vector, lands: Vector, result: StepResult, ratio: Tensor | None
    ) -> Vector:
        """Record the accepted steps and move on; return which rows have come to their end."""
        problem, pieces = self.problem, self.pieces
        everyone = bool(accept.all())
        chosen = numpy.flatnonzero(accept)
        index = torch.from_numpy(chosen).to(self.device)
        y, shift, carry = self.y, self.shift, self.carry
        done = result
        if not everyone:
            rows, t, h, t1 = (part[chosen] for part in (facts.rows, facts.t, facts.h, facts.t1))
            facts = RowStep(rows, t, h, t1, facts.anchors[chosen], *_NONE)
            y = y.index_select(0, index)
            shift = None if shift is None else shift.index_select(0, index)
            errors = None if result.errors is None else result.errors.index_select(1, index)
            wanted = None if self.stepper.flat else PickedRows(result.interior, index)
            done = StepResult(result.y1.index_select(0, index), None, errors, result.stiffness, wanted)
        ended = numpy.zeros(len(facts.rows), dtype=bool)
        jumped = numpy.zeros(len(facts.rows), dtype=bool)
        if self.watch is not None:
            ended, jumped = self._find_events(facts, y, carry, index if not everyone else None, done)
        self._find_outputs(facts, chosen)
        left = outcome(self._of(facts.rows, everyone), self.stepper, facts, y, done, shift, self.ts_shift)
        if ratio is not None:
            pieces.error.append(ratio if everyone else ratio.index_select(0, index))
        stiffness = self.norm.stiffness(result.stiffness, result.y1)
        if stiffness is not None:
            pieces.stiffness.append(stiffness if everyone else stiffness.index_select(0, index))
        if problem.keep_local_errors and done.errors is not None:
            norm = self.norm if everyone else self.all_norm.of(torch.from_numpy(facts.rows).to(self.device))
            pieces.local_error.append(norm.local_error(done.errors, y, done.y1))
        pieces.saved.extend(part for part in (left.inner, left.ends) if part is not None)
        if self.dense:
            pieces.states.append(left.y1)
            if not problem.method.carry_is_function_of_state:
                facts.carry = carry
        pieces.event_times.extend(left.event_times)
        pieces.event_states.extend(left.event_states)
        if self.keep_states:
            facts.y = y
        self.record.steps.append(facts)
        self.record.accepted[facts.rows] += 1
        if everyone:
            self.t, self.y, self.shift, self.carry = facts.t1, left.y1, left.shift, result.carry
        else:
            self.t = self.t.copy()
            self.t[chosen] = facts.t1
            self.carry = self._merged_carry(result.carry, index)
            self.y = self.y.index_copy(0, index, left.y1)
            if left.shift is not None and self.shift is not None:
                self.shift = self.shift.index_copy(0, index, left.shift)
        if jumped.any():
            self._restart(facts, chosen, jumped, left.y1)
        landed = numpy.zeros(len(self.rows), dtype=bool)
        landed[chosen] = ~jumped
        landed &= lands
        self._cross(landed)
        self.landing[self.rows[landed]] += 1
        leaving = landed & (self.t == self.ends[self.rows])
        leaving[chosen[ended]] = True
        return leaving

    def _merged_carry(self, carry: Any, index: Tensor) -> Any:
        """Return the new carry for accepted rows, the old one for the others; None where the method has none."""
        if carry is None or not isinstance(carry, Tensor) or not isinstance(self.carry, Tensor):
            return None
        return self.carry.index_copy(0, index, carry.index_select(0, index))

    def _of(self, rows: Vector, everyone: bool) -> RowProblem:
        field = self.field if everyone else self.problem.field.of(rows)
        return self.problem if field is self.problem.field else dataclasses.replace(self.problem, field=field)

    def _find_events(
        self, facts: RowStep, y: Tensor, carry: Any, index: Tensor | None, done: StepResult
    ) -> tuple[Vector, Vector]:
        """Cut the steps at events; return which rows end there and which jump or end."""
        watch = self.watch
        if watch is None:
            raise RuntimeError("events are looked for only where there are some")
        part = carry if index is None or self.stepper.flat else take_rows(carry, index)

        def slope() -> Tensor:
            field = self.problem.field.of(facts.rows)
            return self.stepper.slope(field, as_column(facts.t, self.device), y, part)

        facts.hits = watch.find(facts.rows, facts.t, facts.h, y, slope, done)
        ended = numpy.zeros(len(facts.rows), dtype=bool)
        jumped = numpy.zeros(len(facts.rows), dtype=bool)
        if facts.hits:
            facts.t1 = facts.t1.copy()
        for hits in facts.hits:
            cut = hits.alters
            where = hits.places[cut]
            jumped[where] = True
            facts.t1[where] = facts.t[where] + hits.thetas[cut] * facts.h[where]
            ended[hits.places[watch.ended(hits, facts.rows)]] = True
        return ended, jumped

    def _find_outputs(self, facts: RowStep, chosen: Vector) -> None:
        """Find the output times that the steps reach; the first and the last need no row."""
        rows, times = facts.rows, self.problem.times
        last, direction = self.problem.counts[rows] - 1, self.directions[rows]
        pending = self.next_output[rows]
        if not (pending < last).any():
            return
        places, indices, thetas, end_places, end_indices = [], [], [], [], []
        while True:
            safe = numpy.minimum(pending, last)
            time = times[rows, safe]
            reached = (pending < last) & ((time - facts.t1) * direction <= 0)
            if not reached.any():
                break
            at_end = reached & (time == facts.t1) & (self.ts_shift is None or (facts.anchors == safe))
            inside = numpy.flatnonzero(reached & ~at_end)
            places.append(inside)
            indices.append(safe[inside])
            thetas.append((time[inside] - facts.t[inside]) / facts.h[inside])
            end_places.append(numpy.flatnonzero(at_end))
            end_indices.append(safe[at_end])
            pending = pending + reached
        self.next_output[rows] = pending
        if places:
            facts.places, facts.indices = numpy.concatenate(places), numpy.concatenate(indices)
            facts.thetas = numpy.concatenate(thetas)
            facts.end_places, facts.end_indices = numpy.concatenate(end_places), numpy.concatenate(end_indices)

    def _cross(self, landed: Vector) -> None:
        """Step over the discontinuities that steps have landed before."""
        if not self.problem.jump_ts:
            return
        number = self.landing[self.rows]
        before, after = self.landings.before[self.rows, number], self.landings.after[self.rows, number]
        crossing = landed & (before != after)
        if crossing.any():
            self.t = numpy.where(crossing, after, self.t)
            # at the end of the span, nothing begins
            self._begin_anew(numpy.flatnonzero(crossing & (self.t != self.ends[self.rows])))

    def _begin_anew(self, places: Vector) -> None:
        """Compute the first stages of rows again."""
        if not places.size:
            return
        if self.stepper.flat:
            self.carry = None
        elif isinstance(self.carry, Tensor):
            index = torch.from_numpy(places).to(self.device)
            time = as_column(self.t[places], self.device)
            if self.shift is not None:
                time = time + self.shift.index_select(0, index)
            fresh = self.stepper.start(self.problem.field.of(self.rows[places]), time, self.y.index_select(0, index))
            self.carry = self.carry.index_copy(0, index, fresh)

    def _restart(self, facts: RowStep, chosen: Vector, jumped: Vector, y1: Tensor) -> None:
        """Begin anew behind jumps: first stages and signs of conditions."""
        watch = self.watch
        self._begin_anew(chosen[numpy.flatnonzero(jumped)])
        for hits in facts.hits:
            cut = numpy.flatnonzero(hits.alters)
            if watch is not None and cut.size:
                places = hits.places[cut]
                own = Hits(hits.event, places, hits.entries[cut], hits.thetas[cut], hits.slopes[cut], hits.alters[cut])
                states = y1.detach()[torch.from_numpy(places).to(self.device)]
                watch.restart(facts.rows[places], own, as_column(facts.t1[places], self.device), states)

    def _leave(self, gone: Vector, status: Status, h: Vector, control: Any) -> None:
        """Let rows leave the batch."""
        if not gone.any():
            return
        rows, record = self.rows[gone], self.record
        for place in numpy.flatnonzero(gone):
            sample = int(self.rows[place])
            record.statuses[sample] = status
            record.t1[sample] = self.t[place]
            if status is not Status.SUCCESS:
                attempted = int(record.accepted[sample] + record.rejected[sample])
                samples = self.problem.layout.samples
                record.failures[sample] = Failure(
                    float(self.t[place]), float(h[place]), None if samples is None else sample, samples, attempted
                )
        leaving = torch.from_numpy(numpy.flatnonzero(gone)).to(self.device)
        self.pieces.final.append(self.y.index_select(0, leaving))
        self.pieces.final_rows.append(rows)
        kept = numpy.flatnonzero(~gone)
        index = torch.from_numpy(kept).to(self.device)
        self.rows, self.t, self.broken = self.rows[kept], self.t[kept], self.broken[kept]
        self.direction = self.directions[self.rows]
        control.keep(kept)
        self.y = self.y.index_select(0, index)
        self.shift = None if self.shift is None else self.shift.index_select(0, index)
        self.carry = self.carry if self.stepper.flat else take_rows(self.carry, index)
        self.field = self.problem.field.of(self.rows)
        self.norm = self.all_norm.of(torch.from_numpy(self.rows).to(self.device))
        if self.workspace is not None and hasattr(self.workspace, "open"):
            self.workspace.open(self.y)

    def _time(self) -> Tensor:
        time = as_column(self.t, self.device)
        return time if self.shift is None else time + self.shift

    def _outputs(self) -> RowOutputs:
        pieces, y0, method = self.pieces, self.problem.y0, self.problem.method
        order = numpy.argsort(numpy.concatenate(pieces.final_rows))
        final = torch.cat(pieces.final).index_select(0, torch.from_numpy(order).to(self.device))
        has_error = method.error_order is not None

        def joined(parts: list[Tensor], wanted: bool, *shape: int, double: bool = False) -> Tensor | None:
            if not wanted:
                return None
            return torch.cat(parts) if parts else y0.new_empty(0, *shape, dtype=torch.float64 if double else None)

        size, events = y0.shape[1], bool(self.problem.events)
        saver = self.problem.saver
        nothing = y0.new_empty(0, size) if saver is None else saver.empty(y0)
        return RowOutputs(
            torch.cat(pieces.saved) if pieces.saved else nothing,
            final,
            joined(pieces.error, has_error),
            joined(pieces.stiffness, method.has_stiffness),
            joined(pieces.local_error, has_error and self.problem.keep_local_errors, size),
            joined(pieces.states, self.dense, size),
            joined(pieces.event_times, events, double=True),
            joined(pieces.event_states, events, size),
        )


_NONE = (numpy.empty(0, int),) * 5
