"""The reversible Heun method, whose steps can be undone exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import plus, size_of

__all__ = ["ReversibleHeun"]


class ReversibleHeun(SDEMethod):
    """A second state ``z`` is carried along, at which drift and diffusion are evaluated once per step.

    ``z1 = 2 y - z + f(z) h + g(z) dW``, ``y1 = y + (f(z) + f(z1)) h / 2 + (g(z) + g(z1)) dW / 2``.
    """

    name = "reversible_heun"
    calculus = "stratonovich"
    strong_orders: ClassVar[Mapping[str, float]] = {**dict.fromkeys(NOISE_TYPES, 1.0), "general": 0.5}
    weak_order = 1.0
    error_order = 1
    rows = True
    carry_is_function_of_state = False
    source = "Kidger, Foster, Li, Lyons (2021), Efficient and accurate gradients for neural SDEs, algorithm 1"

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """Return ``z``, the drift and the diffusion at it.

        Raises:
            TypeError: The field has no diffusion.
        """
        return y, field(t, y), self.stochastic(field).diffusion(t, y)

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """Return the drift of the carry."""
        drift: Tensor = carry[1]
        return drift

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        z, drift, diffusion = carry
        size, noise = size_of(h, y), field.increment(t, h).w
        z1 = plus(2 * y - z, drift, size) + field.product(diffusion, noise)
        drift1, diffusion1 = field(t + h, z1), field.diffusion(t + h, z1)
        y1 = plus(y, drift + drift1, 0.5 * size) + field.product(diffusion + diffusion1, 0.5 * noise)
        change = plus(field.product(diffusion1 - diffusion, 0.5 * noise), drift1 - drift, 0.5 * size)
        return StepResult(y1, (z1, drift1, diffusion1), change.unsqueeze(0), None, None)
