"""The discrete adjoint: solve without a tape, then pull cotangents back through the recorded steps, last to first.

Memory is one state per accepted step, and the gradient is that of the numbers that the solve computed, as with the
direct adjoint: the two agree to rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.adjoint.adjoint import Adjoint
from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.adjoint.checked import checked
from nde.adjoint.direct import DirectAdjoint
from nde.adjoint.gate import Gate
from nde.adjoint.rows import solve_rows_discretely
from nde.solvers.method import Reversal, StepCotangents, TimeCotangents
from nde.solvers.outputs import StepOutputs
from nde.solvers.problem import Problem
from nde.solvers.record import (
    Record,
    RecordedStep,
    SolveOutputs,
    borrowed_workspace,
    make_record,
    make_solution,
    retrace,
)
from nde.solvers.replay import AutogradReverser
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.solution import Solution, Stats
from nde.solvers.step_tapes import StepGraph, TapingMethod
from nde.solvers.tape import StepTape, TapingField
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import is_batched, transforms_active

__all__ = ["DiscreteAdjoint"]


class _Cotangents(NamedTuple):
    """Cotangents of the outputs of a solve; None where an output was not used. See `SolveOutputs`."""

    inner: Tensor | None
    y1: Tensor | None
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None


@dataclass
class _Replay:
    """What the forward and the backward pass of one solve share."""

    problem: Problem
    n_targets: int
    through: bool
    tape_memory: int
    record: Record = field(default_factory=Record)
    tapes: dict[int, StepTape] | dict[int, StepGraph] = field(default_factory=dict)
    stats: Stats = field(default_factory=lambda: Stats(0, 0, 0))


@dataclass(frozen=True)
class DiscreteAdjoint(Adjoint):
    """Cotangents pulled back through the recorded steps, last to first.

    Args:
        tape_memory: Bytes that the states of all steps, and tapes of the last steps, may take together; steps whose
            tape was kept need no replay. With 0 every step is replayed, and memory is one state per step.

    Raises:
        TypeError: ``tape_memory`` is no integer.
        ValueError: It is negative.
    """

    tape_memory: int = 96 * 2**20

    def __post_init__(self) -> None:
        if isinstance(self.tape_memory, bool) or not isinstance(self.tape_memory, int):
            raise TypeError(f"tape_memory must be a whole number of bytes, but is {self.tape_memory!r}.")
        if self.tape_memory < 0:
            raise ValueError(f"tape_memory must be zero or positive, but is {self.tape_memory}.")

    def solve(self, problem: Problem) -> Solution:
        """Solve without a tape of the whole; the outputs are joined to the user's tape by one node."""
        if not torch.is_grad_enabled() or transforms_active():
            return DirectAdjoint().solve(problem)
        captured = captured_tensors(problem.field.functions, problem.field.args)
        targets, through = gradient_targets(captured)
        guarded = dataclasses.replace(problem, field=checked(problem.field, targets, "discrete"))
        if not (targets or problem.y0.requires_grad or problem.ts.requires_grad):
            with torch.no_grad():
                return DirectAdjoint().solve(guarded)
        replay = _Replay(guarded, len(targets), through, self.tape_memory)
        # captured tensors that gradients pass through are inputs too, so that their own graph is used after this node
        passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
        outputs = SolveOutputs(*_JoinToTape.apply(replay, problem.y0, problem.ts, *targets, *passed))
        return make_solution(problem, outputs, replay.record, replay.stats)

    def solve_rows(self, problem: RowProblem, dense: bool) -> RowSolution:
        """See `Adjoint.solve_rows`; every iteration is replayed, as with ``tape_memory=0``."""
        return solve_rows_discretely(problem, dense)


class _JoinToTape(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, replay: _Replay, y0: Tensor, ts: Tensor, *captured: Tensor) -> tuple[Tensor | None, ...]:
        problem, field = replay.problem, replay.problem.field
        method: Any = problem.method
        taping: TapingField | TapingMethod | None = None
        if method.uses_tapes:
            taping = field = TapingField(field, captured, ts.requires_grad, replay.tape_memory)
        elif method.keeps_step_tapes and not ts.requires_grad:
            taping = method = TapingMethod(method, captured, replay.tape_memory)
        taped = dataclasses.replace(problem, field=field, method=method)
        outputs, record = make_record(taped, TimeAxis(problem.times, None), on_tape=False, keep_states=True)
        replay.record = record
        replay.tapes = {} if taping is None else taping.tapes(outputs.y1)
        replay.stats = Stats(problem.field.evaluations, record.progress.accepted, record.progress.rejected)
        ctx.replay = replay
        ctx.set_materialize_grads(False)
        device = y0.device.type
        ctx.autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        # saved as autograd's own, the states are released with the graph, or kept where its user says
        states = [step.y for step in record.steps if step.y is not None]
        for step in record.steps:
            step.y = None
        ctx.save_for_backward(y0, ts, outputs.y1, *captured[: replay.n_targets], *states)
        ctx.passed = len(captured) - replay.n_targets
        return outputs.all()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        if any(cotangent is not None and is_batched(cotangent) for cotangent in cotangents):
            raise RuntimeError(
                'adjoint="discrete" cannot be differentiated under vmap, which is what vectorize=True and '
                'is_grads_batched=True do. Use adjoint="direct" there.'
            )
        y0, ts, y1, *saved = ctx.saved_tensors
        targets, states = saved[: ctx.replay.n_targets], saved[ctx.replay.n_targets :]
        with ctx.autocast:
            # a gradient that is itself to be differentiated needs the whole solve on the tape
            if torch.is_grad_enabled():
                grads = _pull_on_tape(ctx.replay, y0, ts, targets, _Cotangents(*cotangents))
            else:
                grads = _pull_steps(ctx.replay, [*states, y1], ts, targets, _Cotangents(*cotangents))
        return (None, *grads, *[None] * ctx.passed)


