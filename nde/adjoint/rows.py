"""Gradients of row solves: on the tape, or by replaying the recorded iterations from the last to the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.adjoint.checked import check_rows
from nde.adjoint.gate import Gate
from nde.solvers.method import StepResult
from nde.solvers.replay import accumulate
from nde.solvers.rows.field import Counter
from nde.solvers.rows.loop import solve_rows
from nde.solvers.rows.norms import RowNorm
from nde.solvers.rows.problem import RowProblem, RowStepper
from nde.solvers.rows.record import RowOutputs, RowRecord
from nde.solvers.rows.solution import RowSolution, make_row_solution
from nde.solvers.rows.steps import RowOutcome, RowStep, outcome, shift_of, times_of
from nde.solvers.transforms import as_host, is_batched, may_move, transforms_active

__all__ = ["solve_rows_discretely", "solve_rows_on_tape"]


def solve_rows_on_tape(problem: RowProblem, dense: bool) -> RowSolution:
    """Solve in the caller's autograd mode, operation by operation."""
    on_tape = torch.is_grad_enabled() or transforms_active()
    shift = shift_of(problem) if on_tape and may_move(problem.ts) else None
    outputs, record = solve_rows(problem, shift, on_tape, keep_states=False, dense=dense)
    return make_row_solution(problem, outputs, record)


@dataclass
class _Replay:
    """What the forward and the backward pass of one solve share."""

    problem: RowProblem
    dense: bool
    n_targets: int
    through: bool
    backward: Counter = field(default_factory=Counter)
    record: RowRecord | None = None
    solution: RowSolution | None = None


def solve_rows_discretely(problem: RowProblem, dense: bool) -> RowSolution:
    """Solve without a tape; the outputs are joined to the user's tape by one node."""
    method = problem.method
    if not torch.is_grad_enabled() or transforms_active() or not method.carry_is_function_of_state:
        return solve_rows_on_tape(problem, dense)
    saved = None if problem.saver is None else problem.saver.function
    captured = captured_tensors(problem.field.functions, (problem.field.all_args, problem.events, saved))
    targets, through = gradient_targets(captured)
    check_rows(problem, targets, "discrete")
    if not (targets or problem.y0.requires_grad or problem.ts.requires_grad):
        with torch.no_grad():
            return solve_rows_on_tape(problem, dense)
    replay = _Replay(problem, dense, len(targets), through)
    passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
    outputs = RowOutputs(*_JoinRowsToTape.apply(replay, problem.y0, problem.ts, *targets, *passed))
    if replay.record is None:
        raise RuntimeError("the solve left no record")
    replay.solution = make_row_solution(problem, outputs, replay.record)
    return replay.solution


class _JoinRowsToTape(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, replay: _Replay, y0: Tensor, ts: Tensor, *captured: Tensor) -> tuple[Tensor | None, ...]:
        outputs, record = solve_rows(replay.problem, None, on_tape=False, keep_states=True, dense=replay.dense)
        replay.record = record
        ctx.replay = replay
        ctx.set_materialize_grads(False)
        device = y0.device.type
        ctx.autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        states = [step.y for step in record.steps if step.y is not None]
        for step in record.steps:
            step.y = None
        ctx.save_for_backward(y0, ts, *captured[: replay.n_targets], *states)
        ctx.passed = len(captured) - replay.n_targets
        return outputs.all()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        if any(cotangent is not None and is_batched(cotangent) for cotangent in cotangents):
            raise RuntimeError(
                'adjoint="discrete" cannot be differentiated under vmap, which is what vectorize=True and '
                'is_grads_batched=True do. Use adjoint="direct" there.'
            )
        y0, ts, *saved = ctx.saved_tensors
        targets, states = saved[: ctx.replay.n_targets], saved[ctx.replay.n_targets :]
        given = RowOutputs(*cotangents)  # type: ignore[arg-type]  # None where an output was not used
        with ctx.autocast:
            pull = _pull_on_tape if torch.is_grad_enabled() else _pull_steps
            grads = pull(ctx.replay, y0, ts, targets, states, given)
        return (None, *grads, *[None] * ctx.passed)


def _take(
    problem: RowProblem, stepper: RowStepper, step: RowStep, y: Tensor, shift: Tensor | None, ts: Tensor | None
) -> tuple[StepResult, RowOutcome]:
    """Take recorded steps again on the tape."""
    local = dataclasses.replace(problem, field=problem.field.of(step.rows))
    t, h = times_of(step, shift, ts, y.device)
    result = stepper.step(local.field, t, h, y, stepper.start(local.field, t, y))
    return result, outcome(local, stepper, step, y, result, shift, ts)


