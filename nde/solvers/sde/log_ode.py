"""The log-ODE method: brackets of the diffusion, weighted by Levy areas, added to a midpoint step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nde.solvers.brownian.chen import BrownianIncrement
from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.areas import levy_area
from nde.solvers.sde.derivatives import diffusion_and_derivative
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import plus, size_of
from nde.solvers.sde.sums import matrix_product

__all__ = ["LogODE"]


class LogODE(SDEMethod):
    """``dy/du = f h + g W + sum_{k<l} [g_k, g_l] A_kl`` for ``u`` from 0 to 1, by the explicit midpoint rule.

    The bracket ``[g_k, g_l]`` is ``g_l' g_k - g_k' g_l``, evaluated at the midpoint alone, by one backward pass for
    each Brownian motion. With noise other than general the brackets vanish, no area is asked for, and the step is that
    of "midpoint". The motions of one row of the state are taken not to drive the others.

    With general noise the strong order is 0.5 for the approximate areas of `nde.BrownianPath`, with a smaller error
    than without any, and 1 for a path whose increments hold the true ``a``.

    The error estimate is that of "midpoint". It does not depend on the area: one that is drawn anew for each interval
    would have another law after a rejection that it has caused.
    """

    name = "log_ode"
    calculus = "stratonovich"
    strong_orders: ClassVar[Mapping[str, float]] = {**dict.fromkeys(NOISE_TYPES, 1.0), "general": 0.5}
    weak_order = 1.0
    levy_area = "foster"
    error_order = 1
    rows = True
    source = "Castell, Gaines (1996), Ann. Inst. H. Poincare Probab. Statist. 32; Foster (2020), thesis, Oxford"

    def area(self, noise: str) -> str:
        """See `SDEMethod.area`; noise that commutes needs none."""
        return self.levy_area if noise == "general" else "none"

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        size, increment = size_of(h, y), field.increment(t, h)
        half = plus(field.product(field.diffusion(t, y), 0.5 * increment.w), field(t, y), 0.5 * size)
        time, middle = t + 0.5 * h, y + half
        if field.noise == "general":
            diffusion, bracket = _bracket(field, time, middle, increment)
        else:
            diffusion, bracket = field.diffusion(time, middle), None
        change = plus(field.product(diffusion, increment.w), field(time, middle), size)
        error = change - 2 * half
        return StepResult(y + change if bracket is None else y + change + bracket, None, error.unsqueeze(0), None, None)


def _bracket(field: SDEField, t: Scalar, y: Tensor, increment: BrownianIncrement) -> tuple[Tensor, Tensor]:
    """Return the diffusion and ``sum_l g_l' d_l``, ``d_l = sum_k g_k A_kl``: the brackets' sum, as A_lk = -A_kl."""
    area = levy_area(increment)
    diffusion, along = diffusion_and_derivative(field, t, y)
    total = torch.zeros_like(y)
    if area.shape[-1] > 1:
        directions = matrix_product(diffusion, area)
        for motion in range(area.shape[-1]):
            total = total + along(directions[..., motion].reshape(y.shape))[..., motion].reshape(y.shape)
    return diffusion, total
