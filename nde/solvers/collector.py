"""Keeps what the steps of a solve give: rows at output times, error and stiffness estimates, states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.loop import AcceptedStep
from nde.solvers.method import StepResult
from nde.solvers.norms import ErrorNorm, Quotient
from nde.solvers.outputs import OutputRows, StepOutputs
from nde.solvers.problem import Problem
from nde.solvers.time_axis import TimeAxis

__all__ = ["Collector", "SolveOutputs", "can_wait"]

# numbers of the steps that are judged together: with more, the states have left a core's own cache
_JUDGED_NUMBERS = 1 << 14


@dataclass(frozen=True)
class SolveOutputs:
    """The differentiable outputs of a solve, flat.

    Attributes:
        inner: States at the output times but the first and the last, shape ``(T - 2, size)``.
        y1: State that was reached, shape ``(size,)``.
        error: Scaled error norms, shape ``(n_accepted,)``; None if the method has none.
        stiffness: Stiffness estimates, likewise.
        local_error: Error vectors, shape ``(n_accepted, size)``; None unless kept.
        states: States at the ends of the steps, likewise.
    """

    inner: Tensor
    y1: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None
    states: Tensor | None = None

    def all(self) -> tuple[Tensor | None, ...]:
        """Return the outputs in the order of the attributes."""
        return self.inner, self.y1, self.error, self.stiffness, self.local_error, self.states


class Collector:
    """Keeps the outputs of steps as they arrive.

    Args:
        problem: The problem.
        axis: Its times.
        norm: Norm of the error estimates.
    """

    def __init__(self, problem: Problem, axis: TimeAxis, norm: ErrorNorm) -> None:
        self.problem = problem
        self.norm = norm
        self.rows = OutputRows(problem, axis)
        self.y1 = problem.y0
        self.carry1: Any = None
        self.ratios: list[Tensor | float] = []
        self.stiffness: list[Tensor | float] = []
        self.local_errors: list[Tensor] = []
        self.states: list[Tensor] = []
        # of steps that wait to be judged: their ends, embedded differences, and quotients
        self._states: list[Tensor] = []
        self._errors: list[Tensor] = []
        self._quotients: list[Quotient | Tensor] = []
        self._most = max(_JUDGED_NUMBERS // problem.structure.size, 1)
        self._judges = problem.method.error_order is not None or problem.method.has_stiffness

    def read(self, step: AcceptedStep) -> StepOutputs:
        """Keep what a step gives, and return which output times lie in it."""
        result, measured = step.result, step.measured
        if measured.ratio is not None:
            self.ratios.append(measured.ratio)
        if measured.stiffness is not None:
            self.stiffness.append(measured.stiffness)
        if self.problem.keep_local_errors and result.errors is not None:
            # a copy, because the step's own may lie in scratch memory
            self.local_errors.append(self.norm.local_error(result.errors, step.y, result.y1).clone())
        self._keep(result)
        return self.rows.read(step)

    def take(self, y: Tensor, result: StepResult) -> None:
        """Keep what a step from a state gives, but for its outputs; its estimates are judged with those of others."""
        self._keep(result)
        if self._judges:
            if not self._states:
                self._states.append(y)
            self._states.append(result.y1)
            if result.errors is not None:
                self._errors.append(result.errors)
            if result.stiffness is not None:
                self._quotients.append(result.stiffness)
            if len(self._states) > self._most:
                self._judge()

    def _keep(self, result: StepResult) -> None:
        self.y1 = result.y1
        if self.problem.keep_states:
            self.states.append(result.y1)
        if self.problem.method.reversible:
            self.carry1 = result.carry

    def _judge(self) -> None:
        """Judge the steps that wait."""
        if not self._states:
            return
        states = torch.stack(self._states)
        if self._quotients:
            self.stiffness.append(self.norm.quotients(self._quotients, states[1:]))
        if self._errors:
            self.ratios.append(self.norm.ratios(torch.cat(self._errors), states))
        self._states, self._errors, self._quotients = [], [], []

    def outputs(self) -> SolveOutputs:
        """Return all that was kept."""
        self._judge()
        problem, method, y0 = self.problem, self.problem.method, self.problem.y0
        local_error: Tensor | None = None
        if problem.keep_local_errors and method.error_order is not None:
            local_error = _rows(self.local_errors, y0)
        return SolveOutputs(
            inner=self.rows.result(),
            y1=self.y1,
            error=_vector(self.ratios, y0) if method.error_order is not None else None,
            stiffness=_vector(self.stiffness, y0) if method.has_stiffness else None,
            local_error=local_error,
            states=_rows(self.states, y0) if problem.keep_states else None,
        )


def can_wait(problem: Problem) -> bool:
    """Return whether the estimates of several steps can be judged together: see `Collector.take`."""
    method = problem.method
    if problem.keep_local_errors:
        return False
    if method.error_order is None and not method.has_stiffness:
        return True
    # estimates that lie in scratch memory are gone after the step
    return problem.norm is None and not problem.structure.has_complex and method.judged_later


def _rows(rows: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return flat states as the rows of a matrix."""
    return torch.stack(list(rows)) if rows else like.new_empty(0, like.shape[0])


def _vector(values: Sequence[Tensor | float], like: Tensor) -> Tensor:
    """Return numbers from the host, or tensors, as one vector."""
    tensors = [value.reshape(-1) for value in values if isinstance(value, Tensor)]
    return torch.cat(tensors) if tensors else like.new_tensor(values)
