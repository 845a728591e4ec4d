"""The one loop: attempts steps, judges their error, and yields those that are accepted.

It never differentiates anything: steps run in whatever autograd mode the caller set, and every decision is made on host
floats. Whoever consumes the steps (outputs, adjoints, statistics) reads what is yielded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nde.solvers.initial_step import first_step
from nde.solvers.method import StepResult
from nde.solvers.norms import ErrorNorm, Measurement, Quotient
from nde.solvers.problem import Problem
from nde.solvers.status import Failure, Status
from nde.solvers.time_axis import TimeAxis

__all__ = ["AcceptedStep", "Progress", "accepted_steps"]

# far below any scale of a real problem, it ends the search for a step when the initial time is zero
_SMALLEST_STEP = 1e-100


@dataclass(slots=True)
class AcceptedStep:
    """One accepted step, valid until the next one is asked for where a workspace is used.

    Attributes:
        t: Its beginning.
        t1: Its end.
        h: Its signed size.
        start: Index of the output time that the beginning moves with; None if it is a constant.
        end: The same of the end.
        y: State at the beginning.
        carry: Carry at the beginning.
        result: What the method returned.
        measured: Its error and stiffness estimates.
    """

    t: float
    t1: float
    h: float
    start: int | None
    end: int | None
    y: Tensor
    carry: Any
    result: StepResult
    measured: Measurement


@dataclass
class Progress:
    """Counts of a running solve, and how it ended."""

    accepted: int = 0
    rejected: int = 0
    status: Status = Status.SUCCESS
    failure: Failure | None = None
    #: scaled norm of the initial state, where the first step was chosen automatically
    size_of_state: float = 0.0

    @property
    def attempted(self) -> int:
        """Number of steps attempted so far."""
        return self.accepted + self.rejected


def accepted_steps(
    problem: Problem, norm: ErrorNorm, axis: TimeAxis, progress: Progress, workspace: Any
) -> Iterator[AcceptedStep]:
    """Yield the accepted steps from the first time to the last.

    Args:
        problem: What to solve.
        norm: Norm of the error estimates.
        axis: Turns host times into what the steps receive.
        progress: Counts, and how the solve ended, once the iterator is exhausted.
        workspace: Scratch memory for steps that record no gradient, or None.
    """
    field, method, watcher = problem.field, problem.method, problem.watcher
    t, end_time = problem.times[0], problem.times[-1]
    direction = 1.0 if end_time > t else -1.0
    y = problem.y0
    anchor: int | None = 0
    carry = method.start(field, axis.time(t, anchor), y) if problem.carry0 is None else problem.carry0
    opening = field.take()
    error_order = method.error_order or 1
    control = problem.controller.begin(error_order)
    attempt: StepResult | None = None
    broken = False  # whether states that were not finite made the steps shrink
    broke = 0.0  # the size of the last step that led to one

    def fail(status: Status, h: float) -> None:
        progress.status = status
        failure = _failure(problem, norm, progress, t, h, y, carry, attempt)
        if status is Status.NON_FINITE:
            # the step that met it, without what lies beyond the span
            again = direction * min(broke, abs(end_time - t))
            failure = replace(failure, source=field.source(method, t, again, y, carry))
        progress.failure = failure

    size = problem.controller.first_step()
    if size is None:
        slope = method.slope(field, t, y, carry)
        size, progress.size_of_state = first_step(field, norm, t, end_time - t, y, slope, error_order)
        if math.isnan(size):
            return fail(Status.NON_FINITE, 0.0)
        size = max(size, problem.dt_min)  # the choice is a guess, which must not end the solve
    stretch = 1.0 + problem.controller.stretch
    longest = problem.dt_max * (1 + 1e-9)  # so that rounding leaves no sliver at the end
    for landing, landing_anchor in problem.landings():
        while t != landing:
            size = min(size, problem.dt_max)
            lands = (landing - t) * direction <= min(size * stretch, longest)
            t1, end_anchor = (landing, landing_anchor) if lands else (t + direction * size, anchor)
            if problem.snap is not None and not lands:
                snapped = problem.snap(t, t1)
                t1 = snapped if abs(snapped - t) >= problem.dt_min else t1
            h = t1 - t
            # what was asked for counts: rounding may leave a little less of it
            if not lands and (size < max(problem.dt_min, _SMALLEST_STEP) or abs(h) <= 4 * math.ulp(t)):
                return fail(Status.NON_FINITE if broken else Status.STEP_UNDERFLOW, h)
            if progress.attempted >= problem.max_steps:
                return fail(Status.MAX_STEPS, h)
            field.take()  # what a rejected attempt or the choice of the first step evaluated
            if carry is None:
                carry = method.start(field, axis.time(t, anchor), y)
                opening = field.take()
            if watcher is not None:
                watcher.begins()
            start, step_size = axis.time(t, anchor), axis.size(t, anchor, t1, end_anchor)
            attempt = result = method.step(field, start, step_size, y, carry, workspace)
            measured = norm.measure(y, result.y1, result.errors, result.stiffness)
            finite = math.isfinite(measured.value)
            accept, next_size = control.decide(abs(h), measured.value)
            if watcher is not None:
                watcher.attempted(t, h, measured.value, accept, y, result)
            broke = broke if finite else abs(h)
            broken = not finite or (broken and not (accept and next_size > abs(h)))
            if not accept:
                progress.rejected += 1
                if not finite and not problem.controller.adaptive:
                    return fail(Status.NEWTON_FAILED if result.unsolved else Status.NON_FINITE, h)
                size = next_size
                continue
            progress.accepted += 1
            stages = field.take()
            yield AcceptedStep(t, t1, h, anchor, end_anchor, y, carry, result, measured)
            field.keep(y, opening, stages)
            opening = ()
            # a step cut short by a landing says little about the size that the solution allows
            size = max(next_size, size) if lands else next_size
            t, anchor, y, carry = t1, end_anchor, result.y1, result.carry


@torch.no_grad()
def _failure(
    problem: Problem,
    norm: ErrorNorm,
    progress: Progress,
    t: float,
    h: float,
    y: Tensor,
    carry: Any,
    attempt: StepResult | None,
) -> Failure:
    """Find the sample that is worst, and the stiffness there."""
    batch = problem.structure.batch()
    sample: int | None = None
    stiffness: float | None = None
    if batch is not None:
        if attempt is None:
            entries = problem.method.slope(problem.field, t, y, carry).abs()
        elif attempt.errors is None:
            entries = attempt.y1.abs()
        else:
            entries = (attempt.errors[0] / norm.scale(y, attempt.y1)).square()
        per_sample = problem.structure.per_sample(entries, batch).nan_to_num(math.inf, math.inf)
        sample = int(per_sample.argmax())
    if attempt is not None and attempt.stiffness is not None:
        estimate = attempt.stiffness
        if isinstance(estimate, Quotient):
            estimate = norm.quotient(estimate, attempt.y1)
        stiffness = float(estimate) if bool(estimate.isfinite()) else None
    return Failure(t, h, sample, batch, progress.attempted, stiffness)
