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
from nde.regularize.step_draws import StepDraws
from nde.solvers.retake import RetakenStep, RetakenSteps
from nde.solvers.solution import Solution

__all__ = ["LocalError", "LocalPenalty", "LocalStiffness"]


class LocalPenalty(Penalty):
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
        steps = solution.steps
        if not len(steps):
            return steps.h.new_zeros(())
        samples = steps.samples or 1
        draws = StepDraws(steps, self._places(samples), self.sampling == "time")
        factors = draws.weights / draws.spans if self.reduction == "span" else draws.weights
        shares = draws.counts / (self.n_draws * samples)
        options: dict[str, Any] = {"grad": self.grad, "reference": self.reference}
        terms = []
        if isinstance(solution.steps.sample, Tensor):
            for places in draws.one_of_each():
                taken: RetakenSteps = solution.retake_rows(draws.indices[places], **options)  # type: ignore[attr-defined]
                estimates = self._estimate(taken)
                weights = torch.from_numpy(shares[places] * (1.0 if self.reference else factors[places]))
                weights = weights.to(estimates)
                terms.append((estimates * (weights * taken.h.abs().to(weights) if self.reference else weights)).sum())
        else:
            for index, factor, share in zip(draws.indices.tolist(), factors.tolist(), shares.tolist(), strict=True):
                step = solution.retake(index, **options)
                terms.append(self._estimate(step) * ((abs(step.h) if self.reference else factor) * share))
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

    def _places(self, samples: int) -> numpy.ndarray:
        """Draw numbers in [0, 1), each of them uniform, shape ``(samples, n_draws)``."""
        count = self.n_draws // 2 if self.antithetic else self.n_draws
        places = self.draws.uniform((samples, count))
        if self.stratified:
            places = (numpy.arange(count) + places) / count
        if self.antithetic:
            # with strata, those of the first half and their mirror images are strata of the whole
            places = places / 2 if self.stratified else places
            places = numpy.concatenate([places, 1 - places], 1)
        return places

    @abstractmethod
    def _estimate(self, step: RetakenStep | RetakenSteps) -> Tensor:
        """Return what is penalised of a step."""


class LocalError(LocalPenalty):
    """The error of the solver at random steps, an unbiased estimate of what `GlobalError` sums over all steps.

    By default its weight is that of ``GlobalError`` with the same reduction. One draw costs one step of the method, and
    one evaluation more where the method reuses the last stage of the step before; its tape is the only one that is
    kept, and the solve keeps one state per step. Works with ordinary and stochastic equations (the step meets the
    increments of the path that the solve met, so that the estimate is that of the solve), with every adjoint and with
    forced times, events and dense output, but not with methods of several steps. With ``per_sample=True`` a step of
    each sample is drawn, all of which are taken at once, and the penalty is the mean over the samples.

    A solve outside a layer needs ``step_states=True``.

    Args:
        weight: A number or a `Schedule`.
        n_draws: Steps drawn for each call (of each sample, with ``per_sample=True``); the penalty is their mean.
        sampling: ``"time"`` draws a time, uniform on the span, and the step that holds it ("unbiased" in the paper);
            ``"step"`` draws among the accepted steps, all alike ("biased" in the paper). Draws are weighted with the
            inverse of their probability: the mean is ``sum_j E_j |h_j|`` either way.
        stratified: Whether the span (or the sequence of steps) is cut into ``n_draws`` parts with a draw in each.
        antithetic: Whether draws come in pairs that mirror each other.
        grad: ``"direct"`` holds the state at the beginning of a step constant, which costs no more backward than that
            step. ``"full"`` passes the gradient on to the state, so that its mean is the gradient of the global penalty
            with any adjoint; with ``adjoint="backsolve"``, up to the error of that adjoint. Not with events.
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

    reads = "error"

    def _estimate(self, step: RetakenStep | RetakenSteps) -> Tensor:
        if step.error is None:
            raise ValueError(
                'the method has no error estimate. Choose one with an embedded error, such as method="tsit5".'
            )
        return step.error


class LocalStiffness(LocalPenalty):
    """The stiffness at random steps, an unbiased estimate of what `GlobalStiffness` sums over all steps.

    See `LocalError` for costs and limits.

    Args:
        weight, n_draws, sampling, stratified, antithetic, grad, reduction, reference, seed: See `LocalError`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range; when called, the method has no stiffness estimate.
    """

    reads = "stiffness"

    def _estimate(self, step: RetakenStep | RetakenSteps) -> Tensor:
        if step.stiffness is None:
            raise ValueError(
                "the method has no stiffness estimate: none of its stages share a time. "
                'Choose method="tsit5", "dopri5", "dopri8" or "rk4".'
            )
        return step.stiffness
