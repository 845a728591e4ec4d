"""Milstein's method without derivatives, with the supports that torchsde takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod

__all__ = ["GradFreeMilstein"]


class GradFreeMilstein(SDEMethod):
    """Milstein's method with a difference quotient in place of ``g g'``.

    For the Ito calculus, it is ``(g(y + f h + g sqrt(h)) - g) / sqrt(h)``. For the Stratonovich calculus, where the
    quotient's error of the size of ``sqrt(h)`` has a mean that adds up to an order of 0.5, it is the symmetric
    ``(g(y + g sqrt(h)) - g(y - g sqrt(h))) / (2 sqrt(h))``.

    Args:
        calculus: "ito" or "stratonovich".
    """

    name = "milstein_grad_free"
    strong_orders: ClassVar[Mapping[str, float]] = {"diagonal": 1.0, "scalar": 1.0}
    source = "Kloeden, Platen (1992), Numerical solution of stochastic differential equations, 11.1"

    def __init__(self, calculus: str) -> None:
        self.calculus = calculus

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        size, noise = float(h), field.increment(t, h).w
        root = math.sqrt(size)
        diffusion, drift = field.diffusion(t, y), field(t, y)
        moved, square = torch.add(y, drift, alpha=size), noise.square()
        far = field.product(diffusion, torch.full_like(noise, root))
        if self.calculus == "ito":
            change, factor = field.diffusion(t, moved + far) - diffusion, (square - size) / (2 * root)
        else:
            change, factor = field.diffusion(t, y + far) - field.diffusion(t, y - far), square / (4 * root)
        y1 = moved + field.product(diffusion, noise) + field.product(change, factor)
        return StepResult(y1, None, None, None, None)
