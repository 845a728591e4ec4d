"""The loop over rows: every sample has a time, a step size and an end of its own, and leaves when it is done.

Decisions are made on host vectors; what the steps leave is computed by `nde.solvers.rows.steps`, on the tape or off it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepResult
from nde.solvers.rows.clock import Clock, Move
from nde.solvers.rows.control import row_control
from nde.solvers.rows.due import DueOutputs
from nde.solvers.rows.norms import RowMeasure, RowNorm, first_steps
from nde.solvers.rows.problem import PickedRows, RowProblem, as_column, put_rows, spread_rows, take_rows
from nde.solvers.rows.record import Pieces, RowOutputs, RowRecord
from nde.solvers.rows.steps import NO_OUTPUTS, RowStep, outcome, times_of
from nde.solvers.rows.watching import Watching
from nde.solvers.status import Failure, Status
from nde.solvers.transforms import transforms_active

__all__ = ["solve_rows"]

Vector = numpy.ndarray


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
        self.pieces = Pieces()
        self.record = RowRecord(numpy.zeros(count, int), [Status.SUCCESS] * count, problem.times[:, 0].copy())
        self.watch = Watching(problem, self.stepper) if problem.events else None
        self.iterations = 0
        # what follows belongs to the rows at work, in their order
        self.clock = Clock(problem)
        self.due = DueOutputs(problem, self.clock.directions)
        self.control = row_control(problem.controller, problem.method.error_order or 1, count)
        self.field, self.norm = problem.field, self.all_norm
        self.broken: Vector | None = None  # whose last attempts were not finite; None if no one's
        self.broke = numpy.zeros(count)  # the sizes of these attempts
        self.y = problem.y0
        self.shift = self._first_shift()
        self.carry: Any = None
        self.workspace = None if on_tape else self.stepper.workspace(self.y)
        self.keeps_more = (
            dense
            or problem.keep_local_errors
            or problem.on_accept is not None
            or self.watch is not None
            or self.shift is not None
            or self.stepper.flat
        )

    def _first_shift(self) -> Tensor | None:
        differentiable = (torch.is_grad_enabled() or transforms_active()) and (
            self.ts_shift is not None or bool(self.problem.events)
        )
        if not differentiable:
            return None
        if self.ts_shift is not None:
            return self.ts_shift[:, :1]
        return torch.zeros(self.problem.layout.count, 1, dtype=torch.float64, device=self.device)

    def run(self) -> tuple[RowOutputs, RowRecord]:
        clock, most = self.clock, self.problem.max_steps
        size = self._begin()
        with numpy.errstate(all="ignore"):  # what is not finite is looked for
            while len(clock.rows):
                move = clock.propose(size)
                if move.stuck is not None or self.iterations >= most:
                    size = self._give_up(size, move)
                else:
                    size = self._iterate(size, move)
        lazy = self.workspace is not None and not self.keep_states
        return self.pieces.outputs(self.problem, self.all_norm, self.dense, lazy), self.record

    def _begin(self) -> Vector:
        """Evaluate the field at the beginning; return the sizes of the first steps."""
        problem, clock = self.problem, self.clock
        time = as_column(clock.t, self.device)
        if self.shift is not None:
            time = time + self.shift
        self.carry = self.stepper.start(self.field, time, self.y)
        if self.watch is not None:
            with torch.no_grad():
                self.watch.begin(self.field, time, self.y)
        given = problem.controller.first_step()
        if given is not None:
            return numpy.full(len(clock.rows), given)
        slope = self.stepper.slope(self.field, time, self.y, self.carry)
        size, self.record.size_of_state = first_steps(
            self.field,
            self.norm,
            time.detach(),
            clock.ends - clock.t,
            self.y.detach(),
            slope.detach(),
            problem.method.error_order or 1,
        )
        lost = numpy.isnan(size)
        if lost.any():
            if self.workspace is None:
                # on the tape, what is not finite would spoil the gradients of the other rows: they begin without it
                self.carry = None
            self._leave(lost, Status.NON_FINITE, numpy.zeros(len(lost)))
        return numpy.maximum(size[~lost], problem.dt_min)

    def _give_up(self, size: Vector, move: Move) -> Vector:
        """Let rows leave that cannot go on; return the sizes of the others."""
        count = len(size)
        stuck = numpy.zeros(count, dtype=bool) if move.stuck is None else move.stuck
        spent = numpy.full(count, self.iterations >= self.problem.max_steps)
        broken = numpy.zeros(count, dtype=bool) if self.broken is None else self.broken
        code = numpy.where(stuck, numpy.where(broken, 1, 2), numpy.where(spent, 3, 0))
        h, size = move.h, size[code == 0]
        for number, status in ((1, Status.NON_FINITE), (2, Status.STEP_UNDERFLOW), (3, Status.MAX_STEPS)):
            now = code == number
            self._leave(now, status, h)
            code, h = code[~now], h[~now]
        return size

    def _iterate(self, asked: Vector, move: Move) -> Vector:
        """Take a step of all rows; return the sizes to try next."""
        stepper, clock, y = self.stepper, self.clock, self.y
        facts = RowStep(clock.rows, clock.t, move.h, move.t1, move.anchors, *NO_OUTPUTS)
        t, h = times_of(facts, self.shift, self.ts_shift, self.device)
        if self.carry is None:
            self.carry = stepper.start(self.field, t, y)
        watcher = self.problem.watcher
        if watcher is not None:
            watcher.begins()
        result = stepper.step(self.field, t, h, y, self.carry, self.workspace)
        off_tape = self.workspace is not None
        measure = self.norm.measure(result, y)
        value = self.norm.judge(measure, result.y1)
        self.iterations += 1
        accept, size = self.control.decide(move.length, value)
        if watcher is not None:
            watcher.rows_attempted(clock.rows, clock.t, move.h, value, accept, result)
        some_accepted, unsolved = numpy.count_nonzero(accept) > 0, result.unsolved
        broken = None if math.isfinite(value.max()) else ~numpy.isfinite(value)
        if broken is not None:
            self.broke = numpy.where(broken, move.h, self.broke)
        if broken is not None and not off_tape and not stepper.flat:
            # what is not finite would spoil the gradients of the other rows
            if not self.field.stochastic:
                still = h.masked_fill(torch.from_numpy(broken[:, None]).to(self.device), 0.0)
                result = stepper.step(self.field, t, still, y, self.carry)
            elif some_accepted:
                # here the first evaluation of a step may be what is not finite, whatever the size
                result = self._step_of(~broken, t, h, y)
            measure = self.norm.measure(result, y)
        if self.broken is not None:
            # what made the steps shrink is to blame for their end, until they grow again
            still_broken = self.broken & ~(accept & (size > move.length))
            self.broken = still_broken if broken is None else broken | still_broken
        else:
            self.broken = broken
        gone = self._accept(facts, accept, move.lands, result, measure) if some_accepted else None
        if gone is not None or move.lands is not None:
            if move.lands is not None:
                # a step cut short by a landing says little about the size that the solution allows
                size = numpy.where(accept & move.lands, numpy.maximum(size, asked), size)
            if gone is not None:
                size, h_host = size[~gone], move.h[~gone]
                broken = None if broken is None else broken[~gone]
                self._leave(gone, Status.SUCCESS, move.h)
                move = move._replace(h=h_host)
        if broken is not None and not self.problem.controller.adaptive:
            size = size[~broken]
            self._leave(broken, Status.NEWTON_FAILED if unsolved else Status.NON_FINITE, move.h)
        return size

    def _step_of(self, places: Vector, t: Tensor, h: Tensor, y: Tensor) -> StepResult:
        """Take a step of some of the rows at work; the others are zero in what it leaves."""
        index = torch.from_numpy(numpy.flatnonzero(places)).to(self.device)
        field = self.problem.field.of(self.clock.rows[places])
        done = self.stepper.step(field, t[index], h[index], y[index], take_rows(self.carry, index))
        return spread_rows(done, index, len(places))

    def _accept(
        self, facts: RowStep, accept: Vector, lands: Vector | None, result: StepResult, measure: RowMeasure
    ) -> Vector | None:
        """Record the accepted steps and move on; return which rows have come to their end, None if no one has."""
        pieces, clock, carry = self.pieces, self.clock, result.carry
        chosen = None if numpy.count_nonzero(accept) == len(accept) else numpy.flatnonzero(accept)
        if chosen is not None:
            facts = facts.pick(chosen)
        pieces.measures.append(measure)
        pieces.chosen.append(chosen)
        self.record.steps.append(facts)
        if self.watch is None:
            self.due.find(facts)
        if self.keeps_more or facts.places.size or facts.end_places.size:
            self._accept_in_full(facts, chosen, result)
        elif chosen is None:
            self._keep_state(facts, None)
            self.y, self.carry = result.y1, carry
        else:
            mask = torch.from_numpy(accept[:, None]).to(self.device)
            self._keep_state(facts, chosen)
            self.y = torch.where(mask, result.y1, self.y)
            if isinstance(carry, Tensor) and isinstance(self.carry, Tensor):
                self.carry = torch.where(mask, carry, self.carry)
            else:
                index = torch.from_numpy(chosen).to(self.device)
                self.carry = put_rows(self.carry, index, take_rows(carry, index))
        if chosen is None:
            clock.t = facts.t1
        else:
            clock.t = clock.t.copy()
            clock.t[chosen] = facts.t1
        leaving = None if self.watch is None else self.watch.ended
        if self.watch is not None:
            self._begin_anew(numpy.flatnonzero(self.watch.jumped))
        if lands is not None:
            landed = accept & lands if self.watch is None else accept & lands & ~self.watch.jumped
            arrived, crossed = clock.arrive(landed)
            leaving = arrived if leaving is None else leaving | arrived
            if crossed is not None:
                self._begin_anew(numpy.flatnonzero(crossed))
        return leaving if leaving is not None and numpy.count_nonzero(leaving) else None

    def _keep_state(self, facts: RowStep, chosen: Vector | None) -> None:
        if self.keep_states:
            facts.y = self.y if chosen is None else self.y[torch.from_numpy(chosen).to(self.device)]

    def _accept_in_full(self, facts: RowStep, chosen: Vector | None, result: StepResult) -> None:
        """Accept steps of which more is wanted than the state."""
        problem, pieces, y, shift, carry_before = self.problem, self.pieces, self.y, self.shift, self.carry
        done, index = result, None
        if chosen is not None:
            index = torch.from_numpy(chosen).to(self.device)
            y = y.index_select(0, index)
            shift = None if shift is None else shift.index_select(0, index)
            errors = None if result.errors is None else result.errors.index_select(1, index)
            wanted = None if self.stepper.flat else PickedRows(result.interior, index)
            done = StepResult(result.y1.index_select(0, index), None, errors, result.stiffness, wanted)
            carry_before = take_rows(carry_before, index)
        field = self.field if chosen is None else problem.field.of(facts.rows)
        if self.watch is not None:
            self.watch.look(field, facts, y, carry_before, done)
            self.due.find(facts)
        own = problem if field is problem.field else dataclasses.replace(problem, field=field)
        left = outcome(own, self.stepper, facts, y, done, shift, self.ts_shift)
        if problem.on_accept is not None:
            problem.on_accept(field, facts, y, done)
        if problem.keep_local_errors and done.errors is not None:
            norm = self.norm if chosen is None else self.all_norm.of(torch.from_numpy(facts.rows).to(self.device))
            vectors = norm.local_error(done.errors, y, done.y1)
            # in scratch memory, the next step writes over them
            pieces.local_error.append(vectors if self.workspace is None else vectors.clone())
        pieces.saved.extend(part for part in (left.inner, left.ends) if part is not None)
        if self.dense:
            pieces.states.append(left.y1)
            if not problem.method.carry_is_function_of_state:
                facts.carry = carry_before
        pieces.event_times.extend(left.event_times)
        pieces.event_states.extend(left.event_states)
        if self.keep_states:
            facts.y = y
        if index is None:
            self.y, self.shift, self.carry = left.y1, left.shift, result.carry
        else:
            self.carry = put_rows(self.carry, index, take_rows(result.carry, index))
            self.y = self.y.index_copy(0, index, left.y1)
            if left.shift is not None and self.shift is not None:
                self.shift = self.shift.index_copy(0, index, left.shift)
        if self.watch is not None:
            self.watch.settle(facts, left.y1, chosen, len(self.clock.rows))

    def _begin_anew(self, places: Vector) -> None:
        """Compute the first stages of rows again."""
        if not places.size:
            return
        if self.stepper.flat:
            self.carry = None
        elif self.carry is not None:
            index = torch.from_numpy(places).to(self.device)
            time = as_column(self.clock.t[places], self.device)
            if self.shift is not None:
                time = time + self.shift.index_select(0, index)
            field = self.problem.field.of(self.clock.rows[places])
            fresh = self.stepper.start(field, time, self.y.index_select(0, index))
            self.carry = put_rows(self.carry, index, fresh)

    def _sources(self, gone: Vector, status: Status) -> Sequence[str | None]:
        """Return what was not finite in the steps of rows that leave; None where that is not known."""
        rows, t, room = self.clock.rows[gone], self.clock.t[gone], (self.clock.ends - self.clock.t)[gone]
        if status is not Status.NON_FINITE or not self.field.stochastic:
            return [None] * len(rows)
        index = torch.from_numpy(numpy.flatnonzero(gone)).to(self.device)
        carry = self.carry if self.stepper.flat else take_rows(self.carry, index)
        # the steps that met it, without what lies beyond the spans
        h = numpy.copysign(numpy.minimum(numpy.abs(self.broke[gone]), numpy.abs(room)), room)
        times, sizes = as_column(t, self.device), as_column(h, self.device)
        return self.problem.field.of(rows).sources(self.problem.method, times, sizes, self.y[index], carry)

    def _leave(self, gone: Vector, status: Status, h: Vector) -> None:
        """Let rows leave the batch."""
        if not gone.any():
            return
        clock, record = self.clock, self.record
        rows = clock.rows[gone]
        record.attempted[rows] = self.iterations
        record.t1[rows] = clock.t[gone]
        samples = self.problem.layout.samples
        if status is not Status.SUCCESS:
            sources = self._sources(gone, status)
            where = zip(rows.tolist(), clock.t[gone].tolist(), h[gone].tolist(), sources, strict=True)
            for sample, time, size, source in where:
                record.statuses[sample] = status
                place = None if samples is None else sample
                record.failures[sample] = Failure(time, size, place, samples, self.iterations, None, source)
        leaving = torch.from_numpy(numpy.flatnonzero(gone)).to(self.device)
        self.pieces.final.append(self.y.index_select(0, leaving))
        self.pieces.final_rows.append(rows)
        kept = numpy.flatnonzero(~gone)
        index = torch.from_numpy(kept).to(self.device)
        clock.keep(kept)
        self.control.keep(kept)
        self.broken = None if self.broken is None else self.broken[kept]
        self.broke = self.broke[kept]
        self.y = self.y.index_select(0, index)
        self.shift = None if self.shift is None else self.shift.index_select(0, index)
        self.carry = self.carry if self.stepper.flat else take_rows(self.carry, index)
        self.field = self.problem.field.of(clock.rows)
        self.norm = self.all_norm.of(torch.from_numpy(clock.rows).to(self.device))
        if self.workspace is not None and hasattr(self.workspace, "open"):
            self.workspace.open(self.y)
