"""The Milstein methods, with the derivative of the diffusion or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.derivatives import diffusion_and_derivative
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import Size, as_tensor, filled, length_of, plus, root_of, size_of, wide
from nde.solvers.transforms import tape_fails

__all__ = ["Milstein"]


class Milstein(SDEMethod):
    """``y + f h + g dW + g g' (dW^2 - h) / 2``; without ``- h`` for the Stratonovich calculus.

    Where the noise is diagonal, ``g_i`` may depend on ``y_i`` alone: otherwise the noise does not commute, and the
    order is 0.5. Where several motions commute, the correction is ``sum_jk g_j' g_k (dW_j dW_k - h delta_jk) / 2``,
    whose areas cancel; it costs a derivative along the noise and, for the Ito calculus, one for each motion.

    Args:
        calculus: "ito" or "stratonovich".
        derivative_free: Whether ``g g'`` is a difference quotient, ``(g(y + g sqrt(h)) - g) / sqrt(h)``, in place of a
            derivative. It costs one evaluation of the diffusion in place of one backward pass through it.

    Raises:
        ValueError: ``derivative_free`` is asked for with the Stratonovich calculus.
    """

    strong_orders: Mapping[str, float] = {  # type: ignore[misc]  # the derivative makes a difference
        "diagonal": 1.0,
        "scalar": 1.0,
        "additive": 1.0,
    }
    rows = True
    weak_order = 1.0
    source = "Milstein (1974), Theory Probab. Appl. 19; Kloeden, Platen (1992), 10.3 and 11.1"

    def __init__(self, calculus: str, derivative_free: bool = False) -> None:
        if derivative_free and calculus != "ito":
            # the quotient is off by O(sqrt(h)); only where dW^2 - h averages it away does the order stay 1
            raise ValueError(
                f"derivative_free goes with calculus='ito', but calculus is {calculus!r}. There, euler_heun needs no "
                "derivative and has the same order."
            )
        self.calculus = calculus
        self.derivative_free = derivative_free
        if not derivative_free:
            self.strong_orders = {**Milstein.strong_orders, "commutative": 1.0}
        self.name = "milstein_derivative_free" if derivative_free else "milstein"

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        size, noise = size_of(h, y), field.increment(t, h).w
        y1 = plus(y, field(t, y), size)
        return StepResult(self.with_noise(y1, field, t, size, y, noise), None, None, None, None)

    def with_noise(self, base: Tensor, field: SDEField, t: Scalar, size: Size, y: Tensor, noise: Tensor) -> Tensor:
        """Return what an increment of the path adds to a step from ``y``, all but the drift, on top of a base."""
        if field.noise == "commutative":
            return self._commuting(base, field, t, size, y, noise)
        if field.noise == "additive":  # the derivative vanishes
            return field.plus_product(base, field.diffusion(t, y), noise)
        if self.calculus == "ito":
            factor = torch.addcmul(as_tensor(wide(size, noise), noise), noise, noise, value=-1).mul_(-0.5)
        else:
            factor = noise.square().mul_(0.5)
        derivative = self._difference if self.derivative_free else self._derivative
        correction, diffusion = derivative(field, t, size, y, factor)
        return field.plus_product(base, diffusion, noise) + correction

    def _commuting(self, base: Tensor, field: SDEField, t: Scalar, size: Size, y: Tensor, noise: Tensor) -> Tensor:
        matrix, along = diffusion_and_derivative(field, t, y)
        first = field.product(matrix, noise)
        total = base + first + field.product(along(first), 0.5 * noise)
        if self.calculus == "stratonovich":
            return total
        columns = matrix.unbind(-1)
        squares = [along(column.reshape(y.shape))[..., motion] for motion, column in enumerate(columns)]
        return plus(total, torch.stack(squares).sum(0).reshape(y.shape), -0.5 * size)

    def _difference(self, field: SDEField, t: Scalar, h: Size, y: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        diffusion = field.diffusion(t, y)
        root = filled(factor, root_of(length_of(h)))
        support = y + field.product(diffusion, root)
        return field.product(field.diffusion(t, support) - diffusion, factor / root), diffusion

    def _derivative(self, field: SDEField, t: Scalar, h: Size, y: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``g' (g factor)`` and ``g``, by the product of the Jacobian with a vector."""
        if field.channels is not None:
            matrix, along = diffusion_and_derivative(field, t, y)
            return along(field.product(matrix, factor)).reshape(y.shape), matrix
        if tape_fails():
            diffusion, pull, *_ = torch.func.vjp(lambda state: field.diffusion(t, state), y)
            return pull(diffusion * factor)[0], diffusion
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            state = y if recording and y.requires_grad else y.detach().requires_grad_()
            diffusion = field.diffusion(t, state)
            if not diffusion.requires_grad:
                return torch.zeros_like(y), diffusion
            # entry i depends on entry i alone, so that the Jacobian is its own transpose
            weight = (diffusion if recording else diffusion.detach()) * factor
            found: Any = torch.autograd.grad(
                diffusion, state, weight, create_graph=recording, retain_graph=recording, allow_unused=True
            )[0]
        if found is None:
            found = torch.zeros_like(y)
        if not recording:
            return found.detach(), diffusion.detach()
        return found, diffusion
