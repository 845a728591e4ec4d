"""What a solve returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nde.solvers.status import Failure, Status
from nde.solvers.structure import State

__all__ = ["Solution", "Stats", "Steps"]


@dataclass
class Stats:
    """Cost of a solve.

    Attributes:
        n_field_evals: Evaluations of the field in the forward solve, those of the first step included.
        n_accepted: Accepted steps.
        n_rejected: Rejected steps.
        n_backward_field_evals: Evaluations made to compute gradients so far; grows with each backward pass.
    """

    n_field_evals: int
    n_accepted: int
    n_rejected: int
    n_backward_field_evals: int = 0

    @property
    def n_steps(self) -> int:
        """Attempted steps."""
        return self.n_accepted + self.n_rejected


@dataclass(frozen=True)
class Steps:
    """One value per accepted step, shape ``(n_accepted,)`` each; what penalties are made of.

    Attributes:
        t: Beginnings of the steps; constants.
        h: Signed sizes; constants, because a gradient through the step-size control cancels most of a penalty's.
        error: Local error in units of the tolerance (a step is accepted up to 1), differentiable; None if the method
            has no error estimate.
        stiffness: Estimate of the largest eigenvalue of the Jacobian in modulus, in units of 1 / time,
            differentiable; None if the method has none.
        local_error: Error vectors, of the state's structure with a leading axis ``n_accepted``, differentiable; None
            unless asked for.
        error_order: Exponent of the step size that the error is proportional to.
        set_point: Error ratio at which the controller keeps the step size; None for fixed steps.
        stability: Length of the method's stability interval on the negative real axis: where ``stiffness * |h|`` comes
            near it, stability and not accuracy limits the step. None if not known.
    """

    t: Tensor
    h: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: State | None
    error_order: int | None
    set_point: float | None
    stability: float | None

    def __len__(self) -> int:
        return self.t.shape[0]


@dataclass(frozen=True)
class Solution:
    """The solution of an initial value problem, as far as it was computed.

    Attributes:
        ts: Output times, shape ``(T,)``.
        ys: States at ``ts``: the structure of ``y0`` with a leading axis ``T``; NaN at times that were not reached.
        t1: Time that was reached; ``ts[-1]`` on success.
        y1: State there.
        steps: The accepted steps.
        stats: Cost of the solve.
        status: How it ended.
        failure: Where it failed; None on success.
    """

    ts: Tensor
    ys: State
    t1: float
    y1: State
    steps: Steps
    stats: Stats
    status: Status
    failure: Failure | None

    @property
    def success(self) -> bool:
        """Whether the end of the span was reached."""
        return self.status is Status.SUCCESS
