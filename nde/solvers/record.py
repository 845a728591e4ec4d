"""Runs a problem through the loop and keeps what the adjoints and the user read afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nde.solvers.loop import AcceptedStep, Progress, accepted_steps
from nde.solvers.norms import ErrorNorm, ScratchNorm
from nde.solvers.outputs import OutputRows, StepOutputs
from nde.solvers.problem import Problem
from nde.solvers.scratch import borrowed
from nde.solvers.solution import Solution, Stats, Steps
from nde.solvers.time_axis import TimeAxis

__all__ = ["Record", "RecordedStep", "SolveOutputs", "make_record", "make_solution", "retrace"]


@dataclass(slots=True)
class RecordedStep:
    """An accepted step: all that is needed to take it again. See `nde.solvers.loop.AcceptedStep`."""

    t: float
    t1: float
    h: float
    start: int | None
    end: int | None
    outputs: StepOutputs
    y: Tensor | None
    carry: Any


@dataclass(frozen=True)
class SolveOutputs:
    """The differentiable outputs of a solve, flat.

    Attributes:
        inner: States at the output times but the first and the last, shape ``(T - 2, size)``.
        y1: State that was reached, shape ``(size,)``.
        error: Scaled error norms, shape ``(n_accepted,)``; None if the method has none.
        stiffness: Stiffness estimates, likewise.
        local_error: Error vectors, shape ``(n_accepted, size)``; None unless kept.
    """

    inner: Tensor
    y1: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None

    def all(self) -> tuple[Tensor | None, ...]:
        """Return the outputs in the order of the attributes."""
        return self.inner, self.y1, self.error, self.stiffness, self.local_error


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


class _Collector:
    """Keeps the outputs of steps as they arrive."""

    def __init__(self, problem: Problem, axis: TimeAxis, norm: ErrorNorm) -> None:
        self.problem = problem
        self.norm = norm
        self.rows = OutputRows(problem, axis)
        self.y1 = problem.y0
        self.carry1: Any = None
        self.ratios: list[Tensor | float] = []
        self.stiffness: list[Tensor | float] = []
        self.local_errors: list[Tensor] = []

    def read(self, step: AcceptedStep) -> StepOutputs:
        result, measured = step.result, step.measured
        if measured.ratio is not None:
            self.ratios.append(measured.ratio)
        if measured.stiffness is not None:
            self.stiffness.append(measured.stiffness)
        if self.problem.keep_local_errors and result.errors is not None:
            # a copy, because the step's own may lie in scratch memory
            self.local_errors.append(self.norm.local_error(result.errors, step.y, result.y1).clone())
        self.y1 = result.y1
        if self.problem.method.reversible:
            self.carry1 = result.carry
        return self.rows.read(step)

    def outputs(self) -> SolveOutputs:
        problem, method, y0 = self.problem, self.problem.method, self.problem.y0
        local_error: Tensor | None = None
        if problem.keep_local_errors and method.error_order is not None:
            local_error = torch.stack(self.local_errors) if self.local_errors else y0.new_empty(0, y0.shape[0])
        return SolveOutputs(
            inner=self.rows.result(),
            y1=self.y1,
            error=_vector(self.ratios, y0) if method.error_order is not None else None,
            stiffness=_vector(self.stiffness, y0) if method.has_stiffness else None,
            local_error=local_error,
        )


def _vector(values: Sequence[Tensor | float], like: Tensor) -> Tensor:
    """Return numbers from the host, or 0-d tensors on the tape, as one vector."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    return torch.stack(tensors) if tensors else like.new_tensor(values)


def borrowed_workspace(problem: Problem) -> AbstractContextManager[Any]:
    """Lend the method's workspace for a problem."""
    structure, method = problem.structure, problem.method
    key = (method, structure.size, structure.dtype, structure.device)
    return borrowed(key, lambda: method.workspace(problem.y0), problem.y0.device)


def make_record(problem: Problem, axis: TimeAxis, on_tape: bool, keep_states: bool) -> tuple[SolveOutputs, Record]:
    """Solve a problem in the caller's autograd mode.

    Args:
        problem: The problem.
        axis: Time axis; it hands out tensors where times are differentiated on the tape.
        on_tape: Whether the steps must be recorded by autograd; otherwise they work in scratch memory.
        keep_states: Whether each step's state is kept, to take the step again.
    """
    structure, y0 = problem.structure, problem.y0
    if on_tape:
        return _run(problem, axis, problem.error_norm(), None, keep_states)
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
    problem: Problem, axis: TimeAxis, norm: ErrorNorm, workspace: Any, keep_states: bool
) -> tuple[SolveOutputs, Record]:
    progress, collector = Progress(), _Collector(problem, axis, norm)
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
    collector = _Collector(problem, axis, norm)
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
    )
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
    )
