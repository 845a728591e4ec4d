"""Takes a recorded step of a solve again, alone: what penalties at a random time are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nde.solvers.initial_step import first_step
from nde.solvers.problem import Problem

if TYPE_CHECKING:  # a solution offers this, and its statistics count it
    from nde.solvers.solution import Stats

__all__ = ["RetakenStep", "RetakenSteps", "StepRetaker", "check_retake"]

_GRADS = ("direct", "full")


@dataclass(frozen=True)
class RetakenStep:
    """An accepted step that was taken again.

    Attributes:
        t: Its beginning.
        h: Its signed size.
        error: Local error in units of the tolerance, a differentiable 0-d tensor; None if the method has no estimate.
        stiffness: Estimate of the largest eigenvalue of the Jacobian in modulus, likewise.
    """

    t: float
    h: float
    error: Tensor | None
    stiffness: Tensor | None


@dataclass(frozen=True)
class RetakenSteps:
    """Accepted steps of several samples that were taken again together, shape ``(steps,)`` each; see `RetakenStep`."""

    t: Tensor
    h: Tensor
    error: Tensor | None
    stiffness: Tensor | None

    def __getitem__(self, index: int) -> RetakenStep:
        """Return one of them."""
        error, stiffness = (None if value is None else value[index] for value in (self.error, self.stiffness))
        return RetakenStep(float(self.t[index]), float(self.h[index]), error, stiffness)


class StepRetaker:
    """Takes steps of one solve again.

    Args:
        problem: What was solved.
        steps: Beginning and signed size of each accepted step.
        states: States at their ends, flat and differentiable; None if they were not kept.
        stats: Counts the evaluations.
    """

    def __init__(
        self, problem: Problem, steps: Sequence[tuple[float, float]], states: Tensor | None, stats: Stats
    ) -> None:
        self._problem = problem
        self._steps = steps
        self._states = states
        self._stats = stats

    def take(self, index: int, grad: str, reference: bool) -> RetakenStep:
        """See `nde.solvers.solution.Solution.retake`."""
        problem, method = self._problem, self._problem.method
        self._check(index, grad, reference)
        t, h = self._steps[index]
        y = problem.y0 if index == 0 or self._states is None else self._states[index - 1]
        if grad == "direct":
            y = y.detach()
        field, norm = problem.field.fresh(), problem.error_norm()
        if reference:
            with torch.no_grad():
                carry = method.start(field, t, y)
                slope = method.slope(field, t, y, carry)
            span = problem.times[-1] - t
            size, _ = first_step(field, norm, t, span, y, slope, method.error_order or 1)
            h = math.copysign(size, h)
        else:
            carry = method.start(field, t, y)
        result = method.step(field, t, h, y, carry)
        error = None if result.errors is None else norm.ratio(result.errors, y, result.y1)
        stiffness = result.stiffness
        if stiffness is not None and not isinstance(stiffness, Tensor):
            stiffness = norm.quotient(stiffness, result.y1)
        self._stats.n_retaken_field_evals += field.evaluations
        return RetakenStep(t, h, error, stiffness)

    def _check(self, index: int, grad: str, reference: bool) -> None:
        if not 0 <= index < len(self._steps):
            raise IndexError(f"index must be one of the {len(self._steps)} accepted steps, but is {index}.")
        check_retake(self._problem, self._states is not None or not index, grad, reference)


def check_retake(problem: Any, kept: bool, grad: str, reference: bool) -> None:
    """Raise ValueError where steps cannot be taken again.

    Args:
        problem: What was solved, as a whole or by rows.
        kept: Whether the states that the steps begin from are known.
        grad, reference: See `nde.solvers.solution.Solution.retake`.
    """
    if grad not in _GRADS:
        raise ValueError(f'grad must be "direct" or "full", but is {grad!r}.')
    if grad == "full" and problem.ts.requires_grad:
        raise ValueError(
            'grad="full" gives no gradient by ts, because a step taken again keeps its time. Use ts.detach() '
            'or grad="direct".'
        )
    if not kept:
        raise ValueError(
            "the states at the ends of steps were not kept, so that steps cannot be taken again. Solve with "
            "step_states=True."
        )
    if not problem.method.restarts:
        raise ValueError(
            f"a step of method={problem.method.name!r} depends on more than its state, so that it cannot be taken "
            'again alone. Choose a one-step method, such as "tsit5" or "sosri2", or a global penalty.'
        )
    if reference and hasattr(problem.field, "increment"):
        raise ValueError("reference=True works with ordinary equations alone. Leave it out.")