class _Sections:
    """Splits outputs in the order of the record from its end, as a backward pass needs them."""

    def __init__(self, values: Tensor | None) -> None:
        self._values = values
        self._stop = 0 if values is None else values.shape[0]

    def last(self, count: int) -> Tensor | None:
        if self._values is None:
            return None
        self._stop -= count
        return self._values[self._stop : self._stop + count]


def _pull_steps(
    replay: _Replay, y0: Tensor, ts: Tensor, targets: Sequence[Tensor], states: Sequence[Tensor], given: RowOutputs
) -> list[Tensor | None]:
    """Return the cotangents of y0, ts and the targets, iteration by iteration."""
    problem = replay.problem.with_field(replay.backward, y0, ts)
    stepper, record = problem.stepper(), replay.record
    if record is None:
        raise RuntimeError("the solve left no record")
    with_ts = ts.requires_grad
    with_times = with_ts or bool(problem.events)
    norm = RowNorm(problem.layout, problem.rtol, problem.atol, problem.norm)
    gradients: list[Tensor | None] = [None] * len(targets)
    state = torch.zeros_like(y0) if given.y1 is None else given.y1.clone()
    at_time = torch.zeros(y0.shape[0], 1, dtype=torch.float64, device=y0.device)
    at_ts = torch.zeros(problem.times.shape, dtype=torch.float64, device=y0.device)
    saved, ends = _Sections(given.saved), _Sections(given.states)
    errors, stiffness, vectors = _Sections(given.error), _Sections(given.stiffness), _Sections(given.local_error)
    event_times, event_states = _Sections(given.event_times), _Sections(given.event_states)
    unread = _unread(record, given)
    for step, before in zip(reversed(record.steps), reversed(states), strict=True):
        if unread is not None and unread[step.rows].any():
            step = dataclasses.replace(step, h=numpy.where(unread[step.rows], 0.0, step.h))
        rows = torch.from_numpy(step.rows).to(y0.device)
        count = len(step.rows)
        with torch.enable_grad():
            y = before.detach().requires_grad_()
            shift = torch.zeros(count, 1, dtype=torch.float64, device=y.device).requires_grad_() if with_times else None
            ts_leaf = torch.zeros_like(at_ts).requires_grad_() if with_ts else None
            result, left = _take(problem, stepper, step, y, shift, ts_leaf)
            pairs: list[tuple[Tensor | None, Tensor | None]] = []
            end = ends.last(count)
            pairs.append((left.y1, state[rows] if end is None else state[rows] + end))
            if left.shift is not None:
                pairs.append((left.shift, at_time[rows]))
            pairs.append((left.ends, saved.last(len(step.end_places))))
            pairs.append((left.inner, saved.last(len(step.places))))
            for hits, time, found in reversed(list(zip(step.hits, left.event_times, left.event_states, strict=True))):
                pairs.append((time, event_times.last(len(hits.places))))
                pairs.append((found, event_states.last(len(hits.places))))
            if result.errors is not None:
                local = norm.of(rows)
                if given.error is not None:
                    pairs.append((local.ratio(result.errors, y, result.y1), errors.last(count)))
                if given.local_error is not None:
                    pairs.append((local.local_error(result.errors, y, result.y1), vectors.last(count)))
            if given.stiffness is not None:
                pairs.append((norm.stiffness(result, y), stiffness.last(count)))
        used = [(out, cot) for out, cot in pairs if out is not None and cot is not None and out.requires_grad]
        inputs = [y, *([shift] if shift is not None else []), *([ts_leaf] if ts_leaf is not None else []), *targets]
        grads = torch.autograd.grad(
            [out for out, _ in used],
            inputs,
            [cot for _, cot in used],
            allow_unused=True,
            retain_graph=replay.through,
        )
        found_grads = iter(grads)
        at_y = next(found_grads)
        state.index_copy_(0, rows, torch.zeros_like(y) if at_y is None else at_y)
        if shift is not None:
            at_shift = next(found_grads)
            at_time.index_copy_(0, rows, torch.zeros_like(shift) if at_shift is None else at_shift)
        if ts_leaf is not None:
            part = next(found_grads)
            if part is not None:
                at_ts += part
        accumulate(gradients, list(found_grads))
    if replay.solution is not None:
        replay.solution.stats.n_backward_field_evals = replay.backward.calls
    if with_ts:
        at_ts[:, :1] += at_time
        total: Tensor | None = (at_ts.sum(0) if ts.dim() == 1 else at_ts).to(ts.dtype)
    else:
        total = None
    return [state, total, *gradients]


