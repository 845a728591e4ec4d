"""Penalties over the whole solve: sums over its accepted steps of the error and stiffness estimates.

Step sizes are constants in all of them. An error estimate is in units of the tolerance unless it is asked for raw, so
that weights do not carry over between tolerances, methods or reductions; `StepCount` alone is in units of steps.

With ``per_sample=True`` a penalty is the mean over the samples of what each alone would give, so that it does not grow
with the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nde.regularize.draws import check_flag
from nde.regularize.groups import StepGroups
from nde.regularize.penalty import Penalty
from nde.regularize.schedules import Schedule
from nde.solvers.solution import Solution, Steps
from nde.solvers.structure import StateStructure

__all__ = ["GlobalError", "GlobalErrorSquared", "GlobalStiffness", "StepCount"]

# keeps the root of a vanishing error differentiable; far below any error that a controller lets stand
_SMALLEST_SQUARE = 1e-16


class _Reduced(Penalty):
    """A penalty with a choice of reductions over the steps."""

    reductions: tuple[str, ...]
    of_all_steps = True

    def __init__(self, weight: float | Schedule, reduction: str) -> None:
        super().__init__(weight)
        if reduction not in self.reductions:
            raise ValueError(f"reduction must be one of {', '.join(self.reductions)}, but is {reduction!r}.")
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Describe weight and reduction in ``repr``."""
        return f"{super().extra_repr()}, reduction={self.reduction!r}"

    def _reduce(self, values: Tensor, steps: Steps) -> Tensor:
        """Reduce values that the step sizes weigh, over the steps of each sample and then over the samples."""
        groups, h = StepGroups(steps), steps.h
        totals = groups.sum(values * h.abs())
        if self.reduction == "span":
            totals = totals / groups.sum(h).abs().clamp_min(1e-300 if h.dtype.itemsize == 8 else 1e-30)
        elif self.reduction == "mean":
            totals = totals / groups.counts.clamp_min(1)
        return totals.mean()


class _OfErrors(_Reduced):
    """A penalty on the errors, in units of the tolerance or raw."""

    reads = "error"

    def __init__(self, weight: float | Schedule, reduction: str, scaled: bool) -> None:
        super().__init__(weight, reduction)
        check_flag(scaled, "scaled")
        self.scaled = scaled

    def solve_options(self) -> dict[str, Any]:
        """See `Penalty.solve_options`."""
        return {} if self.scaled or not self.weight else {"local_errors": True}

    def extra_repr(self) -> str:
        """Describe weight, reduction and scale in ``repr``."""
        return super().extra_repr() + ("" if self.scaled else ", scaled=False")

    def _error(self, solution: Solution) -> Tensor:
        scaled = _error(solution)
        if self.scaled:
            return scaled
        vectors = solution.steps.local_error
        if vectors is None:
            raise ValueError("the error vectors were not kept. Solve with local_errors=True, or use scaled=True.")
        parts = [part for _, part in StateStructure.paths(vectors, "local_error")]
        entries = max(sum(part.shape[1:].numel() for part in parts), 1)
        squares = torch.stack(
            [part.abs().square().flatten(1).sum(1) if part.dim() > 1 else part.abs().square() for part in parts]
        )
        smallest = torch.finfo(squares.dtype).tiny
        return (squares.sum(0) / entries + smallest).sqrt()


class GlobalError(_OfErrors):
    """The error that the solver makes: ``sum_j E_j |h_j|`` over the accepted steps.

    Pal, Ma, Shah, Rackauckas (2021), Opening the Blackbox (ERNODE). The published code takes the mean over the steps
    and anneals the weight exponentially from 100 to 10. That goes with `PIController`, which holds the error at 0.17 of
    the tolerance; under the default `IController`, which holds it at 0.59 with fewer steps, such weights are far too
    large (2 to 0.2 serves the same task).

    Args:
        weight: A number or a `Schedule`.
        reduction: ``"span"`` divides by the length of the span, so that the value is the mean error in time; ``"sum"``
            is the paper's formula; ``"mean"`` divides by the number of steps, as the paper's code does.
        scaled: Whether errors are in units of the tolerance. Otherwise ``E_j`` is the root mean square of the error
            vector itself, in units of the state; a solve outside a layer then needs ``local_errors=True``.

    Raises:
        TypeError: ``scaled`` is no bool.
        ValueError: The reduction is not known; when called, the method has no error estimate, or no vectors were kept.
    """

    reductions = ("span", "sum", "mean")

    def __init__(self, weight: float | Schedule = 1.0, reduction: str = "span", *, scaled: bool = True) -> None:
        super().__init__(weight, reduction, scaled)

    def value(self, solution: Solution) -> Tensor:
        """See `Penalty.value`."""
        return self._reduce(self._error(solution), solution.steps)


