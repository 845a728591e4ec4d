"""The reversible adjoint: solve without a tape, then undo the steps from the last to the first.

What is kept is the final state and carry and the times of the steps. The gradient is that of the numbers that the solve
computed, as with the direct adjoint, up to the rounding with which the states are rebuilt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
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
    walk_back,
)
from nde.solvers.method import Reversal, StepCotangents, StepUndoer, TimeCotangents
from nde.solvers.problem import Problem
from nde.solvers.record import SolveOutputs, make_record, make_solution
from nde.solvers.registry import find_method, method_names
from nde.solvers.replay import AutogradUndoer
from nde.solvers.sde import SDEField, SDEMethod, find_sde_method, sde_method_names
from nde.solvers.solution import Solution, Stats
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import transforms_active

__all__ = ["ReversibleAdjoint"]


@dataclass(frozen=True)
class ReversibleAdjoint(Adjoint):
    """Cotangents pulled back through steps that are undone, last to first; the method must be reversible.

    Memory does not grow with the number of steps. The backward pass makes one evaluation per step, at the rebuilt
    state. Gradients that are to be differentiated further take the recorded steps again on the tape, in the memory of
    the direct adjoint.

    Reference:
        Kidger, Foster, Li, Lyons (2021), Efficient and accurate gradients for neural SDEs, algorithm 2.
    """

    def solve(self, problem: Problem) -> Solution:
        """Solve without a tape; the outputs are joined to the user's tape by one node.

        Raises:
            ValueError: The method is not reversible.
        """
        if not problem.method.reversible:
            raise ValueError(_refusal(problem))
        if not torch.is_grad_enabled() or transforms_active():
            return DirectAdjoint().solve(problem)
        captured = captured_tensors(problem.field.functions, problem.field.args)
        targets, through = gradient_targets(captured)
        guarded = dataclasses.replace(problem, field=checked(problem.field, targets, "reversible"))
        carry0: tuple[Tensor, ...] = problem.carry0 or ()
        if not any(tensor.requires_grad for tensor in (problem.y0, problem.ts, *carry0, *targets)):
            with torch.no_grad():
                return DirectAdjoint().solve(guarded)
        call = RecordedCall(guarded, len(targets), through)
        # captured tensors that gradients pass through are inputs too, so that their own graph is used after this node
        passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
        *found, carry1 = _split(_JoinReversible.apply(call, problem.y0, problem.ts, *carry0, *targets, *passed))
        return make_solution(problem, SolveOutputs(*found), call.record, call.stats, carry1)


_N_OUTPUTS = len(OutputCotangents._fields)


def _split(outputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return the outputs of a solve, and the carry that follows them as one; None if there is none."""
    return *outputs[:_N_OUTPUTS], tuple(outputs[_N_OUTPUTS:]) or None


class _JoinReversible(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: RecordedCall, y0: Tensor, ts: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        problem = call.problem
        n_carry = len(problem.carry0 or ())
        # a solve of its own tensors: what it keeps must not lead back to the node
        outputs, call.record = make_record(problem, TimeAxis(problem.times, None), on_tape=False, keep_states=False)
        carry1 = call.record.carry1 or ()
        call.record = dataclasses.replace(call.record, carry1=None)
        progress = call.record.progress
        call.stats = Stats(problem.field.evaluations, progress.accepted, progress.rejected)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, ts, *others[: n_carry + call.n_targets], outputs.y1, *carry1)
        ctx.n_carry, ctx.passed = n_carry, len(others) - n_carry - call.n_targets
        ctx.autocast = autocast_of(y0)
        return *outputs.all(), *carry1

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        reject_batched(cotangents, "reversible")
        *given, at_carry1 = _split(cotangents)
        call: RecordedCall = ctx.call
        y0, ts, *saved = ctx.saved_tensors
        carry0, saved = saved[: ctx.n_carry], saved[ctx.n_carry :]
        targets, (y1, *carry1) = saved[: call.n_targets], saved[call.n_targets :]
        with ctx.autocast:
            if torch.is_grad_enabled():
                grads = pull_on_tape(call, y0, ts, targets, OutputCotangents(*given), carry0, at_carry1)
            else:
                grads = _undo_steps(call, y1, tuple(carry1), ts, targets, OutputCotangents(*given), at_carry1)
        return (None, *grads, *[None] * ctx.passed)


def _undo_steps(
    call: RecordedCall,
    y1: Tensor,
    carry1: tuple[Tensor, ...],
    ts: Tensor,
    targets: Sequence[Tensor],
    cotangents: OutputCotangents,
    at_carry1: Sequence[Tensor | None] | None,
) -> list[Tensor | None]:
    """Return the cotangents of y0, ts, the first carry and the targets, step by step in constant memory."""
    problem, steps = call.problem, call.record.steps
    vector_field = problem.field.fresh()
    reversal = Reversal(vector_field, problem.error_norm(), targets, ts.requires_grad, call.through)
    at_carry0: list[Tensor | None] = [None] * len(problem.carry0 or ())
    if not steps:
        return [cotangents.y1, None, *at_carry0, *[None] * len(targets)]
    t1, y1, carry1 = steps[-1].t1, y1.detach(), tuple(tensor.detach() for tensor in carry1)
    undoer: StepUndoer = problem.method.undoer(reversal, t1, y1, carry1, at_carry1) or AutogradUndoer(
        problem.method, reversal, y1, carry1, at_carry1
    )

    def pull(index: int, asked: StepCotangents) -> tuple[Tensor, TimeCotangents | None]:
        return undoer.pull(steps[index].t, steps[index].h, asked)

    def finish() -> tuple[Tensor | None, Tensor | None]:
        if problem.carry0 is None:
            return undoer.finish()
        at_carry0[:] = undoer.leave()
        return None, None

    state, at_times = walk_back(call.record, y1, ts, cotangents, pull, finish)
    call.stats.n_backward_field_evals += vector_field.evaluations
    return [state, at_times, *at_carry0, *undoer.gradients]


def _refusal(problem: Problem) -> str:
    method, field = problem.method, problem.field
    if isinstance(method, SDEMethod) and isinstance(field, SDEField):
        where = f" for calculus={method.calculus!r} and noise={field.noise!r}"
        names = [
            name
            for name in sde_method_names(method.calculus, field.noise)
            if find_sde_method(name, method.calculus, field.noise).reversible
        ]
    else:
        where, names = "", [name for name in method_names() if find_method(name).reversible]
    known = f"Reversible methods{where}: {', '.join(names) or 'none'}."
    return (
        f'adjoint="reversible" undoes the steps, but those of method={method.name!r} cannot be undone. {known} With '
        'other methods, choose adjoint="discrete".'
    )
