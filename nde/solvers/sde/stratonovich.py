"""Explicit Runge-Kutta methods for the Stratonovich calculus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import Size, plus, size_of
from nde.solvers.sde.sums import weighted_sum
from nde.solvers.tableau import ButcherTableau

__all__ = ["EulerHeun", "StratonovichRungeKutta"]

_ORDERS = {**dict.fromkeys(NOISE_TYPES, 1.0), "general": 0.5}


class StratonovichRungeKutta(SDEMethod):
    """An explicit Runge-Kutta method with ``f h + g dW`` in place of ``f h``.

    Its embedded difference, against the Euler step, is the error estimate; it is of the size of the step, so that steps
    follow the roughness of the solution and are shorter than their error needs.

    Args:
        name: Name of the method.
        tableau: Coefficients of a method of order 2; without embedded ones, steps cost less and have no error estimate.
    """

    calculus = "stratonovich"
    strong_orders: ClassVar[Mapping[str, float]] = _ORDERS
    weak_order = 1.0
    rows = True
    by_products = True

    def __init__(self, name: str, tableau: ButcherTableau) -> None:
        self.name = name
        self.tableau = tableau
        self.error_order = 1 if tableau.errors else None
        self.source = f"{tableau.source}; Ruemelin (1982), SIAM J. Numer. Anal. 19"

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        tableau, size = self.tableau, size_of(h, y)
        noise = field.increment(t, h).w
        stages = [_change(field, t, size, y, noise)]
        for c, row in zip(tableau.c[1:], tableau.a, strict=True):
            argument = y + weighted_sum(row, stages)
            stages.append(_change(field, t + c * h, size, argument, noise))
        errors = torch.stack([weighted_sum(row, stages) for row in tableau.errors]) if tableau.errors else None
        return StepResult(y + weighted_sum(tableau.b, stages), None, errors, None, None)


class EulerHeun(SDEMethod):
    """``y + f h + (g(y) + g(y + g dW)) dW / 2``: Heun's method for the noise, Euler's for the drift."""

    name = "euler_heun"
    calculus = "stratonovich"
    strong_orders: ClassVar[Mapping[str, float]] = _ORDERS
    weak_order = 1.0
    rows = True
    by_products = True
    source = "Gard (1988), Introduction to stochastic differential equations; Roberts (2012), arXiv:1210.0933"

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        noise = field.increment(t, h).w
        first = field.product(field.diffusion(t, y), noise)
        moved = plus(y, field(t, y), size_of(h, y))
        second = field.product(field.diffusion(t + h, y + first), noise)
        y1 = torch.add(moved, first + second, alpha=0.5)
        return StepResult(y1, None, None, None, None)


def _change(field: SDEField, t: Scalar, h: Size, y: Tensor, noise: Tensor) -> Tensor:
    return plus(field.product(field.diffusion(t, y), noise), field(t, y), h)
