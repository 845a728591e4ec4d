"""Known factors of a network, as those that vanish on the boundary: the Laplacian's product rule in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.taylor.operators.estimate import Estimate

__all__ = ["Envelope"]


class Envelope(NamedTuple):
    """The values of a known factor ``w`` in ``u = w f``.

    ``Lap u = w Lap f + 2 grad w . grad f + f Lap w``: the first term may be estimated, the second is exact and rides
    along, the third is known.

    Attributes:
        value: ``w``, shape ``S``.
        gradient: Shape ``(*S, d)``.
        laplacian: Over the axes that the operator sums over, shape ``S`` or a number.
    """

    value: Tensor
    gradient: Tensor
    laplacian: Tensor | float

    @classmethod
    def ball(cls, x: Tensor, *, radius: float = 1.0, dimensions: int | None = None) -> Envelope:
        """Return ``w = radius^2 - |x|^2`` over the first ``dimensions`` coordinates (None: all).

        Args:
            x: Points, shape ``(*S, d)``.
            radius: Radius of the ball.
            dimensions: How many coordinates are in space; those after them, as time, do not matter.
        """
        count = x.shape[-1] if dimensions is None else dimensions
        space = x[..., :count]
        gradient = -2.0 * space
        if count < x.shape[-1]:
            gradient = torch.cat([gradient, torch.zeros_like(x[..., count:])], -1)
        return cls(radius**2 - space.square().sum(-1), gradient, -2.0 * count)

    def applied(self, parts: Any, primal: Any, cross: Any, drift: Tensor | None, fraction: float) -> Estimate:
        """Return the operator on ``w f`` from that on ``f``, ``f``, and ``2 grad w . grad f``."""
        trailing = primal.ndim - self.value.ndim
        value = _aligned(self.value, trailing)
        outer = torch.as_tensor(self.laplacian, dtype=primal.dtype, device=primal.device).expand(self.value.shape)
        if drift is not None:
            outer = outer + (drift * self.gradient).sum(-1)
        return Estimate(parts * value + (cross + primal * _aligned(outer, trailing)), primal * value, fraction)


def _aligned(values: Tensor, trailing: int) -> Tensor:
    return values.reshape(*values.shape, *[1] * trailing)
