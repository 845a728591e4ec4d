"""What every domain can do: tell inside from outside, draw points of its interior and boundary, give normals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nde.pinn.geometry.draws import check_method, unit_cube
from nde.taylor.operators.checks import check_count

__all__ = ["Geometry", "Primitive", "draw_accepted"]

_MOST_ROUNDS = 1000


class Geometry:
    """A closed domain of ``dimension`` coordinates.

    Domains are joined, cut and subtracted by ``a | b``, ``a & b`` and ``a - b``.

    Attributes:
        dimension: Number of coordinates.
        bounds: Smallest box around it: two float64 tensors of shape ``(dimension,)``.
        measure: Length, area or volume; None where it is not known.
        boundary_measure: That of the boundary; the number of points in one dimension; None where it is not known.
    """

    dimension: int
    bounds: tuple[Tensor, Tensor]
    measure: float | None = None
    boundary_measure: float | None = None

    def signed_distance(self, x: Tensor) -> Tensor:
        """Return how far points are from the boundary, negative inside; shape ``S`` for points ``(*S, d)``.

        Unions, intersections and differences return a bound of the distance with the right sign and the right zeros.
        """
        raise NotImplementedError(f"{type(self).__name__} has no signed distance.")

    def normals(self, x: Tensor) -> Tensor:
        """Return the outward unit normals at points of the boundary, shape ``(*S, d)``."""
        raise NotImplementedError(f"{type(self).__name__} has no normals.")

    def vanishing(self, x: Tensor) -> Tensor:
        """Return a function that is zero on the boundary, positive inside, and smooth there; shape ``S``.

        It is made of operations that jets can be pushed through, for `nde.pinn.HardConstraint`.
        """
        return self.implicit(x)

    def implicit(self, x: Tensor) -> Tensor:
        """Return a function that is positive inside, zero on the boundary and negative outside; shape ``S``.

        It is smooth away from corners. Combinations of domains are made of it by Rvachev's functions (Shapiro 2007;
        Sukumar and Srivastava 2022).
        """
        raise NotImplementedError(f"{type(self).__name__} has no smooth function that vanishes on its boundary.")

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw points that are uniformly distributed in the domain, shape ``(count, d)``; see `unit_cube`."""
        raise NotImplementedError

    def sample_boundary(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw points that are uniformly distributed on the boundary, shape ``(count, d)``."""
        raise NotImplementedError

    def contains(self, x: Tensor) -> Tensor:
        """Return which points are in the closed domain, shape ``S``."""
        return self.signed_distance(self.checked(x)) <= 0

    def on_boundary(self, x: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which points are at most ``tolerance`` from the boundary; None: a few rounding errors."""
        x = self.checked(x)
        return self.signed_distance(x).abs() <= (self._rounding(x) if tolerance is None else tolerance)

    def checked(self, x: Tensor) -> Tensor:
        """Return points of the right number of coordinates.

        Raises:
            TypeError: They are not a floating tensor.
            ValueError: They have another number of coordinates.
        """
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"points must be a floating tensor of the shape (n, {self.dimension}), but are {kind}.")
        if x.ndim == 0 or x.shape[-1] != self.dimension:
            raise ValueError(
                f"points of a {type(self).__name__} must have {self.dimension} coordinates on the last axis, but have "
                f"the shape {tuple(x.shape)}."
            )
        return x

    def _rounding(self, x: Tensor) -> float:
        size = float(torch.cat(self.bounds).abs().max())
        return 64 * torch.finfo(x.dtype).eps * max(size, 1e-30)

    def __or__(self, other: Geometry) -> Geometry:
        from nde.pinn.geometry.csg import Union  # it stands above this file

        return Union(self, other)

    def __and__(self, other: Geometry) -> Geometry:
        from nde.pinn.geometry.csg import Intersection

        return Intersection(self, other)

    def __sub__(self, other: Geometry) -> Geometry:
        from nde.pinn.geometry.csg import Difference

        return Difference(self, other)


class Primitive(Geometry):
    """A domain that the unit cube is mapped onto, and whose boundary another one is, with constant Jacobians.

    Attributes:
        cube_dimension: Dimension of the cube that `from_cube` takes.
        boundary_cube_dimension: Dimension of the cube that `boundary_from_cube` takes.
    """

    cube_dimension: int
    boundary_cube_dimension: int
    measure: float
    boundary_measure: float

    def from_cube(self, cube: Tensor) -> Tensor:
        """Map uniform points of the cube to uniform points of the domain."""
        raise NotImplementedError

    def boundary_from_cube(self, cube: Tensor) -> Tensor:
        """Map uniform points of the cube to uniform points of the boundary."""
        raise NotImplementedError

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample`."""
        return self.from_cube(unit_cube(count, self.cube_dimension, method=method, generator=generator, dtype=dtype))

    def sample_boundary(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample_boundary`."""
        cube = unit_cube(count, self.boundary_cube_dimension, method=method, generator=generator, dtype=dtype)
        return self.boundary_from_cube(cube)


def draw_accepted(
    draw: Callable[[int], Tensor], accept: Callable[[Tensor], Tensor], count: int, method: str, what: str
) -> Tensor:
    """Draw points until ``count`` of them are accepted, and return those in the order of drawing.

    Raises:
        ValueError: Almost none is accepted.
    """
    check_count(count, "count", 1)
    check_method(method)
    found: list[Tensor] = []
    total = drawn = 0
    for _ in range(_MOST_ROUNDS):
        rate = max(total / drawn, 1e-3) if drawn else 0.5
        size = min(max(int(1.2 * (count - total) / rate) + 8, 64), 1 << 20)
        points = draw(size)
        points = points[accept(points)]
        found.append(points)
        total += len(points)
        drawn += size
        if total >= count:
            return torch.cat(found)[:count]
    raise ValueError(
        f"only {total} of {drawn} drawn points lie {what}: it is empty or very small in what it is cut from. "
        "Check the operands."
    )
