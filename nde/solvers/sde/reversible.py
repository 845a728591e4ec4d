"""The reversible Heun method, whose steps can be undone exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Scalar, StepResult
from nde.solvers.reversible import Change, ReversiblePair
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import plus, size_of

__all__ = ["ReversibleHeun"]


class ReversibleHeun(ReversiblePair, SDEMethod):
    """A second state ``z`` is carried along, at which drift and diffusion are evaluated once per step.

    ``z1 = 2 y - z + f(z) h + g(z) dW``, ``y1 = y + (f(z) + f(z1)) h / 2 + (g(z) + g(z1)) dW / 2``.
    """

    name = "reversible_heun"
    calculus = "stratonovich"
    strong_orders: ClassVar[Mapping[str, float]] = {**dict.fromkeys(NOISE_TYPES, 1.0), "general": 0.5}
    weak_order = 1.0
    error_order = 1
    rows = True
    by_products = True
    source = "Kidger, Foster, Li, Lyons (2021), Efficient and accurate gradients for neural SDEs, algorithm 1"

    def evaluate(self, field: VectorField, t: Scalar, z: Tensor) -> tuple[Any, ...]:
        """Return the drift and the diffusion.

        Raises:
            TypeError: The field has no diffusion.
        """
        return field(t, z), self.stochastic(field).diffusion(t, z)

    def change(self, field: VectorField, t: Scalar, h: Scalar) -> Change:
        """Return what makes ``f h + g dW`` of a drift and a diffusion."""
        field = self.stochastic(field)
        noise = field.increment(t, h).w
        return lambda values: plus(field.product(values[1], noise), values[0], size_of(h, values[0]))

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        return self.advance(field, t, h, y, carry)
