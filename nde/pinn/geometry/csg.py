"""Unions, intersections and differences of domains."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nde.pinn.geometry.draws import unit_cube
from nde.pinn.geometry.geometry import Geometry, draw_accepted
from nde.pinn.geometry.rvachev import conjunction, disjunction

__all__ = ["Difference", "Intersection", "Union"]


class _Pair(Geometry):
    """Two domains, joined.

    Raises:
        TypeError: One of them is no geometry.
        ValueError: They have different dimensions.
    """

    def __init__(self, first: Geometry, second: Geometry) -> None:
        for operand in (first, second):
            if not isinstance(operand, Geometry):
                raise TypeError(f"geometries are combined with geometries, but met a {type(operand).__name__}.")
        if first.dimension != second.dimension:
            raise ValueError(
                f"geometries to combine must have one dimension, but have {first.dimension} and {second.dimension}."
            )
        self.first = first
        self.second = second
        self.dimension = first.dimension

    def leaves(self) -> Iterator[Geometry]:
        """Yield the domains that this one is made of."""
        for operand in (self.first, self.second):
            if isinstance(operand, _Pair):
                yield from operand.leaves()
            else:
                yield operand

    def sample_boundary(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample_boundary`: points of the operands' boundaries that part inside from outside.

        Where boundaries of several operands run along each other, points that are drawn from each are thinned.

        Raises:
            ValueError: Almost none is.
        """
        leaves = list(self.leaves())
        sizes = torch.tensor([_known(leaf.boundary_measure, leaf) for leaf in leaves], dtype=torch.float64)
        ends = torch.cumsum(sizes / sizes.sum(), 0)

        def draw(size: int) -> Tensor:
            picks = torch.rand(size, generator=generator, dtype=torch.float64)
            which = torch.searchsorted(ends, picks, right=True).clamp_max(len(leaves) - 1)
            counts = torch.bincount(which, minlength=len(leaves)).tolist()
            parts = [
                leaf.sample_boundary(number, method=method, generator=generator, dtype=dtype)
                for leaf, number in zip(leaves, counts, strict=True)
                if number
            ]
            # in random order, because only the first ones may be kept
            return torch.cat(parts)[torch.randperm(size, generator=generator)]

        def accept(x: Tensor) -> Tensor:
            exact = x.double()
            shared = sum(leaf.on_boundary(exact, self._rounding(x)).long() for leaf in leaves)
            kept = torch.rand(len(x), generator=generator) * shared < 1
            return kept.to(x.device) & self._parts_inside_from_outside(exact, self._rounding(x))

        return draw_accepted(draw, accept, count, method, "on the boundary of the combination")

    def _parts_inside_from_outside(self, x: Tensor, rounding: float) -> Tensor:
        """Return at which boundary points of an operand one side is inside of the whole and the other is not.

        Distances alone do not tell: they are zero as well where two operands of a union touch, and where what is
        subtracted ends on the boundary of what it is subtracted from.
        """
        step = 8 * rounding
        found = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
        for leaf in self.leaves():
            across = step * leaf.normals(x)
            sides = [self.signed_distance(x + sign * across) < 0 for sign in (1, -1)]
            found |= leaf.on_boundary(x, rounding) & (sides[0] ^ sides[1])
        return found

    def on_boundary(self, x: Tensor, tolerance: float | None = None) -> Tensor:
        """See `Geometry.on_boundary`; not where operands touch, nor at what is left of a part that is subtracted."""
        x = self.checked(x)
        near = super().on_boundary(x, tolerance)
        rounding = self._rounding(x)
        on_leaf = torch.stack([leaf.on_boundary(x, rounding) for leaf in self.leaves()]).any(0)
        # within a tolerance there is no normal to step along
        return near & (~on_leaf | self._parts_inside_from_outside(x.double(), rounding))


def _known(measure: float | None, of: Geometry) -> float:
    if measure is None:
        raise ValueError(f"the boundary of a {type(of).__name__} has no known size, so that it cannot be sampled.")
    return measure


