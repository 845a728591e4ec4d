"""The discrete adjoint: solve without a tape, then pull cotangents back through the recorded steps, last to first.

Memory is one state per accepted step, and the gradient is that of the numbers that the solve computed, as with the
direct adjoint: the two agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nde.adjoint.adjoint import Adjoint
from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.adjoint.checked import checked
from nde.adjoint.direct import DirectAdjoint
from nde.adjoint.recorded import (
    OutputCotangents,
    RecordedCall,
    autocast_of,
    pull_on_tape,
    reject_batched,
    reject_carry,
    walk_back,
)
from nde.adjoint.rows import solve_rows_discretely
from nde.solvers.march import known_steps
from nde.solvers.method import Reversal, StepCotangents, TimeCotangents
from nde.solvers.problem import Problem
from nde.solvers.record import SolveOutputs, borrowed_workspace, make_record, make_solution
from nde.solvers.replay import AutogradReverser
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.solution import Solution, Stats
from nde.solvers.step_tapes import StepGraph, TapingMethod
from nde.solvers.tape import StepTape, TapeTooLargeError, TapingField
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import transforms_active

__all__ = ["DiscreteAdjoint"]


@dataclass
class _Replay(RecordedCall):
    tape_memory: int = 0
    tapes: dict[int, StepTape] | dict[int, StepGraph] = field(default_factory=dict)


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
        """Solve without a tape of the whole; the outputs are joined to the user's tape by one node.

        Raises:
            ValueError: The problem has a first carry, of which this adjoint has no gradient.
        """
        reject_carry(problem, "discrete")
        if not torch.is_grad_enabled() or transforms_active():
            return DirectAdjoint().solve(problem)
        captured = captured_tensors(problem.field.functions, problem.field.args)
        targets, through = gradient_targets(captured)
        guarded = replace(problem, field=checked(problem.field, targets, "discrete"))
        if not (targets or problem.y0.requires_grad or problem.ts.requires_grad):
            with torch.no_grad():
                return DirectAdjoint().solve(guarded)
        if self._may_keep_all(problem):
            with suppress(TapeTooLargeError):
                solution = DirectAdjoint(self.tape_memory).solve(guarded)
                # otherwise nothing was found to depend on what gradients are wanted for, which the joined outputs say
                if problem.structure.flatten(solution.y1, "y1").requires_grad:
                    return solution
            guarded = replace(problem, field=checked(problem.field, targets, "discrete"))
        call = _Replay(guarded, len(targets), through, tape_memory=self.tape_memory)
        # captured tensors that gradients pass through are inputs too, so that their own graph is used after this node
        passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
        outputs = SolveOutputs(*_JoinToTape.apply(call, problem.y0, problem.ts, *targets, *passed))
        return make_solution(problem, outputs, call.record, call.stats)

    def _may_keep_all(self, problem: Problem) -> bool:
        """Return whether one tape of the whole may do: its parts cost more to join than it costs to keep."""
        steps_are_taped = problem.method.keeps_step_tapes and not (problem.ts.requires_grad or problem.field.selective)
        return self.tape_memory > 0 and steps_are_taped and known_steps(problem) is not None

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
        taped = replace(problem, field=field, method=method)
        outputs, record = make_record(taped, TimeAxis(problem.times, None), on_tape=False, keep_states=True)
        replay.record = record
        replay.tapes = {} if taping is None else taping.tapes(outputs.y1)
        replay.stats = Stats(problem.field.evaluations, record.progress.accepted, record.progress.rejected)
        ctx.replay = replay
        ctx.set_materialize_grads(False)
        ctx.autocast = autocast_of(y0)
        # saved as autograd's own, the states are released with the graph, or kept where its user says
        states = [step.y for step in record.steps if step.y is not None]
        for step in record.steps:
            step.y = None
        ctx.save_for_backward(y0, ts, outputs.y1, *captured[: replay.n_targets], *states)
        ctx.passed = len(captured) - replay.n_targets
        return outputs.all()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        reject_batched(cotangents, "discrete")
        y0, ts, y1, *saved = ctx.saved_tensors
        targets, states = saved[: ctx.replay.n_targets], saved[ctx.replay.n_targets :]
        with ctx.autocast:
            # a gradient that is itself to be differentiated needs the whole solve on the tape
            if torch.is_grad_enabled():
                grads = pull_on_tape(ctx.replay, y0, ts, targets, OutputCotangents(*cotangents))
            else:
                grads = _pull_steps(ctx.replay, [*states, y1], ts, targets, OutputCotangents(*cotangents))
        return (None, *grads, *[None] * ctx.passed)


def _pull_steps(
    replay: _Replay, states: Sequence[Tensor], ts: Tensor, targets: Sequence[Tensor], cotangents: OutputCotangents
) -> list[Tensor | None]:
    """Return the cotangents of y0, ts and the targets, step by step in constant memory."""
    problem, record = replay.problem, replay.record
    vector_field = problem.field.fresh()
    reversal = Reversal(vector_field, problem.error_norm(), targets, ts.requires_grad, replay.through)
    tapes, replay.tapes = replay.tapes, {}  # a tape serves one backward pass; further ones replay every step
    with borrowed_workspace(problem) as workspace:
        reverser = problem.method.reverser(reversal, workspace) or AutogradReverser(problem.method, reversal)

        def pull(index: int, asked: StepCotangents) -> tuple[Tensor, TimeCotangents | None]:
            step, tape = record.steps[index], tapes.pop(index, None)
            before, after = states[index].detach(), states[index + 1].detach()
            return reverser.pull(step.t, step.h, before, after, step.carry, asked, tape)

        state, at_times = walk_back(record, states[-1], ts, cotangents, pull, reverser.finish)
    replay.stats.n_backward_field_evals += vector_field.evaluations
    return [state, at_times, *reverser.gradients]
