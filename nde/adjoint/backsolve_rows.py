"""The continuous adjoint of row solves: every sample goes back on its own, from waypoint to waypoint.

State and cotangent are solved backwards together, a step size per sample. The parameters' cotangents are quadratures
along the accepted steps, so that their memory does not grow with the batch and no step is judged by them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.adjoint.augmented import BackwardSettings, check_backward
from nde.adjoint.augmented_rows import AugmentedRows
from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.adjoint.checked import check_rows
from nde.adjoint.waypoints import EVENT, OUTPUT, STEP_END, Waypoints, backwards
from nde.solvers.replay import accumulate
from nde.solvers.rows.field import Counter
from nde.solvers.rows.loop import solve_rows
from nde.solvers.rows.problem import RowProblem, as_column
from nde.solvers.rows.record import RowOutputs, RowRecord
from nde.solvers.rows.solution import RowSolution, make_row_solution
from nde.solvers.rows.steps import apply_jump, condition_values, saved_on_tape
from nde.solvers.status import Status
from nde.solvers.transforms import as_host

__all__ = ["solve_rows_continuously"]

Vector = numpy.ndarray


@dataclass
class _Call:
    """What the forward and the backward pass of one solve share."""

    problem: RowProblem
    dense: bool
    settings: Callable[[RowProblem], BackwardSettings]
    n_targets: int
    through: bool
    record: RowRecord | None = None
    solution: RowSolution | None = None


def solve_rows_continuously(
    problem: RowProblem, dense: bool, settings: Callable[[RowProblem], BackwardSettings]
) -> RowSolution:
    """Solve without a tape; the outputs are joined to the user's tape by one node.

    Args:
        problem: The problem.
        dense: Whether the solution can be evaluated anywhere afterwards.
        settings: Returns how the backward solve is done.
    """
    captured = captured_tensors(problem.field.function, (problem.field.all_args, problem.events))
    targets, through = gradient_targets(captured)
    check_rows(problem, targets, "backsolve")
    # what is saved is a function of the states, which the user's tape differentiates by itself
    plain = dataclasses.replace(problem, saver=None)
    call = _Call(plain, dense, settings, len(targets), through)
    passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
    outputs = RowOutputs(*_JoinBacksolve.apply(call, problem.y0, problem.ts, *targets, *passed))
    if call.record is None:
        raise RuntimeError("the solve left no record")
    if problem.saver is not None:
        outputs.saved = saved_on_tape(problem, call.record.steps, outputs.saved)
    call.solution = make_row_solution(problem, outputs, call.record, continuous=True)
    return call.solution


class _JoinBacksolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, y0: Tensor, ts: Tensor, *captured: Tensor) -> tuple[Tensor | None, ...]:
        outputs, call.record = solve_rows(call.problem, None, on_tape=False, keep_states=False, dense=call.dense)
        error, stiffness = (outputs.error, outputs.stiffness) if outputs.later is None else outputs.later()
        outputs = dataclasses.replace(outputs, error=error, stiffness=stiffness, later=None)
        ctx.call = call
        ctx.set_materialize_grads(False)
        device = y0.device.type
        ctx.autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        kept = (outputs.saved, outputs.y1, outputs.states, outputs.event_times, outputs.event_states)
        ctx.save_for_backward(y0, ts, *kept, *captured[: call.n_targets])
        ctx.passed = len(captured) - call.n_targets
        return outputs.all()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        given = RowOutputs(*cotangents)  # type: ignore[arg-type]  # None where an output was not used
        check_backward(given.error, given.stiffness)
        y0, ts, saved, y1, states, event_times, event_states, *targets = ctx.saved_tensors
        values = RowOutputs(saved, y1, None, None, None, states, event_times, event_states)
        with ctx.autocast:
            grads = _Backsolve(ctx.call, y0, ts, values, given, targets).run()
        return (None, *grads, *[None] * ctx.passed)


class _Backsolve:
    """The backward solve of one forward solve."""

    def __init__(
        self, call: _Call, y0: Tensor, ts: Tensor, values: RowOutputs, given: RowOutputs, targets: Sequence[Tensor]
    ) -> None:
        if call.record is None:
            raise RuntimeError("the solve left no record")
        self.call, self.record, self.targets = call, call.record, targets
        self.counter = Counter()
        self.problem = call.problem.with_field(self.counter, y0, ts)
        self.rows = AugmentedRows(self.problem, call.settings(call.problem), targets, call.through)
        self.values, self.given = values, given
        self.y0, self.ts = y0, ts
        self.y = values.y1
        self.cotangent = torch.zeros_like(values.y1) if given.y1 is None else given.y1.clone()
        self.now = self.record.t1.copy()
        self.gradients: list[Tensor | None] = [None] * len(targets)
        self.at_ts = torch.zeros(self.problem.times.shape, dtype=torch.float64, device=y0.device)

    def run(self) -> list[Tensor | None]:
        """Return the cotangents of y0, ts and the targets."""
        problem, record, given = self.problem, self.record, self.given
        every, last = numpy.arange(len(self.now)), problem.counts - 1
        arrived = (record.t1 == problem.times[every, last]) & numpy.array(
            [status is Status.SUCCESS for status in record.statuses]
        )
        # behind the event that ended a solve there is no solution that its time could delay
        self.flows = arrived.copy()
        with torch.no_grad():
            self._pull_time(every[arrived], last[arrived], self.y, self.cotangent)
            times = self.values.event_times
            found = numpy.empty(0) if times is None else as_host(times)
            at_steps = None if given.states is None else as_host((given.states != 0).any(-1))
            for points in backwards(record, problem.times, found, at_steps, self._events_used(found)):
                self._go_back(points.rows, points.times)
                for kind, pull in ((OUTPUT, self._output), (STEP_END, self._step_end), (EVENT, self._event)):
                    some = points.of_kind(kind)
                    if some.rows.size:
                        pull(some)
            self._go_back(every, problem.times[:, 0])
            self._pull_time(every, numpy.zeros(len(every), int), self.y0, -self.cotangent)
        if self.call.solution is not None:
            self.call.solution.stats.n_backward_field_evals += self.counter.calls
        at_ts = None
        if self.ts.requires_grad:
            at_ts = (self.at_ts.sum(0) if self.ts.dim() == 1 else self.at_ts).to(self.ts.dtype)
        return [self.cotangent, at_ts, *self.gradients]

    def _events_used(self, found: Vector) -> Vector | None:
        """Return which occurrences have a cotangent."""
        used = numpy.zeros(len(found), dtype=bool)
        if self.given.event_times is not None:
            used |= as_host(self.given.event_times != 0)
        if self.given.event_states is not None:
            used |= as_host((self.given.event_states != 0).any(-1))
        return used

    def _go_back(self, rows: Vector, times: Vector) -> None:
        """Solve backwards from where rows are to earlier times."""
        moving = self.now[rows] != times
        rows, times = rows[moving], times[moving]
        begin = self.now[rows]
        self.now[rows] = times
        self.flows[rows] = True
        # a cotangent of zero stays zero, and the state is that of the waypoint
        working = as_host((self.cotangent.index_select(0, self._index(rows)) != 0).any(-1))
        rows, begin, times = rows[working], begin[working], times[working]
        if not rows.size:
            return
        index = self._index(rows)
        y, cotangent, parameters = self.rows.between(
            rows, begin, times, self.y.index_select(0, index), self.cotangent.index_select(0, index)
        )
        self._put(index, y, cotangent)
        accumulate(self.gradients, parameters)

    def _output(self, points: Waypoints) -> None:
        places, index = self._index(points.places), self._index(points.rows)
        state = self.values.saved.index_select(0, places)
        cotangent = self.cotangent.index_select(0, index)
        if self.given.saved is not None:
            own = self.given.saved.index_select(0, places)
            self._pull_time(points.rows, points.details, state, own)
            cotangent = cotangent + own
        self._put(index, state, cotangent)

    def _step_end(self, points: Waypoints) -> None:
        places, index = self._index(points.places), self._index(points.rows)
        if self.values.states is None or self.given.states is None:
            raise RuntimeError("the ends of steps are no outputs")
        cotangent = self.cotangent.index_select(0, index) + self.given.states.index_select(0, places)
        self._put(index, self.values.states.index_select(0, places), cotangent)

    def _event(self, points: Waypoints) -> None:
        for number, event in enumerate(self.problem.events):
            some = points.pick(points.details == number)
            for alters in (False, True):
                part = some.pick(some.alters == alters)
                if part.rows.size:
                    self._pull_event(event, part, alters)

    def _pull_event(self, event: Any, points: Waypoints, alters: bool) -> None:
        """Pull cotangents back through the times of events, and through the jumps there.

        An event moves by ``dt = -(dg/dy dy + dg/dp dp) / (dg/dt + dg/dy f)``; what it moves is its time, the state
        there, and the beginning of the solution behind it.
        """
        places, index = self._index(points.places), self._index(points.rows)
        if self.values.event_states is None:
            raise RuntimeError("a solve with events has their outputs")
        with torch.enable_grad():  # arguments of each sample are picked here
            field = self.problem.field.of(points.rows)
        device = self.y0.device
        before = self.values.event_states.index_select(0, places)
        time = as_column(points.times, device)
        slope = field(time, before)
        behind = self.cotangent.index_select(0, index)
        at_state, at_time = torch.zeros_like(before), torch.zeros_like(time)
        if self.given.event_states is not None:
            at_state = at_state + self.given.event_states.index_select(0, places)
        if self.given.event_times is not None:
            at_time = at_time + self.given.event_times.index_select(0, places).unsqueeze(-1)
        if alters:
            with torch.enable_grad():
                t, y = time.clone().requires_grad_(), before.clone().requires_grad_()
                after = apply_jump(event, field, t, y)
            found = self._grads(after, [t, y], behind)
            at_time, at_state = at_time + found[0], at_state + found[1]
            delayed = (behind * field(time, after.detach())).sum(-1, keepdim=True).double()
            flows = torch.from_numpy(self.flows[points.rows, None]).to(device)
            at_time = at_time - torch.where(flows, delayed, 0.0)
        with torch.enable_grad():
            t, y = time.clone().requires_grad_(), before.clone().requires_grad_()
            entry = self._index(points.entries).unsqueeze(-1)
            value = condition_values(event, field, t, y).gather(1, entry)
        speed = torch.zeros_like(time)
        if value.requires_grad:
            by_t, by_y = torch.autograd.grad(
                value, [t, y], torch.ones_like(value), allow_unused=True, retain_graph=True, materialize_grads=True
            )
            speed = by_t + (by_y * slope).sum(-1, keepdim=True).double()
        moved = at_time + (at_state * slope).sum(-1, keepdim=True).double()
        pulled = torch.where(speed == 0, 0.0, -moved / speed)
        found = self._grads(value, [t, y], pulled.to(value.dtype))
        cotangent = at_state + found[1]
        self._put(index, before, cotangent if alters else behind + cotangent)

    def _grads(self, value: Tensor, inputs: list[Tensor], cotangent: Tensor) -> list[Tensor]:
        """Return the cotangents of inputs, and add up those of the targets."""
        if not value.requires_grad:
            return [torch.zeros_like(one) for one in inputs]
        found = torch.autograd.grad(
            value, [*inputs, *self.targets], cotangent, allow_unused=True, retain_graph=self.call.through
        )
        accumulate(self.gradients, list(found[len(inputs) :]))
        return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(inputs, found, strict=False)]

    def _pull_time(self, rows: Vector, indices: Vector, states: Tensor, cotangent: Tensor) -> None:
        """Add the cotangents of output times, at which rows have states with cotangents."""
        if not self.ts.requires_grad or not rows.size:
            return
        at = self._index(rows)
        if len(states) != len(rows):
            states, cotangent = states.index_select(0, at), cotangent.index_select(0, at)
        time = as_column(self.problem.times[rows, indices], self.y0.device)
        slope = self.problem.field.of(rows)(time, states)
        self.at_ts.index_put_((at, self._index(indices)), (cotangent * slope).sum(-1).double(), accumulate=True)

    def _put(self, index: Tensor, y: Tensor, cotangent: Tensor) -> None:
        self.y = self.y.index_copy(0, index, y)
        self.cotangent = self.cotangent.index_copy(0, index, cotangent)

    def _index(self, values: Vector) -> Tensor:
        return torch.from_numpy(numpy.ascontiguousarray(values)).to(self.y0.device)