def _pull_steps(
    replay: _Replay, states: Sequence[Tensor], ts: Tensor, targets: Sequence[Tensor], cotangents: _Cotangents
) -> list[Tensor | None]:
    """Return the cotangents of y0, ts and the targets, step by step in constant memory."""
    problem, record, stats = replay.problem, replay.record, replay.stats
    vector_field = problem.field.fresh()
    norm = problem.error_norm()
    reversal = Reversal(vector_field, norm, targets, ts.requires_grad, replay.through)
    tapes, replay.tapes = replay.tapes, {}  # a tape serves one backward pass; further ones replay every step
    times = _OutputTimes(ts) if ts.requires_grad else None
    state = torch.zeros_like(states[-1]) if cotangents.y1 is None else cotangents.y1
    with borrowed_workspace(problem) as workspace:
        reverser = problem.method.reverser(reversal, workspace) or AutogradReverser(problem.method, reversal)
        # one transfer from the device for all steps
        ratios = None if cotangents.error is None else cotangents.error.tolist()
        stiffness = None if cotangents.stiffness is None else cotangents.stiffness.tolist()
        for index in range(len(record.steps) - 1, -1, -1):
            step = record.steps[index]
            asked = StepCotangents(state)
            _ask_outputs(asked, step.outputs, cotangents.inner)
            if ratios is not None:
                asked.ratio = ratios[index]
            if stiffness is not None:
                asked.stiffness = stiffness[index]
            if cotangents.local_error is not None:
                asked.local_error = cotangents.local_error[index]
            tape = tapes.pop(index, None)
            before, after = states[index].detach(), states[index + 1].detach()
            state, at_times = reverser.pull(step.t, step.h, before, after, step.carry, asked, tape)
            if times is not None and at_times is not None:
                times.add(step, at_times)
        first_state, first_time = reverser.finish()
    if first_state is not None:
        state = state + first_state
    if times is not None and first_time is not None:
        times.total[0] += first_time
    stats.n_backward_field_evals += vector_field.evaluations
    return [state, None if times is None else times.total.to(ts.dtype), *reverser.gradients]


def _ask_outputs(asked: StepCotangents, outputs: StepOutputs, rows: Tensor | None) -> None:
    """Add the cotangents of the output rows that lie in a step; the first row belongs to the second output time."""
    if rows is None:
        return
    if outputs.at_end is not None:
        asked.y1 = asked.y1 + rows[outputs.at_end - 1]
    if outputs.thetas:
        asked.thetas = outputs.thetas
        asked.outputs = rows[outputs.first - 1 : outputs.first - 1 + len(outputs.thetas)]


class _OutputTimes:
    """Sums the cotangents of the output times; see `nde.solvers.time_axis` for what moves with what."""

    def __init__(self, ts: Tensor) -> None:
        self.total = torch.zeros(ts.shape, dtype=torch.float64, device=ts.device)

    def add(self, step: RecordedStep, cotangents: TimeCotangents) -> None:
        at_start, of_size = cotangents.t, cotangents.h
        if cotangents.thetas is not None:
            scaled = cotangents.thetas.double() / step.h
            first, thetas = step.outputs.first, step.outputs.thetas
            self.total[first : first + len(thetas)] += scaled
            at_start = at_start - scaled.sum()
            of_size = of_size - torch.dot(scaled, scaled.new_tensor(thetas))
        if step.start is not None:
            self.total[step.start] += at_start
        if step.start != step.end:  # otherwise both ends move together and the size is a constant
            if step.start is not None:
                self.total[step.start] -= of_size
            if step.end is not None:
                self.total[step.end] += of_size


def _pull_on_tape(
    replay: _Replay, y0: Tensor, ts: Tensor, targets: Sequence[Tensor], cotangents: _Cotangents
) -> list[Tensor | None]:
    """Return the cotangents as differentiable tensors, by recording the same steps with autograd."""
    problem, record, stats = replay.problem, replay.record, replay.stats
    vector_field = problem.field.fresh()
    # y0 and ts may depend on the targets. That path belongs to the caller's graph, not to these cotangents; but further
    # derivatives of these need it, so that it is shut for now and not cut.
    gate = [False]
    start, times = (Gate.apply(tensor, gate) if tensor.requires_grad else tensor for tensor in (y0, ts))
    axis = TimeAxis(problem.times, times if ts.requires_grad else None)
    retraced = dataclasses.replace(problem, field=vector_field, y0=start, ts=times)
    outputs = retrace(retraced, axis, record.steps)
    pairs = [
        (output, cotangent)
        for output, cotangent in zip(outputs.all(), cotangents, strict=True)
        if output is not None and cotangent is not None and output.requires_grad
    ]
    inputs = [tensor for tensor in (start, times, *targets) if tensor.requires_grad]
    found = torch.autograd.grad(
        [output for output, _ in pairs], inputs, [given for _, given in pairs], create_graph=True, allow_unused=True
    )
    gate[0] = True
    grads = iter(found)
    stats.n_backward_field_evals += vector_field.evaluations
    return [next(grads) if tensor.requires_grad else None for tensor in (start, times, *targets)]
