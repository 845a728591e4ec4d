"""Known factors of a network, as those that vanish on the boundary: the Laplacian's product rule in one pass."""

from __future__ import annotations

from collections.abc import Callable
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
        direction: Shape ``(*S, d)``: ``grad w`` up to the factor ``slope``. With that it may be the points themselves,
            which at a million coordinates need no copy.
        laplacian: Over the axes that the operator sums over, shape ``S`` or a number.
        slope: ``grad w = slope * direction``.
    """

    value: Tensor
    direction: Tensor
    laplacian: Tensor | float
    slope: float = 1.0

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
        direction = x
        if count < x.shape[-1]:
            direction = torch.cat([space, torch.zeros_like(x[..., count:])], -1)
        squared = torch.linalg.vector_norm(space, dim=-1).square()
        return cls(radius**2 - squared, direction, -2.0 * count, -2.0)

    def check(self, x: Any) -> None:
        """Raise ValueError unless the shapes are those of the points."""
        if self.direction.shape != x.shape or self.value.shape != x.shape[:-1]:
            raise ValueError(
                f"the envelope must have a value of the shape {tuple(x.shape[:-1])} and a direction of the shape "
                f"{tuple(x.shape)}, those of the points, but has {tuple(self.value.shape)} and "
                f"{tuple(self.direction.shape)}."
            )

    def cross_seed(self, masked: Callable[[Tensor], Tensor], push: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return ``2 grad w``, restricted to the axes and, where the first layer is split off, mapped by it."""
        direction = masked(self.direction)
        return (2.0 * self.slope) * (direction if push is None else push(direction))

    def applied(self, parts: Any, primal: Any, cross: Any, drift: Tensor | None, fraction: float) -> Estimate:
        """Return the operator on ``w f`` from that on ``f``, ``f``, and ``2 grad w . grad f``."""
        trailing = primal.ndim - self.value.ndim
        value = _aligned(self.value, trailing)
        outer = torch.as_tensor(self.laplacian, dtype=primal.dtype, device=primal.device).expand(self.value.shape)
        if drift is not None:
            outer = outer + self.slope * (drift * self.direction).sum(-1)
        return Estimate(parts * value + (cross + primal * _aligned(outer, trailing)), primal * value, fraction)


def _aligned(values: Tensor, trailing: int) -> Tensor:
    return values.reshape(*values.shape, *[1] * trailing)
