"""Runs a problem through the loop and keeps what the adjoints and the user read afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from nde.solvers.collector import Collector, SolveOutputs
from nde.solvers.loop import AcceptedStep, Progress, accepted_steps
from nde.solvers.march import known_steps, march
from nde.solvers.norms import ErrorNorm, ScratchNorm
from nde.solvers.outputs import RecordedStep
from nde.solvers.problem import Problem
from nde.solvers.retake import StepRetaker
from nde.solvers.scratch import borrowed
from nde.solvers.solution import Solution, Stats, Steps
from nde.solvers.time_axis import TimeAxis

__all__ = ["Record", "RecordedStep", "SolveOutputs", "make_record", "make_solution", "retrace"]


@dataclass(frozen=True)
class Record:
    """The accepted steps of a solve.

    Attributes:
        steps: The accepted steps; their states are kept if the record was made for a replay.
        progress: Counts, status and failure.
        carry1: Carry at the end of the last step, of methods that are reversible; None without a step.
    """

    steps: list[RecordedStep] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    carry1: Any = None


def borrowed_workspace(problem: Problem) -> AbstractContextManager[Any]:
    """Lend the method's workspace for a problem."""
    structure, method = problem.structure, problem.method
    key = (method, structure.size, structure.dtype, structure.device)
    return borrowed(key, lambda: method.workspace(problem.y0), problem.y0.device)


def make_record(
    problem: Problem, axis: TimeAxis, on_tape: bool, keep_states: bool, tape_memory: int | None = None
) -> tuple[SolveOutputs, Record]:
    """Solve a problem in the caller's autograd mode.

    Args:
        problem: The problem.
        axis: Time axis; it hands out tensors where times are differentiated on the tape.
        on_tape: Whether the steps must be recorded by autograd; otherwise they work in scratch memory.
        keep_states: Whether each step's state is kept, to take the step again.
        tape_memory: Bytes that the tape of all steps may hold, where their number is known; None for any.

    Raises:
        TapeTooLargeError: The tape would hold more.
    """
    structure, y0 = problem.structure, problem.y0
    if on_tape:
        return _run(problem, axis, problem.error_norm(), None, keep_states, tape_memory)
    if problem.norm is not None:
        with borrowed_workspace(problem) as workspace:
            return _run(problem, axis, problem.error_norm(), workspace, keep_states)
    key = ("norm", structure.size, structure.dtype, structure.device)
    with (
        borrowed_workspace(problem) as workspace,
        borrowed(key, lambda: y0.new_empty(2, structure.size), y0.device) as vectors,
    ):
        norm = ScratchNorm(structure, problem.rtol, problem.atol, vectors)
        return _run(problem, axis, norm, workspace, keep_states)


def _run(
    problem: Problem,
    axis: TimeAxis,
    norm: ErrorNorm,
    workspace: Any,
    keep_states: bool,
    tape_memory: int | None = None,
) -> tuple[SolveOutputs, Record]:
    known = known_steps(problem) if axis.ts is None else None
    if known is not None:
        collector = Collector(problem, axis, norm)
        most = None if tape_memory is None else tape_memory // max(len(known), 1)
        if march(problem, known, collector, workspace, keep_states, most):
            return collector.outputs(), Record(known, Progress(accepted=len(known)), collector.carry1)
        if problem.watcher is not None:
            problem.watcher.starts_over()
    progress, collector = Progress(), Collector(problem, axis, norm)
    stores_carry = keep_states and not problem.method.carry_is_function_of_state
    steps = [
        RecordedStep(
            step.t,
            step.t1,
            step.h,
            step.start,
            step.end,
            collector.read(step),
            step.y if keep_states else None,
            step.carry if stores_carry else None,
        )
        for step in accepted_steps(problem, norm, axis, progress, workspace)
    ]
    return collector.outputs(), Record(steps, progress, collector.carry1)


def retrace(problem: Problem, axis: TimeAxis, steps: Sequence[RecordedStep]) -> tuple[SolveOutputs, Any]:
    """Take recorded steps again on the tape and return their outputs, and the last carry where `Record` has it."""
    method, vector_field = problem.method, problem.field
    norm = problem.error_norm()
    collector = Collector(problem, axis, norm)
    y, carry = problem.y0, problem.carry0
    for step in steps:
        t, h = axis.time(step.t, step.start), axis.size(step.t, step.start, step.t1, step.end)
        if carry is None:
            carry = method.start(vector_field, t, y)
        result = method.step(vector_field, t, h, y, carry)
        measured = norm.measure(y, result.y1, result.errors, result.stiffness)
        collector.read(AcceptedStep(step.t, step.t1, step.h, step.start, step.end, y, carry, result, measured))
        y, carry = result.y1, result.carry
    return collector.outputs(), collector.carry1


def make_solution(
    problem: Problem, outputs: SolveOutputs, record: Record, stats: Stats, carry1: Any = None
) -> Solution:
    """Return the user's view of a record.

    Args:
        problem: The problem.
        outputs: The outputs of the solve.
        record: Its steps.
        stats: Their cost.
        carry1: The record's ``carry1`` where it is differentiable as the outputs are; None otherwise.
    """
    structure, method = problem.structure, problem.method
    steps = Steps(
        t=outputs.y1.new_tensor([step.t for step in record.steps]),
        h=outputs.y1.new_tensor([step.h for step in record.steps]),
        error=outputs.error,
        stiffness=outputs.stiffness,
        local_error=None if outputs.local_error is None else structure.unflatten(outputs.local_error),
        error_order=method.error_order,
        set_point=problem.controller.set_point(method.error_order) if method.error_order else None,
        stability=method.stability,
        y=None if outputs.states is None else structure.unflatten(outputs.states),
    )
    taken = [(step.t, step.h) for step in record.steps]
    return Solution(
        ts=problem.ts,
        rows=(problem.y0, outputs.inner, outputs.y1),
        structure=structure,
        t1=record.steps[-1].t1 if record.steps else problem.times[0],
        steps=steps,
        stats=stats,
        status=record.progress.status,
        failure=record.progress.failure,
        carry1=problem.carry0 if carry1 is None else carry1,
        accuracy=1 / size if (size := record.progress.size_of_state) > 0 else math.inf,
        retaker=StepRetaker(problem, taken, outputs.states, stats),
    )
