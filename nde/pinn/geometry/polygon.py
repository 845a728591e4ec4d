"""Polygons in the plane, convex or not."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from nde.pinn.geometry.geometry import Primitive
from nde.pinn.geometry.rvachev import conjunction

__all__ = ["Polygon"]


class Polygon(Primitive):
    """The points inside a closed chain of edges that do not cross.

    Args:
        vertices: Shape ``(n, 2)``, in order, either way round; the last is joined to the first.

    Raises:
        ValueError: There are fewer than three vertices, two neighbours coincide, edges cross, or the area is zero.
    """

    def __init__(self, vertices: Sequence[Sequence[float]] | Tensor) -> None:
        corners = torch.as_tensor(vertices, dtype=torch.float64)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
            raise ValueError(f"vertices must have shape (n, 2) with n >= 3, but have {tuple(corners.shape)}.")
        area = float(_cross(corners, corners.roll(-1, 0)).sum()) / 2
        if area < 0:
            corners = corners.flip(0)
        self.vertices = corners
        self._edges = corners.roll(-1, 0) - corners
        self._lengths = self._edges.norm(dim=1)
        if float(self._lengths.min()) == 0 or area == 0:
            raise ValueError("vertices must enclose an area, and neighbours must differ. Remove the repeated vertex.")
        self._check_simple()
        self.dimension = 2
        self.bounds = (corners.amin(0), corners.amax(0))
        self.measure = abs(area)
        self.boundary_measure = float(self._lengths.sum())
        self.cube_dimension = 3
        self.boundary_cube_dimension = 1
        self._triangles = _ears(corners)
        spans = self._triangles[:, 1:] - self._triangles[:, :1]
        self._triangle_ends = torch.cumsum(_cross(spans[:, 0], spans[:, 1]).abs() / (2 * self.measure), 0)

    def _check_simple(self) -> None:
        count = len(self.vertices)
        for i in range(count):
            for j in range(i + 2, count):
                if (j + 1) % count == i:
                    continue
                a, b, p, q = self.vertices[i], self._edges[i], self.vertices[j], self._edges[j]
                across = _cross(p - a, b) * _cross(p + q - a, b)
                along = _cross(a - p, q) * _cross(a + b - p, q)
                if float(across) <= 0 and float(along) <= 0:
                    raise ValueError(f"edges {i} and {j} of the polygon cross or touch. Give the vertices in order.")

    @property
    def convex(self) -> bool:
        """Whether every straight line between two of its points stays inside."""
        return bool((_cross(self._edges, self._edges.roll(-1, 0)) >= 0).all())

    def _edge_distances(self, x: Tensor) -> Tensor:
        """Return the distances from every edge, shape ``(*S, n)``."""
        start, edges = self.vertices.to(x), self._edges.to(x)
        offset = x.unsqueeze(-2) - start
        share = ((offset * edges).sum(-1) / edges.square().sum(-1)).clamp(0, 1)
        return (offset - share.unsqueeze(-1) * edges).norm(dim=-1)

    def signed_distance(self, x: Tensor) -> Tensor:
        """See `Geometry.signed_distance`; the exact Euclidean distance."""
        start, end = self.vertices.to(x), self.vertices.roll(-1, 0).to(x)
        y = x[..., 1:2]
        # edges that a ray to the right crosses: an odd number from inside
        spans = (start[:, 1] > y) != (end[:, 1] > y)
        rise = end[:, 1] - start[:, 1]
        crossing = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / torch.where(rise == 0, 1.0, rise)
        inside = (spans & (x[..., :1] < crossing)).sum(-1) % 2 == 1
        distance = self._edge_distances(x).amin(-1)
        return torch.where(inside, -distance, distance)

    def _lines(self, x: Tensor) -> list[Tensor]:
        """Return the distances from the lines of the edges in units of half the width, positive inside.

        Raises:
            NotImplementedError: The polygon is not convex.
        """
        if not self.convex:
            raise NotImplementedError(
                "a polygon with a corner that points inwards is not where all of its lines are positive. Write it as a "
                "union, intersection or difference of convex ones."
            )
        width = float((self.bounds[1] - self.bounds[0]).max())
        edges = zip(self.vertices.tolist(), self._edges.tolist(), self._lengths.tolist(), strict=True)
        return [
            ((x[..., 1] - py) * ex - (x[..., 0] - px) * ey) * (2 / (length * width))
            for (px, py), (ex, ey), length in edges
        ]

    def vanishing(self, x: Tensor) -> Tensor:
        """See `Geometry.vanishing`: the product of the distances from the lines of the edges, of convex polygons."""
        return functools.reduce(operator.mul, self._lines(x))

    def implicit(self, x: Tensor) -> Tensor:
        """See `Geometry.implicit`; of convex polygons."""
        return functools.reduce(conjunction, self._lines(x))

    def normals(self, x: Tensor) -> Tensor:
        """See `Geometry.normals`; at a corner, that of one of the edges."""
        nearest = self._edge_distances(self.checked(x)).argmin(-1)
        outward = torch.stack([self._edges[:, 1], -self._edges[:, 0]], 1) / self._lengths.unsqueeze(1)
        return outward.to(x)[nearest]

    def from_cube(self, cube: Tensor) -> Tensor:
        """See `Primitive.from_cube`: the first coordinate picks a triangle, the others a point of it."""
        which = torch.searchsorted(self._triangle_ends.to(cube), cube[:, 0].contiguous(), right=True)
        corners = self._triangles.to(cube)[which.clamp_max(len(self._triangles) - 1)]
        # the points beyond the diagonal of the parallelogram are reflected into the triangle
        beyond = cube[:, 1:].sum(1, keepdim=True) > 1
        shares = torch.where(beyond, 1 - cube[:, 1:], cube[:, 1:])
        spans = corners[:, 1:] - corners[:, :1]
        return corners[:, 0] + (shares.unsqueeze(-1) * spans).sum(1)

    def boundary_from_cube(self, cube: Tensor) -> Tensor:
        """See `Primitive.boundary_from_cube`: the chain of edges, rolled out."""
        ends = torch.cumsum(self._lengths, 0).to(cube)
        along = cube[:, 0] * ends[-1]
        edge = torch.searchsorted(ends, along.contiguous(), right=True).clamp_max(len(ends) - 1)
        lengths = self._lengths.to(cube)[edge]
        share = 1 - (ends[edge] - along) / lengths
        return self.vertices.to(cube)[edge] + share.unsqueeze(1) * self._edges.to(cube)[edge]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _ears(vertices: Tensor) -> Tensor:
    """Return triangles that fill a counterclockwise polygon, shape ``(n - 2, 3, 2)``: ears cut off one by one."""
    left = list(range(len(vertices)))
    triangles = []
    while len(left) > 3:
        for position in range(len(left)):
            ear = [left[position - 1], left[position], left[(position + 1) % len(left)]]
            a, b, c = vertices[ear]
            others = vertices[[k for k in left if k not in ear]]
            sides = torch.stack([_cross(q - p, others - p) for p, q in ((a, b), (b, c), (c, a))])
            if float(_cross(b - a, c - b)) >= 0 and not bool((sides >= 0).all(0).any()):
                triangles.append(vertices[ear])
                del left[position]
                break
        else:  # rounding hides the ear of an extremely thin polygon
            raise ValueError("the polygon cannot be cut into triangles: it is too thin, or its edges touch.")
    triangles.append(vertices[left])
    return torch.stack(triangles)