def _unread(record: RowRecord, given: RowOutputs) -> numpy.ndarray | None:
    """Return which failed samples no cotangent reaches; None if there are none.

    Their last steps end where the field is singular, and a vanishing cotangent times an infinite derivative is NaN,
    which parameters that all samples share would hand on to the others.
    """
    failed = list(record.failures)
    if not failed:
        return None
    unread = numpy.zeros(len(record.statuses), dtype=bool)
    unread[failed] = True
    if given.y1 is not None:
        unread &= ~as_host((given.y1 != 0).any(-1))
    steps, nothing = record.steps, numpy.empty(0, int)
    of_steps = numpy.concatenate([nothing, *(step.rows for step in steps)])
    of_saved = [step.rows[places] for step in steps for places in (step.places, step.end_places)]
    of_events = [step.rows[hits.places] for step in steps for hits in step.hits]
    for values, samples in (
        *((value, of_steps) for value in (given.error, given.stiffness, given.local_error, given.states)),
        (given.saved, numpy.concatenate([nothing, *of_saved])),
        *((value, numpy.concatenate([nothing, *of_events])) for value in (given.event_times, given.event_states)),
    ):
        if values is not None and len(samples):
            unread[samples[as_host((values.reshape(len(samples), -1) != 0).any(-1))]] = False
    return unread


def _pull_on_tape(
    replay: _Replay, y0: Tensor, ts: Tensor, targets: Sequence[Tensor], states: Sequence[Tensor], given: RowOutputs
) -> list[Tensor | None]:
    """Return the cotangents as differentiable tensors, by recording the same steps with autograd."""
    # y0 and ts may depend on the targets: that path belongs to the caller's graph and is shut, not cut
    gate = [False]
    start, times = (Gate.apply(tensor, gate) if tensor.requires_grad else tensor for tensor in (y0, ts))
    problem = replay.problem.with_field(replay.backward, start, times)
    outputs = _retrace(replay, problem)
    pairs = [
        (out, cot)
        for out, cot in zip(outputs.all(), given.all(), strict=True)
        if out is not None and cot is not None and out.requires_grad
    ]
    inputs = [tensor for tensor in (start, times, *targets) if tensor.requires_grad]
    found = torch.autograd.grad(
        [out for out, _ in pairs], inputs, [cot for _, cot in pairs], create_graph=True, allow_unused=True
    )
    gate[0] = True
    grads = iter(found)
    return [next(grads) if tensor.requires_grad else None for tensor in (start, times, *targets)]


def _retrace(replay: _Replay, problem: RowProblem) -> RowOutputs:
    """Take all recorded steps again on the tape."""
    stepper, record = problem.stepper(), replay.record
    if record is None:
        raise RuntimeError("the solve left no record")
    ts_shift = shift_of(problem) if problem.ts.requires_grad else None
    norm = RowNorm(problem.layout, problem.rtol, problem.atol, problem.norm)
    state, shift = problem.y0, None
    if ts_shift is not None:
        shift = ts_shift[:, :1]
    elif problem.events:
        shift = torch.zeros(state.shape[0], 1, dtype=torch.float64, device=state.device)
    kept: dict[str, list[Tensor]] = {name: [] for name in RowOutputs.__dataclass_fields__}
    for step in record.steps:
        rows = torch.from_numpy(step.rows).to(state.device)
        y = state[rows]
        result, left = _take(problem, stepper, step, y, None if shift is None else shift[rows], ts_shift)
        state = state.index_copy(0, rows, left.y1)
        if shift is not None and left.shift is not None:
            shift = shift.index_copy(0, rows, left.shift)
        kept["saved"].extend(part for part in (left.inner, left.ends) if part is not None)
        kept["states"].append(left.y1)
        kept["event_times"].extend(left.event_times)
        kept["event_states"].extend(left.event_states)
        if result.errors is not None:
            local = norm.of(rows)
            kept["error"].append(local.ratio(result.errors, y, result.y1))
            kept["local_error"].append(local.local_error(result.errors, y, result.y1))
        stiffness = norm.stiffness(result, y)
        if stiffness is not None:
            kept["stiffness"].append(stiffness)
    kept["y1"] = [state]
    return RowOutputs(**{name: torch.cat(parts) if parts else None for name, parts in kept.items()})  # type: ignore[arg-type]
