"""The Euler-Maruyama method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import plus, size_of

__all__ = ["EulerMaruyama"]


class EulerMaruyama(SDEMethod):
    """``y + f h + g dW``."""

    name = "euler"
    calculus = "ito"
    strong_orders: ClassVar[Mapping[str, float]] = {**dict.fromkeys(NOISE_TYPES, 0.5), "additive": 1.0}
    weak_order = 1.0
    rows = True
    source = "Maruyama (1955), Rend. Circ. Mat. Palermo 4; Kloeden, Platen (1992), 10.2"

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        diffusion, noise = field.diffusion(t, y), field.increment(t, h).w
        y1 = plus(field.plus_product(y, diffusion, noise), field(t, y), size_of(h, y))
        return StepResult(y1, None, None, None, None)
