"""What a solve returns."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.retake import RetakenStep, StepRetaker
from nde.solvers.status import Failure, Status
from nde.solvers.structure import State, StateStructure
from nde.solvers.transforms import transforms_active

__all__ = ["NOT_DENSE", "OnDemand", "Solution", "Stats", "Steps"]

NOT_DENSE = "the solution between its output times was not kept, so that it cannot be evaluated. Solve with dense=True."


class OnDemand(functools.cached_property[Any]):
    """A property that is computed once, on the tape if the solve was on it, whoever asks first."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """Return the value; what is asked for off the tape of a recorded solve is not kept, having no gradient."""
        if instance is None:
            return self
        if instance._recorded and not torch.is_grad_enabled():
            return self.func(instance)
        with torch.set_grad_enabled(instance._recorded):
            return super().__get__(instance, owner)


@dataclass
class Stats:
    """Cost of a solve.

    Attributes:
        n_field_evals: Evaluations of the field in the forward solve, those of the first step included.
        n_accepted: Accepted steps.
        n_rejected: Rejected steps.
        n_backward_field_evals: Evaluations made to compute gradients so far; grows with each backward pass.
        n_retaken_field_evals: Evaluations made by `Solution.retake` so far.
    """

    n_field_evals: int
    n_accepted: int
    n_rejected: int
    n_backward_field_evals: int = 0
    n_retaken_field_evals: int = 0

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
        sample: Sample that each step belongs to, where every sample has steps of its own; None otherwise.
        samples: Number of samples, where every sample has steps of its own; None otherwise.
        y: States at the ends of the steps, differentiable, of the state's structure (that of one sample, with
            ``per_sample=True``) with a leading axis; None without ``dense=True`` or ``step_states=True``.
    """

    t: Tensor
    h: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: State | None
    error_order: float | None
    set_point: float | None
    stability: float | None
    sample: Tensor | None = None
    samples: int | None = None
    y: State | None = None

    def __len__(self) -> int:
        return self.t.shape[0]


class Solution:
    """The solution of an initial value problem, as far as it was computed.

    Attributes:
        ts: Output times, shape ``(T,)``.
        t1: Time that was reached; ``ts[-1]`` on success.
        steps: The accepted steps.
        stats: Cost of the solve.
        status: How it ended.
        failure: Where it failed; None on success.
        accuracy: Relative accuracy that the tolerances ask for at ``y0``; infinite where the first step was given.
        carry1: What a reversible method carries along beside the state, at ``t1``, as flat tensors; differentiable. A
            solve that is given it as ``carry0`` goes on as if there had been no break. None with other methods, and
            where the gradients are those of ``adjoint="discrete"``.
    """

    _retaker: StepRetaker | None = None  # a solve by rows has one of its own

    def __init__(
        self,
        ts: Tensor,
        rows: tuple[Tensor, Tensor, Tensor],
        structure: StateStructure,
        t1: float,
        steps: Steps,
        stats: Stats,
        status: Status,
        failure: Failure | None,
        accuracy: float,
        carry1: Any = None,
        retaker: StepRetaker | None = None,
    ) -> None:
        self.ts = ts
        self.t1 = t1
        self.steps = steps
        self.stats = stats
        self.status = status
        self.failure = failure
        self.accuracy = accuracy
        self.carry1 = carry1
        self._rows = rows
        self._recorded = torch.is_grad_enabled() or transforms_active()
        self._structure = structure
        self._retaker = retaker

    @OnDemand
    def ys(self) -> State:
        """States at ``ts``: the structure of ``y0`` with a leading axis ``T``; NaN at times that were not reached."""
        first, inner, last = self._rows
        if not self.success:
            last = torch.full_like(last, torch.nan)
        # put together on demand, because a classifier needs no more than y1
        return self._structure.unflatten(torch.cat([first.unsqueeze(0), inner, last.unsqueeze(0)]))

    @OnDemand
    def y1(self) -> State:
        """State at ``t1``, of the structure of ``y0``."""
        return self._structure.unflatten(self._rows[2])

    @property
    def success(self) -> bool:
        """Whether the end of the span was reached."""
        return self.status is Status.SUCCESS

    def __call__(self, t: Tensor | float) -> State:
        """Return the solution at times, of a solve with ``dense=True``; see `RowSolution`.

        Raises:
            ValueError: ``dense=True`` was not given.
        """
        raise ValueError(NOT_DENSE)

    def derivative(self, t: Tensor | float) -> State:
        """Return the derivative of the solution by time, of a solve with ``dense=True``; see `RowSolution`.

        Raises:
            ValueError: ``dense=True`` was not given.
        """
        raise ValueError(NOT_DENSE)

    def retake(self, index: int, *, grad: str = "direct", reference: bool = False) -> RetakenStep:
        """Take an accepted step again, for estimates with a gradient of their own; what local penalties are made of.

        It costs the evaluations of one step and, where the method reuses the last stage of the step before, that stage:
        it is evaluated again, on the tape, because the weights of an embedded error cancel over all stages alone. A
        stochastic equation meets the increments of its own path.

        Args:
            index: The step, among ``steps``.
            grad: ``"direct"`` holds the state at the step's beginning constant. ``"full"`` lets gradients pass on into
                the solve, through whatever adjoint it has.
            reference: Reproduce two defects of the published code of local regularization: the size is that of the
                automatic first step in place of the step's own, and the first stage is a constant. For ordinary
                equations alone.

        Raises:
            IndexError: There is no such step.
            ValueError: ``grad`` is not known; the states were not kept (``step_states=True``); the step depends on more
                than its state; ``reference`` does not go with the equation; or gradients by the times of steps would
                be lost.
        """
        if self._retaker is None:
            raise ValueError("the steps of this solve cannot be taken again. Choose a global penalty.")
        return self._retaker.take(index, grad, reference)

    def on_tape(self) -> list[Tensor]:
        """Return the tensors that gradients come in through, for whoever watches backward passes."""
        _, inner, last = self._rows
        steps = self.steps
        states = [state for state in (steps.local_error, steps.y) if state is not None]
        leaves = [leaf for state in states for _, leaf in self._structure.paths(state, "steps")]
        parts = (last, inner, steps.error, steps.stiffness, *leaves)
        return [part for part in parts if part is not None and part.grad_fn is not None]

    def __repr__(self) -> str:
        return f"Solution(status={self.status.name}, t1={self.t1:.6g}, {self.stats})"
