"""Runs a problem through the loop and keeps what the adjoints and the user read afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.loop import AcceptedStep, Progress, accepted_steps
from nde.solvers.norms import ErrorNorm
from nde.solvers.outputs import OutputRows, StepOutputs
from nde.solvers.problem import Problem
from nde.solvers.solution import Solution, Stats, Steps
from nde.solvers.time_axis import TimeAxis

__all__ = ["Record", "RecordedStep", "SolveOutputs", "make_record", "make_solution", "retrace"]


@dataclass(frozen=True, slots=True)
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
        ys: States at the output times, shape ``(T, size)``.
        y1: State that was reached, shape ``(size,)``.
        error: Scaled error norms, shape ``(n_accepted,)``; None if the method has none.
        stiffness: Stiffness estimates, likewise.
        local_error: Error vectors, shape ``(n_accepted, size)``; None unless kept.
    """

    ys: Tensor
    y1: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None

    def all(self) -> tuple[Tensor | None, ...]:
        """Return the outputs in the order of the attributes."""
        return self.ys, self.y1, self.error, self.stiffness, self.local_error


@dataclass
class Record:
    """The accepted steps of a solve, and its outputs.

    Attributes:
        steps: The accepted steps; their states are kept if the record was made for a replay.
        outputs: The outputs.
        progress: Counts, status and failure.
    """

    outputs: SolveOutputs
    steps: list[RecordedStep]
    progress: Progress


class _Collector:
    """Keeps the outputs of steps as they arrive."""

    def __init__(self, problem: Problem, axis: TimeAxis, norm: ErrorNorm, on_tape: bool) -> None:
        self.problem = problem
        self.norm = norm
        self.on_tape = on_tape
        self.rows = OutputRows(problem, axis)
        self.y1 = problem.y0
        self.ratios: list[Tensor] = []
        self.stiffness: list[Tensor] = []
        self.local_errors: list[Tensor] = []

    def read(self, step: AcceptedStep) -> StepOutputs:
        result = step.result
        if step.ratio is not None:
            self.ratios.append(step.ratio)
        if result.stiffness is not None:
            self.stiffness.append(result.stiffness)
        if self.problem.keep_local_errors and result.errors is not None:
            vector = self.norm.local_error(result.errors, step.y, result.y1)
            self.local_errors.append(vector if self.on_tape else vector.clone())
        self.y1 = result.y1
        return self.rows.read(step)

    def outputs(self) -> SolveOutputs:
        problem, method = self.problem, self.problem.method
        has_error = method.error_order is not None

        def stacked(values: list[Tensor], *shape: int) -> Tensor:
            return torch.stack(values) if values else problem.y0.new_empty(0, *shape)

        return SolveOutputs(
            ys=self.rows.result(),
            y1=self.y1,
            error=stacked(self.ratios) if has_error else None,
            stiffness=stacked(self.stiffness) if method.has_stiffness else None,
            local_error=(
                stacked(self.local_errors, problem.structure.size) if has_error and problem.keep_local_errors else None
            ),
        )


def make_record(problem: Problem, axis: TimeAxis, on_tape: bool, keep_states: bool) -> Record:
    """Solve a problem in the caller's autograd mode.

    Args:
        problem: The problem.
        axis: Time axis; it hands out tensors where times are differentiated on the tape.
        on_tape: Whether the steps must be recorded by autograd; otherwise they share scratch memory.
        keep_states: Whether each step's state is kept, to take the step again.
    """
    norm = ErrorNorm(problem.structure, problem.rtol, problem.atol, in_place=not on_tape)
    progress, collector = Progress(), _Collector(problem, axis, norm, on_tape)
    stores_carry = keep_states and not problem.method.carry_is_function_of_state
    workspace = None if on_tape else problem.method.workspace(problem.y0)
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
    return Record(collector.outputs(), steps, progress)


def retrace(problem: Problem, axis: TimeAxis, steps: Sequence[RecordedStep]) -> SolveOutputs:
    """Take recorded steps again on the tape and return their outputs."""
    method, vector_field = problem.method, problem.field
    norm = ErrorNorm(problem.structure, problem.rtol, problem.atol, in_place=False)
    collector = _Collector(problem, axis, norm, on_tape=True)
    y, carry = problem.y0, None
    for step in steps:
        t, h = axis.time(step.t, step.start), axis.size(step.t, step.start, step.t1, step.end)
        if carry is None:
            carry = method.start(vector_field, t, y)
        result = method.step(vector_field, t, h, y, carry)
        ratio = None if result.errors is None else norm.ratio(result.errors, y, result.y1)
        collector.read(AcceptedStep(step.t, step.t1, step.h, step.start, step.end, y, carry, result, ratio))
        y, carry = result.y1, result.carry
    return collector.outputs()


def make_solution(problem: Problem, outputs: SolveOutputs, record: Record, stats: Stats) -> Solution:
    """Return the user's view of a record."""
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
        ys=structure.unflatten(outputs.ys),
        t1=record.steps[-1].t1 if record.steps else problem.times[0],
        y1=structure.unflatten(outputs.y1),
        steps=steps,
        stats=stats,
        status=record.progress.status,
        failure=record.progress.failure,
    )
