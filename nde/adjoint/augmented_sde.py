"""The adjoint of a stochastic equation as a field of its own, which the Stratonovich methods solve like any other.

With ``dy = f dt + sum_j g_j o dW_j`` in the sense of Stratonovich, the cotangent obeys the ordinary chain rule,
``da = -a (df/dy) dt - sum_j a (dg_j/dy) o dW_j``, and so do the targets' cotangents (Li, Wong, Chen, Duvenaud 2020,
Scalable gradients for stochastic differential equations, theorem 3.2). Run backwards, it meets the same Brownian path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.adjoint.augmented import augmented_change
from nde.solvers.brownian import BrownianIncrement
from nde.solvers.sde.derivatives import derivative_along
from nde.solvers.sde.field import Scalar, SDEField
from nde.solvers.structure import StateStructure

__all__ = ["AugmentedSDEField", "check_noise", "ito_correction"]


@dataclass(frozen=True, slots=True)
class _Diffusion:
    """The diffusion at a time and an augmented state, on the tape of ``y``."""

    y: Tensor
    value: Tensor
    cotangent: Tensor


class AugmentedSDEField(SDEField):
    """The field of ``(y, a, p)``; its diffusion is not a tensor, but what `product` takes.

    Args:
        field: The field of the equation.
        structure: Structure of the augmented state.
        targets: Tensors, other than the state, that gradients are wanted for.
        to_stratonovich: Whether the equation is one of Ito, whose drift is then converted.
    """

    def __init__(
        self, field: SDEField, structure: StateStructure, targets: Sequence[Tensor], to_stratonovich: bool
    ) -> None:
        super().__init__(
            field.function, field.diffusion_function, structure, field.args, "general", field.path, field.channels
        )
        self._own = field
        self._targets = targets
        self._to_stratonovich = to_stratonovich
        self._size = field.structure.size
        self._last: tuple[Scalar, Tensor, _Diffusion] | None = None

    def __call__(self, t: Scalar, y: Tensor) -> Tensor:
        """Return the augmented drift."""
        if not self._to_stratonovich:
            state, cotangent = self._split(y)
            with torch.enable_grad():
                value = self._own(t, state)
        else:
            # the diffusion at the same place is mostly asked for too
            found = self.diffusion(t, y)
            state, cotangent = found.y, found.cotangent
            with torch.enable_grad():
                value = self._own(t, state)
                correction = ito_correction(self._own, state, found.value)
                value = value if correction is None else value - correction
        return augmented_change(value, state, self._targets, cotangent, retain_graph=True)

    def diffusion(self, t: Scalar, y: Tensor) -> Any:
        """Return what `product` takes."""
        if self._last is not None and self._last[0] is t and self._last[1] is y:
            return self._last[2]
        state, cotangent = self._split(y)
        with torch.enable_grad():
            found = _Diffusion(state, self._own.diffusion(t, state), cotangent)
        self._last = t, y, found
        return found

    def increment(self, t: Scalar, h: Scalar) -> BrownianIncrement:
        """See `SDEField.increment`; in the shape of the equation's own noise."""
        return self._own.increment(t, h)

    def source(self, method: Any, t: float, h: float, y: Tensor, carry: Any) -> str | None:
        """Return nothing: what was not finite may be any of the equation's own parts or of their derivatives."""
        return None

    def product(self, diffusion: Any, noise: Tensor) -> Tensor:
        """Return the augmented diffusion times an increment."""
        with torch.enable_grad():
            value = self._own.product(diffusion.value, noise)
        # another product of the same diffusion may follow
        return augmented_change(value, diffusion.y, self._targets, diffusion.cotangent, retain_graph=True)

    def plus_product(self, y: Tensor, diffusion: Any, noise: Tensor, factor: float = 1.0) -> Tensor:
        """See `SDEField.plus_product`."""
        return torch.add(y, self.product(diffusion, noise), alpha=factor)

    def _split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        y = state[: self._size].detach().requires_grad_()
        return y, state[self._size : 2 * self._size].detach()


def ito_correction(field: SDEField, y: Tensor, diffusion: Tensor) -> Tensor | None:
    """Return ``sum_j (dg_j/dy) g_j / 2``, on the tape: the Ito drift less the Stratonovich one. None if it is zero.

    Where the noise is diagonal, entry i of the diffusion may depend on entry i of the state alone, and otherwise row i
    on row i; see `check_noise`.

    Args:
        field: The field.
        y: The state, shape ``(size,)``, which the diffusion was evaluated at on the tape.
        diffusion: The diffusion there.
    """
    if field.noise == "additive" or not diffusion.requires_grad:
        return None
    if field.channels is None:
        # the Jacobian is diagonal, and its own transpose
        (found,) = torch.autograd.grad(diffusion, y, diffusion, create_graph=True, allow_unused=True)
        return None if found is None else 0.5 * found
    along = derivative_along(diffusion, y, recording=True)
    columns = [along(column.reshape(-1))[..., motion] for motion, column in enumerate(diffusion.unbind(-1))]
    return 0.5 * torch.stack(columns).sum(0).reshape(-1)


def check_noise(field: SDEField, t: float, y: Tensor) -> None:
    """Raise ValueError where the correction of `ito_correction` would not be that of the equation.

    It is where entries (rows, unless the noise is diagonal) of the diffusion depend on other entries (rows) of the
    state. Products with random vectors tell: scaling the rows of the cotangent scales those of the result.

    Args:
        field: The field.
        t: A time.
        y: A state, shape ``(size,)``.
    """
    if field.noise == "additive" or not bool(y.isfinite().all()):
        return
    with torch.enable_grad():
        state = y.detach().requires_grad_()
        value = field.fresh().diffusion(t, state)
        if not value.requires_grad:
            return
        rows = value.numel() if field.channels is None else value.shape[:-2].numel()
        generator = torch.Generator().manual_seed(0)
        weights = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value) + 0.5
        scales = torch.rand(rows, 1, generator=generator, dtype=torch.float64).to(value) + 0.5
        scaled = (weights.reshape(rows, -1) * scales).view(value.shape)
        plain, found = (
            torch.autograd.grad(value, state, cotangent, retain_graph=True, materialize_grads=True)[0]
            for cotangent in (weights, scaled)
        )
    expected = (plain.reshape(rows, -1) * scales).reshape(-1)
    # roundings of a sum, against a difference that is as large as the Jacobian's other entries
    tolerance = torch.finfo(value.dtype).eps ** 0.5 * float(expected.abs().max())
    if float((found - expected).abs().max()) > tolerance:
        part = "entry" if field.channels is None else "row"
        raise ValueError(
            f'adjoint="backsolve" converts an Ito equation into one of Stratonovich, which with noise={field.noise!r} '
            f"needs a diffusion whose {part} i depends on {part} i of the state alone, but this one mixes them. Use "
            + ('noise="general" with a matrix, or ' if field.channels is None else "")
            + 'adjoint="discrete".'
        )