class GlobalErrorSquared(_OfErrors):
    """The squared error of the steps: ``sum_j E_j^2``, the variant that Pal et al. (2021) use with a constant weight.

    Args:
        weight: A number or a `Schedule`.
        reduction: ``"sum"`` or ``"mean"`` over the steps.
        scaled: See `GlobalError`.

    Raises:
        TypeError: ``scaled`` is no bool.
        ValueError: The reduction is not known; when called, the method has no error estimate, or no vectors were kept.
    """

    reductions = ("sum", "mean")

    def __init__(self, weight: float | Schedule = 1.0, reduction: str = "sum", *, scaled: bool = True) -> None:
        super().__init__(weight, reduction, scaled)

    def value(self, solution: Solution) -> Tensor:
        """See `Penalty.value`."""
        squares, groups = self._error(solution).square(), StepGroups(solution.steps)
        return (groups.sum(squares) if self.reduction == "sum" else groups.mean(squares)).mean()


class GlobalStiffness(_Reduced):
    """The stiffness along the solution: ``sum_j S_j |h_j|`` over the accepted steps (SRNODE of Pal et al. 2021).

    Args:
        weight: A number or a `Schedule`.
        reduction: ``"span"`` divides by the length of the span, so that the value is the mean stiffness in time;
            ``"sum"`` is the paper's formula; ``"mean"`` divides by the number of steps; ``"max"`` is the largest
            ``S_j`` over the length of the method's stability interval, as in the paper's code, without the last step,
            whose size was cut to reach the end and whose estimate is rounding noise where that made it tiny.

    Raises:
        ValueError: The reduction is not known; when called, the method has no stiffness estimate.
    """

    reductions = ("span", "sum", "mean", "max")
    reads = "stiffness"

    def __init__(self, weight: float | Schedule = 1.0, reduction: str = "span") -> None:
        super().__init__(weight, reduction)

    def value(self, solution: Solution) -> Tensor:
        """See `Penalty.value`."""
        steps = solution.steps
        if steps.stiffness is None:
            raise ValueError(
                "the method has no stiffness estimate: none of its stages share a time. "
                'Choose method="tsit5", "dopri5", "dopri8" or "rk4".'
            )
        if self.reduction != "max":
            return self._reduce(steps.stiffness, steps)
        return StepGroups(steps).max_but_last(steps.stiffness).mean() / (steps.stability or 1.0)


class StepCount(Penalty):
    """A differentiable count of the steps that the controller needs: ``sum_j (E_j / E*)^(1/k)``.

    A step whose error is ``E`` could have been larger by ``(E* / E)^(1/k)``, with ``E*`` the error at which the
    controller keeps the step size and ``k`` the order of the error. The value is in units of steps, whatever the
    tolerance and the method, so that a constant weight works without annealing.

    Args:
        weight: A number (try 0.01 to 0.3 against a cross-entropy) or a `Schedule`.
        set_point: ``E*``; by default that of the controller of the solve.

    Raises:
        ValueError: ``set_point`` is not positive; when called, the method has no error estimate, or the solve took
            fixed steps and no ``set_point`` was given.
    """

    reads = "error"
    of_all_steps = True

    def __init__(self, weight: float | Schedule = 1.0, set_point: float | None = None) -> None:
        super().__init__(weight)
        if set_point is not None and not set_point > 0:
            raise ValueError(f"set_point must be positive, but is {set_point}. Try 0.5.")
        self.set_point = set_point

    def value(self, solution: Solution) -> Tensor:
        """See `Penalty.value`."""
        steps = solution.steps
        error = _error(solution)
        target = steps.set_point if self.set_point is None else self.set_point
        if target is None or steps.error_order is None:
            raise ValueError("set_point must be given where steps are fixed, because no controller sets one. Try 0.5.")
        counts = ((error / target).square() + _SMALLEST_SQUARE).pow(0.5 / steps.error_order)
        return StepGroups(steps).sum(counts).mean()


def _error(solution: Solution) -> Tensor:
    if solution.steps.error is None:
        raise ValueError('the method has no error estimate. Choose one with an embedded error, such as method="tsit5".')
    return solution.steps.error
