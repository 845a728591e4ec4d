"""What the backward passes through recorded steps have in common: which step's outputs a cotangent belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.adjoint.gate import Gate
from nde.solvers.method import StepCotangents, TimeCotangents
from nde.solvers.outputs import StepOutputs
from nde.solvers.problem import Problem
from nde.solvers.record import Record, RecordedStep, retrace
from nde.solvers.solution import Stats
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import is_batched

__all__ = [
    "OutputCotangents",
    "RecordedCall",
    "autocast_of",
    "pull_on_tape",
    "reject_batched",
    "reject_carry",
    "walk_back",
]


class OutputCotangents(NamedTuple):
    """Cotangents of the outputs of a solve; None where an output was not used. See `SolveOutputs`."""

    inner: Tensor | None
    y1: Tensor | None
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None


@dataclass
class RecordedCall:
    """What the forward and the backward pass of one solve share.

    Attributes:
        problem: The problem.
        n_targets: Number of tensors, besides the state and the times, that gradients are wanted for.
        through: Whether gradients pass through a graph from before the solve to reach them.
        record: The steps, once they are taken.
        stats: Their cost.
    """

    problem: Problem
    n_targets: int
    through: bool
    record: Record = field(default_factory=Record)
    stats: Stats = field(default_factory=lambda: Stats(0, 0, 0))


def autocast_of(y0: Tensor) -> Any:
    """Return a context of the autocast mode that holds now."""
    device = y0.device.type
    return torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))


def reject_batched(cotangents: Sequence[Tensor | None], adjoint: str) -> None:
    """Raise RuntimeError where ``vmap`` has hidden an axis of a cotangent."""
    if any(cotangent is not None and is_batched(cotangent) for cotangent in cotangents):
        raise RuntimeError(
            f'adjoint="{adjoint}" cannot be differentiated under vmap, which is what vectorize=True and '
            'is_grads_batched=True do. Use adjoint="direct" there.'
        )


def reject_carry(problem: Problem, adjoint: str) -> None:
    """Raise ValueError where a problem gives the first carry, and gradients are recorded."""
    if problem.carry0 is not None and torch.is_grad_enabled():
        raise ValueError(
            f'carry0 has no gradient with adjoint="{adjoint}". Choose adjoint="reversible" or adjoint="direct".'
        )


def walk_back(
    record: Record,
    y1: Tensor,
    ts: Tensor,
    cotangents: OutputCotangents,
    pull: Callable[[int, StepCotangents], tuple[Tensor, TimeCotangents | None]],
    finish: Callable[[], tuple[Tensor | None, Tensor | None]],
) -> tuple[Tensor, Tensor | None]:
    """Pull cotangents through the steps of a record, from the last to the first.

    Args:
        record: The steps.
        y1: The state at their end.
        ts: Output times.
        cotangents: Cotangents of the outputs.
        pull: Takes a step's index and the cotangents of its outputs; see `StepReverser.pull`.
        finish: See `StepReverser.finish`.

    Returns:
        The cotangents of the initial state and of the output times; None for these if they need none.
    """
    times = _OutputTimes(ts) if ts.requires_grad else None
    state = torch.zeros_like(y1) if cotangents.y1 is None else cotangents.y1
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
        state, at_times = pull(index, asked)
        if times is not None and at_times is not None:
            times.add(step, at_times)
    first_state, first_time = finish()
    if first_state is not None:
        state = state + first_state
    if times is not None and first_time is not None:
        times.total[0] += first_time
    return state, None if times is None else times.total.to(ts.dtype)


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


def pull_on_tape(
    call: RecordedCall,
    y0: Tensor,
    ts: Tensor,
    targets: Sequence[Tensor],
    cotangents: OutputCotangents,
    carry0: Sequence[Tensor] = (),
    at_carry1: Sequence[Tensor | None] = (),
) -> list[Tensor | None]:
    """Return the cotangents of y0, ts, the first carry and the targets as differentiable tensors.

    The recorded steps are taken again with autograd.

    Args:
        call: The solve.
        y0: Initial state.
        ts: Output times.
        targets: The targets.
        cotangents: Cotangents of the outputs.
        carry0: The first carry, where it was given.
        at_carry1: Cotangents of the last carry, where it was an output.
    """
    problem, record, stats = call.problem, call.record, call.stats
    vector_field = problem.field.fresh()
    # y0 and ts may depend on the targets. That path belongs to the caller's graph, not to these cotangents; but further
    # derivatives of these need it, so that it is shut for now and not cut.
    gate = [False]
    start, times, *carry = (Gate.apply(part, gate) if part.requires_grad else part for part in (y0, ts, *carry0))
    axis = TimeAxis(problem.times, times if ts.requires_grad else None)
    retraced = dataclasses.replace(problem, field=vector_field, y0=start, ts=times, carry0=tuple(carry) or None)
    outputs, carry1 = retrace(retraced, axis, record.steps)
    pairs = [
        (output, cotangent)
        for output, cotangent in zip(
            (*outputs.all(), *(carry1 if at_carry1 else ())), (*cotangents, *at_carry1), strict=True
        )
        if output is not None and cotangent is not None and output.requires_grad
    ]
    given = (start, times, *carry, *targets)
    found = torch.autograd.grad(
        [output for output, _ in pairs],
        [tensor for tensor in given if tensor.requires_grad],
        [cotangent for _, cotangent in pairs],
        create_graph=True,
        allow_unused=True,
    )
    gate[0] = True
    grads = iter(found)
    stats.n_backward_field_evals += vector_field.evaluations
    return [next(grads) if tensor.requires_grad else None for tensor in given]
