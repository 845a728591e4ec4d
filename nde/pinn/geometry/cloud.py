"""Domains that are known by points only."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.pinn.geometry.geometry import Geometry
from nde.taylor.operators.checks import check_count

__all__ = ["PointCloud"]


class PointCloud(Geometry):
    """Given points, with boundary points and their normals where these are known: a mesh, a scan, measurements.

    Args:
        points: Shape ``(n, d)``.
        boundary: Shape ``(m, d)``.
        boundary_normals: Shape ``(m, d)``, outward; they are scaled to length 1.

    Raises:
        TypeError: The points are not floating.
        ValueError: Shapes do not fit.
    """

    def __init__(self, points: Tensor, boundary: Tensor | None = None, boundary_normals: Tensor | None = None) -> None:
        if points.ndim != 2 or 0 in points.shape:
            raise ValueError(f"points must have shape (n, d), but have {tuple(points.shape)}.")
        self.dimension = points.shape[1]
        self.points = self.checked(points)
        self.boundary = None if boundary is None else self.checked(boundary)
        self.bounds = (points.double().amin(0), points.double().amax(0))
        self._normals = None
        if boundary_normals is not None:
            if boundary is None or boundary.shape != boundary_normals.shape:
                raise ValueError("boundary_normals must have the shape of boundary, one for each of its points.")
            self._normals = boundary_normals / boundary_normals.norm(dim=1, keepdim=True)

    def contains(self, x: Tensor) -> Tensor:
        """Return which points are among the given ones, up to rounding."""
        x = self.checked(x)
        near = torch.cdist(x.reshape(-1, self.dimension), self.points.to(x)).amin(1) <= self._rounding(x)
        return near.reshape(x.shape[:-1])

    def normals(self, x: Tensor) -> Tensor:
        """Return the normals of the nearest boundary points.

        Raises:
            ValueError: None were given.
        """
        if self.boundary is None or self._normals is None:
            raise ValueError("this point cloud has no normals. Give boundary= and boundary_normals=.")
        flat = self.checked(x).reshape(-1, self.dimension)
        nearest = torch.cdist(flat, self.boundary.to(x)).argmin(1)
        return self._normals.to(x)[nearest].reshape(x.shape)

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw given points without replacement, with it where there are fewer than ``count``."""
        return _rows(self.points, count, method, generator, dtype)

    def sample_boundary(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw given boundary points; see `sample`.

        Raises:
            ValueError: There are none.
        """
        if self.boundary is None:
            raise ValueError("this point cloud has no boundary. Give boundary=.")
        return _rows(self.boundary, count, method, generator, dtype)


def _rows(
    points: Tensor, count: int, method: str, generator: torch.Generator | None, dtype: torch.dtype | None
) -> Tensor:
    check_count(count, "count", 1)
    if method != "uniform":
        raise ValueError(f'points of a cloud are drawn by method="uniform", not {method!r}.')
    if count <= len(points):
        chosen = torch.randperm(len(points), generator=generator)[:count]
    else:
        chosen = torch.randint(len(points), (count,), generator=generator)
    return points[chosen.to(points.device)].to(dtype=torch.get_default_dtype() if dtype is None else dtype)
