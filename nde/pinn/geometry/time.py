"""Domains in space and time: points ``(x, t)`` with the time as their last coordinate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.pinn.geometry.draws import unit_cube
from nde.pinn.geometry.geometry import Geometry, Primitive

__all__ = ["TimeProduct"]


class TimeProduct(Geometry):
    """A domain in space over an interval of time.

    Its boundary, where boundary conditions are set, is that of space at all times; the initial and the final points are
    drawn by `sample_initial` and `sample_final`.

    Args:
        space: The domain in space.
        start, end: The interval of time.

    Raises:
        TypeError: ``space`` is no geometry.
        ValueError: The interval is empty.
    """

    def __init__(self, space: Geometry, start: float, end: float) -> None:
        if not isinstance(space, Geometry):
            raise TypeError(f"space must be a geometry, but is a {type(space).__name__}.")
        if not (math.isfinite(start) and math.isfinite(end) and start < end):
            raise ValueError(f"start must be below end and both finite, but they are {start} and {end}.")
        self.space = space
        self.start = float(start)
        self.end = float(end)
        self.dimension = space.dimension + 1
        low, high = space.bounds
        self.bounds = (torch.cat([low, low.new_tensor([start])]), torch.cat([high, high.new_tensor([end])]))
        duration = end - start
        self.measure = None if space.measure is None else space.measure * duration
        self.boundary_measure = None if space.boundary_measure is None else space.boundary_measure * duration

    def contains(self, x: Tensor) -> Tensor:
        """See `Geometry.contains`."""
        time = self.checked(x)[..., -1]
        return self.space.contains(x[..., :-1]) & (time >= self.start) & (time <= self.end)

    def on_boundary(self, x: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which points are on the boundary of space."""
        return self.space.on_boundary(self.checked(x)[..., :-1], tolerance)

    def normals(self, x: Tensor) -> Tensor:
        """Return the normals of the boundary of space, with no component in time."""
        normals = self.space.normals(self.checked(x)[..., :-1])
        return torch.cat([normals, torch.zeros_like(normals[..., :1])], -1)

    def vanishing(self, x: Tensor) -> Tensor:
        """Return the function of space that vanishes on its boundary; see `vanishing_at_start`."""
        return self.space.vanishing(x[..., :-1])

    def vanishing_at_start(self, x: Tensor) -> Tensor:
        """Return the time since the start as a part of the whole: the factor of a hard initial condition."""
        return (x[..., -1] - self.start) / (self.end - self.start)

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample`."""
        if isinstance(self.space, Primitive):
            size = self.space.cube_dimension + 1
            cube = unit_cube(count, size, method=method, generator=generator, dtype=dtype)
            return self._with_time(self.space.from_cube(cube[:, :-1]), cube[:, -1])
        points = self.space.sample(count, method=method, generator=generator, dtype=dtype)
        return self._with_time(points, self._times(count, method, generator, points.dtype))

    def sample_boundary(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample_boundary`: points of the boundary of space, at all times."""
        if isinstance(self.space, Primitive):
            size = self.space.boundary_cube_dimension + 1
            cube = unit_cube(count, size, method=method, generator=generator, dtype=dtype)
            return self._with_time(self.space.boundary_from_cube(cube[:, :-1]), cube[:, -1])
        points = self.space.sample_boundary(count, method=method, generator=generator, dtype=dtype)
        return self._with_time(points, self._times(count, method, generator, points.dtype))

    def sample_initial(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw points of space at the start."""
        points = self.space.sample(count, method=method, generator=generator, dtype=dtype)
        return torch.cat([points, torch.full_like(points[:, :1], self.start)], 1)

    def sample_final(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw points of space at the end."""
        points = self.space.sample(count, method=method, generator=generator, dtype=dtype)
        return torch.cat([points, torch.full_like(points[:, :1], self.end)], 1)

    def _times(self, count: int, method: str, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        times = unit_cube(count, 1, method=method, generator=generator, dtype=dtype)[:, 0]
        # a sequence's own order must not tie the time to the order of the points
        return times[torch.randperm(count, generator=generator)]

    def _with_time(self, points: Tensor, shares: Tensor) -> Tensor:
        times = self.start + (self.end - self.start) * shares
        return torch.cat([points, times.unsqueeze(1).to(points.dtype)], 1)
