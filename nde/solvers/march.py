"""Steps whose ends are known before the solve, taken without a decision between them.

Where the controller does not look at the errors, the loop's questions (is the step accepted, how long is the next one)
have known answers, and whether the state stayed finite can be asked once, at the end: states that are not finite never
become finite again. Small steps cost little but such questions, and on an accelerator each one waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.solvers.collector import Collector, can_wait
from nde.solvers.loop import AcceptedStep
from nde.solvers.method import Method, StepResult
from nde.solvers.norms import Measurement
from nde.solvers.outputs import NO_OUTPUTS, RecordedStep
from nde.solvers.problem import Problem
from nde.solvers.tape import TapeTooLargeError, is_parameter, measured

__all__ = ["known_steps", "march"]

_NOT_JUDGED = Measurement(0.0, None, None)


def known_steps(problem: Problem) -> list[RecordedStep] | None:
    """Return the steps that the loop would take, by its own arithmetic; None if they depend on what it finds."""
    controller = problem.controller
    if not controller.foreseen or not isinstance(problem.method, Method):
        return None
    if problem.field.keeps_tapes or problem.snap is not None or not can_wait(problem):
        return None
    first = controller.first_step()
    t = problem.times[0]
    anchor: int | None = 0
    direction = 1.0 if problem.times[-1] > t else -1.0
    size = min(math.inf if first is None else first, problem.dt_max)
    signed = direction * size
    reach = min(size * (1.0 + controller.stretch), problem.dt_max * (1 + 1e-9))
    steps: list[RecordedStep] = []
    add, most = steps.append, problem.max_steps
    for landing, landing_anchor in problem.landings():
        while t != landing:
            if (landing - t) * direction <= reach:
                t1, end = landing, landing_anchor
            else:
                t1, end = t + signed, anchor
                if size < problem.dt_min or abs(t1 - t) <= 4 * math.ulp(t):
                    return None
            if len(steps) == most:
                return None  # the loop ends here, with a failure that says so
            add(RecordedStep(t, t1, t1 - t, anchor, end, NO_OUTPUTS, None, None))
            t, anchor = t1, end
    return steps


def march(
    problem: Problem,
    steps: list[RecordedStep],
    collector: Collector,
    workspace: Any,
    keep_states: bool,
    tape_memory: int | None = None,
) -> bool:
    """Take the steps one after the other.

    Args:
        problem: What to solve.
        steps: From `known_steps`; they are completed.
        collector: Keeps what they give.
        workspace: Scratch memory for steps that record no gradient, or None.
        keep_states: Whether each step's state is kept, to take the step again.
        tape_memory: Bytes that the tape of a step may hold; None for any.

    Returns:
        Whether all went well; where a step had no solution or a state is not finite, the loop finds out which one.

    Raises:
        TapeTooLargeError: The tape of the first step holds more.
    """
    field, method, y, carry = problem.field, problem.method, problem.y0, problem.carry0
    stores_carry = keep_states and not method.carry_is_function_of_state
    reads_all = not problem.lands
    last, watcher = len(problem.times) - 1, problem.watcher
    for step in steps:
        t, h = step.t, step.h
        if carry is None:
            carry = method.start(field, t, y)
        if keep_states:
            step.y = y
        if stores_carry:
            step.carry = carry
        if watcher is not None:
            watcher.begins()
        if tape_memory is not None:
            result = _weighed(lambda: method.step(field, t, h, y, carry), tape_memory)  # noqa: B023  # called here
            tape_memory = None
        else:
            result = method.step(field, t, h, y, carry, workspace)
        if watcher is not None:
            watcher.attempted(t, h, math.nan, not result.unsolved, y, result)
        if result.unsolved:
            return False
        if reads_all or (step.end != step.start and step.end != last):
            accepted = AcceptedStep(t, step.t1, h, step.start, step.end, y, carry, result, _NOT_JUDGED)
            step.outputs = collector.rows.read(accepted)
        collector.take(y, result)
        y, carry = result.y1, result.carry
    return problem.controller.accepts_all or _finite(y)


def _weighed(take: Callable[[], StepResult], tape_memory: int) -> StepResult:
    """Take a step, and raise TapeTooLargeError if its tape holds more than it may."""
    result, size = measured(take, lambda made: (made.y1,), (), spare=is_parameter)
    if size > tape_memory:
        raise TapeTooLargeError
    return result


@torch.no_grad()
def _finite(y: Tensor) -> bool:
    # one sum is far cheaper than a look at every entry, but may overflow
    return math.isfinite(float(y.sum() * 0)) or bool(torch.isfinite(y).all())
