"""Local penalties: estimates of one step of the solve, or a few, at random times, in place of the sum over all steps.

A step that is drawn is taken again at its recorded state and size, with its first stage on the tape, so that the mean
over all draws is the global penalty and, with ``grad="full"``, its gradient the global one. The draws come from a
generator of the penalty's own and leave all other random numbers as they are.

Pal, Edelman, Rackauckas (2023), Locally regularized neural differential equations. What differs from the published code
is told at `LocalError`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.regularize.draws import Draws, check_choice, check_count, check_flag
from nde.regularize.penalty import Penalty
from nde.regularize.schedules import Schedule
from nde.solvers.retake import RetakenStep
from nde.solvers.solution import Solution

__all__ = ["LocalError", "LocalStiffness"]


class _Local(Penalty):
    """An estimate at random steps; see `LocalError` for the arguments."""

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        *,
        n_draws: int = 1,
        sampling: str = "time",
        stratified: bool = False,
        antithetic: bool = False,
        grad: str = "direct",
        reduction: str = "span",
        reference: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(weight)
        check_count(n_draws, "n_draws")
        check_choice(sampling, ("time", "step"), "sampling")
        check_choice(grad, ("direct", "full"), "grad")
        check_choice(reduction, ("span", "sum"), "reduction")
        for name, flag in (("stratified", stratified), ("antithetic", antithetic), ("reference", reference)):
            check_flag(flag, name)
        if antithetic and n_draws % 2:
            raise ValueError(f"n_draws must be even with antithetic=True, which draws pairs, but is {n_draws}.")
        if reference and grad == "full":
            raise ValueError('grad must be "direct" with reference=True: the published code holds the state constant.')
        self.n_draws = n_draws
        self.sampling = sampling
        self.stratified = stratified
        self.antithetic = antithetic
        self.grad = grad
        self.reduction = reduction
        self.reference = reference
        self.draws = Draws(seed)

    def value(self, solution: Solution) -> Tensor:
        """See `Penalty.value`."""
        sizes = solution.steps.h.detach().abs().double().cpu().numpy()
        if not sizes.size:
            return solution.steps.h.new_zeros(())
        span = float(sizes.sum())
        places = self._places()
        if self.sampling == "time":
            ends = numpy.cumsum(sizes) / span
            drawn = numpy.searchsorted(ends, places, side="right")
            density = sizes / span
        else:
            drawn = (places * len(sizes)).astype(numpy.int64)
            density = numpy.full(len(sizes), 1 / len(sizes))
        indices, counts = numpy.unique(drawn.clip(max=len(sizes) - 1), return_counts=True)
        terms = []
        for index, count in zip(indices.tolist(), counts.tolist(), strict=True):  # a step drawn twice is taken once
            step = solution.retake(index, grad=self.grad, reference=self.reference)
            estimate = self._estimate(step)
            if self.reference:
                factor = abs(step.h)
            else:
                factor = float(sizes[index] / density[index]) / (span if self.reduction == "span" else 1.0)
            terms.append(estimate * (factor * count / self.n_draws))
        return torch.stack(terms).sum()

    def solve_options(self) -> dict[str, Any]:
        """See `Penalty.solve_options`."""
        return {"step_states": True} if self.weight else {}

    def get_extra_state(self) -> Tensor:
        """Return the iteration and the number of calls, for ``state_dict``."""
        return torch.tensor([self._count, self.draws.count])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore them, for ``load_state_dict``."""
        self._count, self.draws.count = (int(value) for value in state)

    def extra_repr(self) -> str:
        """Describe the penalty in ``repr``."""
        return f"{super().extra_repr()}, n_draws={self.n_draws}, sampling={self.sampling!r}, grad={self.grad!r}"

    def _places(self) -> numpy.ndarray:
        """Draw numbers in [0, 1), each of them uniform."""
        count = self.n_draws // 2 if self.antithetic else self.n_draws
        places = self.draws.uniform(count)
        if self.stratified:
            places = (numpy.arange(count) + places) / count
        if self.antithetic:
            # with strata, those of the first half and their mirror images are strata of the whole
            places = places / 2 if self.stratified else places
            places = numpy.concatenate([places, 1 - places])
        return places

    @abstractmethod
    def _estimate(self, step: RetakenStep) -> Tensor:
        """Return what is penalised of a step."""


class LocalError(_Local):
    """The error of the solver at random steps, an unbiased estimate of what `GlobalError` sums over all steps.

    By default its weight is that of ``GlobalError`` with the same reduction. One draw costs one step of the method, and
    one evaluation more where the method reuses the last stage of the step before; its tape is the only one that is
    kept, and the solve keeps one state per step. Works with ordinary and stochastic equations (the step meets the
    increments of the path that the solve met, so that the estimate is that of the solve) and with every adjoint, not
    with ``per_sample=True``, events, dense output or forced times, nor with methods of several steps.

    A solve outside a layer needs ``step_states=True``.

    Args:
        weight: A number or a `Schedule`.
        n_draws: Steps drawn for each call; the penalty is their mean.
        sampling: ``"time"`` draws a time, uniform on the span, and the step that holds it ("unbiased" in the paper);
            ``"step"`` draws among the accepted steps, all alike ("biased" in the paper). Draws are weighted with the
            inverse of their probability: the mean is ``sum_j E_j |h_j|`` either way.
        stratified: Whether the span (or the sequence of steps) is cut into ``n_draws`` parts with a draw in each.
        antithetic: Whether draws come in pairs that mirror each other.
        grad: ``"direct"`` holds the state at the beginning of a step constant, which costs no more backward than that
            step. ``"full"`` passes the gradient on to the state, so that its mean is the gradient of the global penalty
            with any adjoint; with ``adjoint="backsolve"``, up to the error of that adjoint.
        reduction: ``"span"`` divides by the length of the span, as in `GlobalError`; ``"sum"`` does not.
        reference: Reproduce the published code, ``E(h0) h0`` with two defects: the size ``h0`` is that of the automatic
            first step, at which the error is orders of magnitude smaller than at the solver's own, and the first stage
            is a constant, so that the weights of the error no longer cancel and the gradient has a spurious term of the
            order of the step size. The published weights (2.5 to 1) belong to that term. Importance weights and
            ``reduction`` do not apply. For comparison alone.
        seed: Seed of the draws.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range; when called, the method has no error estimate.
    """

    def _estimate(self, step: RetakenStep) -> Tensor:
        if step.error is None:
            raise ValueError(
                'the method has no error estimate. Choose one with an embedded error, such as method="tsit5".'
            )
        return step.error


class LocalStiffness(_Local):
    """The stiffness at random steps, an unbiased estimate of what `GlobalStiffness` sums over all steps.

    See `LocalError` for costs and limits.

    Args:
        weight, n_draws, sampling, stratified, antithetic, grad, reduction, reference, seed: See `LocalError`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range; when called, the method has no stiffness estimate.
    """

    def _estimate(self, step: RetakenStep) -> Tensor:
        if step.stiffness is None:
            raise ValueError(
                "the method has no stiffness estimate: none of its stages share a time. "
                'Choose method="tsit5", "dopri5", "dopri8" or "rk4".'
            )
        return step.stiffness
