"""Balls of any dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nde.pinn.geometry.geometry import Primitive
from nde.taylor.operators.checks import check_count

__all__ = ["Ball"]


class Ball(Primitive):
    """The points at most ``radius`` from a centre.

    Args:
        center: Its coordinates; there are as many dimensions.
        radius: Positive.

    Raises:
        ValueError: The radius is not positive and finite.
    """

    def __init__(self, center: Sequence[float] | Tensor, radius: float = 1.0) -> None:
        if not 0 < radius < math.inf:
            raise ValueError(f"radius must be positive and finite, but is {radius}.")
        self.center = torch.as_tensor(center, dtype=torch.float64).reshape(-1)
        self.radius = float(radius)
        self.dimension = len(self.center)
        self.bounds = (self.center - radius, self.center + radius)
        self.cube_dimension = self.dimension + 1
        self.boundary_cube_dimension = self.dimension
        half = self.dimension / 2
        # in logarithms, because the gamma function overflows above 340 dimensions
        self.measure = math.exp(half * math.log(math.pi) - math.lgamma(half + 1) + self.dimension * math.log(radius))
        self.boundary_measure = self.dimension * self.measure / radius

    def signed_distance(self, x: Tensor) -> Tensor:
        """See `Geometry.signed_distance`; the exact Euclidean distance."""
        return (x - self.center.to(x)).norm(dim=-1) - self.radius

    def implicit(self, x: Tensor) -> Tensor:
        """See `Geometry.implicit`: ``1 - |x - center|^2 / radius^2``."""
        offset = x - self.center.to(dtype=x.dtype, device=x.device)
        return 1 - (offset * offset).sum(-1) / self.radius**2

    def normals(self, x: Tensor) -> Tensor:
        """See `Geometry.normals`."""
        offset = self.checked(x) - self.center.to(x)
        return offset / offset.norm(dim=-1, keepdim=True)

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample`; independent points by normal numbers, which cost a third of the cube's."""
        if method != "uniform":
            return super().sample(count, method=method, generator=generator, dtype=dtype)
        check_count(count, "count", 1)
        radii = self.radius * torch.rand(count, 1, generator=generator, dtype=torch.float64) ** (1 / self.dimension)
        points = torch.randn(count, self.dimension, generator=generator, dtype=dtype)
        return points.mul_(radii.to(points) / points.norm(dim=1, keepdim=True)).add_(self.center.to(points))

    def from_cube(self, cube: Tensor) -> Tensor:
        """See `Primitive.from_cube`: a radius ``u^(1/d)`` makes the points uniform in the volume."""
        radii = self.radius * cube[:, -1:] ** (1 / self.dimension)
        return self.center.to(cube) + radii * _directions(cube[:, :-1])

    def boundary_from_cube(self, cube: Tensor) -> Tensor:
        """See `Primitive.boundary_from_cube`."""
        return self.center.to(cube) + self.radius * _directions(cube)


def _directions(cube: Tensor) -> Tensor:
    """Return unit vectors: normal numbers, by the inverse of their distribution, have no preferred direction."""
    eps = torch.finfo(cube.dtype).eps
    normal = torch.special.ndtri(cube.clamp(eps / 2, 1 - eps / 2))
    length = normal.norm(dim=1, keepdim=True)
    axis = torch.zeros_like(normal)
    axis[:, 0] = 1
    return torch.where(length > 0, normal / length.clamp_min(torch.finfo(cube.dtype).tiny), axis)
