"""Intervals and boxes with axis-parallel sides."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from nde.pinn.geometry.geometry import Primitive
from nde.pinn.geometry.rvachev import conjunction

__all__ = ["Box", "Interval"]


class Box(Primitive):
    """The points between two corners, of any dimension.

    Args:
        lower, upper: Coordinates of the corners.

    Raises:
        ValueError: The corners have different lengths, are not finite, or a side has no positive length.
    """

    def __init__(self, lower: Sequence[float] | Tensor, upper: Sequence[float] | Tensor) -> None:
        low = torch.as_tensor(lower, dtype=torch.float64).reshape(-1)
        high = torch.as_tensor(upper, dtype=torch.float64).reshape(-1)
        if len(low) != len(high) or not len(low):
            raise ValueError(f"lower and upper must have as many coordinates, but have {len(low)} and {len(high)}.")
        for axis, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            if not (math.isfinite(a) and math.isfinite(b) and a < b):
                raise ValueError(f"lower must be below upper and both finite, but along axis {axis} they are {a}, {b}.")
        self.dimension = len(low)
        self.bounds = (low, high)
        self.cube_dimension = self.dimension
        self.boundary_cube_dimension = self.dimension
        sides = high - low
        self.measure = float(sides.prod())
        self._face_measures = self.measure / sides  # of one of the two faces across each axis
        self.boundary_measure = 2 * float(self._face_measures.sum())

    def _sides(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.bounds
        return low.to(x), high.to(x)

    def signed_distance(self, x: Tensor) -> Tensor:
        """See `Geometry.signed_distance`; the exact Euclidean distance."""
        low, high = self._sides(x)
        beyond = torch.maximum(low - x, x - high)
        return beyond.clamp_min(0).norm(dim=-1) + beyond.amax(-1).clamp_max(0)

    def _factors(self, x: Tensor) -> list[Tensor]:
        """Return ``(x - lower)(upper - x)`` of each axis, scaled to at most 1."""
        return [
            (x[..., axis] - low) * (high - x[..., axis]) * (4 / (high - low) ** 2)
            for axis, (low, high) in enumerate(zip(*(side.tolist() for side in self.bounds), strict=True))
        ]

    def vanishing(self, x: Tensor) -> Tensor:
        """See `Geometry.vanishing`: the product of ``(x - lower)(upper - x)`` over the axes, at most 1."""
        return functools.reduce(operator.mul, self._factors(x))

    def implicit(self, x: Tensor) -> Tensor:
        """See `Geometry.implicit`."""
        return functools.reduce(conjunction, self._factors(x))

    def normals(self, x: Tensor) -> Tensor:
        """See `Geometry.normals`; at an edge, that of one of the faces."""
        low, high = self._sides(self.checked(x))
        gaps = torch.stack([(x - low).abs(), (high - x).abs()], -1) / (high - low).unsqueeze(-1)
        nearest = gaps.flatten(-2).argmin(-1)
        axes = nearest // 2
        signs = (nearest % 2 * 2 - 1).to(x.dtype)
        return torch.zeros_like(x).scatter(-1, axes.unsqueeze(-1), signs.unsqueeze(-1))

    def from_cube(self, cube: Tensor) -> Tensor:
        """See `Primitive.from_cube`."""
        low, high = self._sides(cube)
        return low + (high - low) * cube

    def boundary_from_cube(self, cube: Tensor) -> Tensor:
        """See `Primitive.boundary_from_cube`: the first coordinate picks the face."""
        low, high = self._sides(cube)
        edges = torch.cumsum(self._face_measures.repeat_interleave(2) / self.boundary_measure, 0).to(cube)
        face = torch.searchsorted(edges, cube[:, 0].contiguous(), right=True).clamp_max(2 * self.dimension - 1)
        axis = face // 2
        # coordinates 1 .. d-1 of the cube fill the axes of the face
        others = torch.arange(self.dimension, device=cube.device).expand(len(cube), -1)
        source = torch.where(others < axis.unsqueeze(1), others + 1, others)
        unit = cube.gather(1, source.clamp_max(self.dimension - 1))
        points = low + (high - low) * unit
        ends = torch.where(face % 2 == 0, low[axis], high[axis])
        return points.scatter(1, axis.unsqueeze(1), ends.unsqueeze(1))


class Interval(Box):
    """The numbers between two ends.

    Args:
        start, end: The ends.
    """

    def __init__(self, start: float, end: float) -> None:
        super().__init__([start], [end])