class Union(_Pair):
    """The points of either of two domains, ``a | b``.

    For distances and for `vanishing` they must overlap: where they only touch, both are zero on the seam between them.
    """

    def __init__(self, first: Geometry, second: Geometry) -> None:
        super().__init__(first, second)
        self.bounds = (
            torch.minimum(first.bounds[0], second.bounds[0]),
            torch.maximum(first.bounds[1], second.bounds[1]),
        )

    def signed_distance(self, x: Tensor) -> Tensor:
        """See `Geometry.signed_distance`."""
        return torch.minimum(self.first.signed_distance(x), self.second.signed_distance(x))

    def normals(self, x: Tensor) -> Tensor:
        """See `Geometry.normals`."""
        nearer = self.first.signed_distance(self.checked(x)) <= self.second.signed_distance(x)
        return torch.where(nearer.unsqueeze(-1), self.first.normals(x), self.second.normals(x))

    def implicit(self, x: Tensor) -> Tensor:
        """See `Geometry.implicit`."""
        return disjunction(self.first.implicit(x), self.second.implicit(x))

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample`: operands drawn by size, points that lie in both kept half of the time.

        Where a size is not known, points of the box around the union are kept (Karp and Luby, 1983).
        """
        settings = {"method": method, "generator": generator, "dtype": dtype}
        if self.first.measure is None or self.second.measure is None:
            low, high = self.bounds

            def from_box(size: int) -> Tensor:
                cube = unit_cube(size, self.dimension, **settings)  # type: ignore[arg-type]
                return low.to(cube) + (high - low).to(cube) * cube

            return draw_accepted(from_box, self.contains, count, method, "in the union")
        share = self.first.measure / (self.first.measure + self.second.measure)

        def draw(size: int) -> Tensor:
            of_first = int((torch.rand(size, generator=generator) < share).sum())
            parts = [
                operand.sample(number, **settings)  # type: ignore[arg-type]
                for operand, number in ((self.first, of_first), (self.second, size - of_first))
                if number
            ]
            return torch.cat(parts)[torch.randperm(size, generator=generator)]

        def accept(x: Tensor) -> Tensor:
            twice = self.first.contains(x) & self.second.contains(x)
            return ~twice | (torch.rand(len(x), generator=generator) < 0.5)

        return draw_accepted(draw, accept, count, method, "in the union")


class Intersection(_Pair):
    """The points of both of two domains, ``a & b``.

    Raises:
        ValueError: The boxes around the operands have no point in common.
    """

    def __init__(self, first: Geometry, second: Geometry) -> None:
        super().__init__(first, second)
        low = torch.maximum(first.bounds[0], second.bounds[0])
        high = torch.minimum(first.bounds[1], second.bounds[1])
        if bool((low >= high).any()):
            raise ValueError("the intersection is empty: the boxes around its operands do not overlap.")
        self.bounds = (low, high)

    def signed_distance(self, x: Tensor) -> Tensor:
        """See `Geometry.signed_distance`."""
        return torch.maximum(self.first.signed_distance(x), self.second.signed_distance(x))

    def normals(self, x: Tensor) -> Tensor:
        """See `Geometry.normals`."""
        nearer = self.first.signed_distance(self.checked(x)) >= self.second.signed_distance(x)
        return torch.where(nearer.unsqueeze(-1), self.first.normals(x), self.second.normals(x))

    def implicit(self, x: Tensor) -> Tensor:
        """See `Geometry.implicit`."""
        return conjunction(self.first.implicit(x), self.second.implicit(x))

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample`: points of the smaller operand that lie in the other."""
        source, other = self.first, self.second
        if other.measure is not None and (source.measure is None or other.measure < source.measure):
            source, other = other, source

        def draw(size: int) -> Tensor:
            return source.sample(size, method=method, generator=generator, dtype=dtype)

        return draw_accepted(draw, other.contains, count, method, "in the intersection")


class Difference(_Pair):
    """The points of one domain that are not inside another, ``a - b``."""

    def __init__(self, first: Geometry, second: Geometry) -> None:
        super().__init__(first, second)
        self.bounds = first.bounds

    def signed_distance(self, x: Tensor) -> Tensor:
        """See `Geometry.signed_distance`."""
        return torch.maximum(self.first.signed_distance(x), -self.second.signed_distance(x))

    def normals(self, x: Tensor) -> Tensor:
        """See `Geometry.normals`; those of the subtracted domain point into it."""
        nearer = self.first.signed_distance(self.checked(x)) >= -self.second.signed_distance(x)
        return torch.where(nearer.unsqueeze(-1), self.first.normals(x), -self.second.normals(x))

    def implicit(self, x: Tensor) -> Tensor:
        """See `Geometry.implicit`."""
        return conjunction(self.first.implicit(x), -self.second.implicit(x))

    def sample(
        self,
        count: int,
        *,
        method: str = "uniform",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """See `Geometry.sample`: points of the first domain that are not inside the second."""

        def draw(size: int) -> Tensor:
            return self.first.sample(size, method=method, generator=generator, dtype=dtype)

        def outside(x: Tensor) -> Tensor:
            return self.second.signed_distance(x) >= 0

        return draw_accepted(draw, outside, count, method, "in the difference")
