"""Fields on scattered points: neighbours by a k-d tree, quadrature weights by Voronoi cells, sparse matrices.

What a layer needs of a cloud (the matrix of a basis at a radius, the waves of a spectral convolution) is made at its
first use and kept with the cloud, for all layers with the same settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nde.operators.bases import Basis
from nde.operators.checks import check_flags, check_numbers
from nde.operators.constants import Constant, constant_of_graphs
from nde.operators.grids import Grid, per_axis
from nde.operators.layer import complex_of
from nde.operators.sparse import SparsePair

__all__ = ["Neighbours", "PointCloud", "ScatteredPoints"]

_Array = np.ndarray[Any, Any]
# below the spacing: a radius within which this part of the points has no neighbour
_LONELY_PART = 0.25


class Neighbours(NamedTuple):
    """Pairs of points: target and source indices, and the way from target to source, shape ``(pairs, dims)``."""

    targets: _Array
    sources: _Array
    ways: _Array


class ScatteredPoints(Grid):
    """A finite set of points with quadrature weights; the base of `PointCloud` and `SpherePoints`.

    Args:
        positions: Shape ``(points, coordinates)``.
        weights: Shape ``(points,)``: the measure of the part of the domain that each point stands for.

    Raises:
        TypeError: The weights are no real tensor.
        ValueError: The shapes do not fit, or a number is not finite.
    """

    dims: int

    def __init__(self, positions: Tensor, weights: Tensor) -> None:
        if not isinstance(weights, Tensor) or not weights.is_floating_point():
            raise TypeError(f"weights must be a tensor of real numbers, but are {weights!r}.")
        if weights.shape != positions.shape[:1]:
            raise ValueError(
                f"weights must have shape ({positions.shape[0]},), one for each point, but have {tuple(weights.shape)}."
            )
        if not bool(torch.isfinite(weights).all()):
            raise ValueError("weights must be finite.")
        self.points = positions
        self.weights = weights.detach().cpu().double()
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return self.points.shape[0]

    def axes(self, dims: int) -> int:
        """See `Grid.axes`."""
        if dims != self.dims:
            raise ValueError(
                f"the grid is a {type(self).__name__} of dimension {self.dims}, but the layer has dims={dims}."
            )
        return 1

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Grid.check`."""
        if shape != (len(self),):
            raise ValueError(f"the grid has {len(self)} points, but the field has {shape[-1]} values in each channel.")

    def positions(self, shape: tuple[int, ...]) -> Tensor:
        """See `Grid.positions`."""
        return self.points.t()

    def neighbours(self, radius: float, boundary: str) -> Neighbours:
        """Return all pairs of points within a distance, each point with itself too.

        Args:
            radius: The distance.
            boundary: ``"zero"``, or ``"reflect"`` for the mirror images in walls too.

        Raises:
            ValueError: The radius is too small or too large for these points.
        """
        raise NotImplementedError

    def filters(
        self, basis: Basis, radius: float, boundary: str, mean_free: bool, dtype: torch.dtype, device: torch.device
    ) -> SparsePair:
        """Return the matrix from a field to its integrals against the functions of a basis around every point.

        Args:
            basis, radius: The functions and the radius of their ball.
            boundary: See `neighbours`.
            mean_free: Whether to subtract from each row's own point what makes the row's sum zero.
            dtype, device: Of the matrix.

        Returns:
            A matrix with ``size * points`` rows and ``points`` columns.
        """
        pair: SparsePair = self._filters(basis, radius, boundary, mean_free, dtype, device).value
        return pair

    def waves(
        self, modes: tuple[int, ...], periods: tuple[float, ...], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Return ``exp(2 pi i k . x / periods)`` for the wave numbers up to ``modes``, shape ``(waves, points)``.

        Of the last wave number, those from 0 on alone; it runs fastest.
        """
        waves: Tensor = self._waves(modes, periods, dtype, device).value
        return waves

    @constant_of_graphs
    def _filters(
        self, basis: Basis, radius: float, boundary: str, mean_free: bool, dtype: torch.dtype, device: torch.device
    ) -> Constant:
        def make() -> SparsePair:
            near = self._keep(("neighbours", radius, boundary), lambda: self.neighbours(radius, boundary))
            with torch.inference_mode(False):
                values = basis(torch.from_numpy(near.ways / radius)).numpy()
            values = values * (self.weights.numpy()[near.sources] / radius**self.dims)
            count, size = len(self), values.shape[0]
            shift = np.arange(size)[:, None] * count
            rows, columns = (near.targets + shift).ravel(), np.tile(near.sources, size)
            entries = values.ravel()
            if mean_free:
                sums = np.bincount(rows, entries, minlength=size * count)
                rows = np.concatenate((rows, np.arange(size * count)))
                columns = np.concatenate((columns, np.tile(np.arange(count), size)))
                entries = np.concatenate((entries, -sums))
            return SparsePair(rows, columns, entries, (size * count, count), dtype, device)

        return Constant(self._keep(("filters", basis, radius, boundary, mean_free, dtype, device), make))

    @constant_of_graphs
    def _waves(
        self, modes: tuple[int, ...], periods: tuple[float, ...], dtype: torch.dtype, device: torch.device
    ) -> Constant:
        def make() -> Tensor:
            with torch.inference_mode(False):
                numbers = torch.tensor(wave_numbers(modes), dtype=torch.float64)
                phase = (numbers / torch.tensor(periods, dtype=torch.float64)) @ self.points.t()
                waves = torch.polar(torch.ones_like(phase), 2 * math.pi * phase)
                return waves.to(device=device, dtype=complex_of(dtype))

        return Constant(self._keep(("waves", modes, periods, dtype, device), make))

    def _keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def check_spacing(self, radius: float, targets: _Array) -> None:
        """Raise ValueError if too many points have no neighbour but themselves."""
        lonely = np.bincount(targets, minlength=len(self)) < 2
        if lonely.mean() > _LONELY_PART:
            raise ValueError(
                f"radius={radius:.4g} is below the spacing of the points: {lonely.mean():.0%} of them have no "
                "neighbour within it. Give a larger radius or more points."
            )


class PointCloud(ScatteredPoints):
    """Scattered points in a box of one, two or three dimensions.

    Args:
        positions: Shape ``(points, dims)``, inside the box.
        weights: Shape ``(points,)``: quadrature weights; the measures of the points' Voronoi cells by default, without
            which a local integral on uneven points is off by tens of per cent.
        lengths, periodic, origin: The box, see `UniformGrid`.

    Raises:
        TypeError: Positions or weights are no real tensor, or a setting of the box has the wrong type.
        ValueError: Positions lie outside the box or coincide, shapes do not fit, or a setting is out of range.
    """

    def __init__(
        self,
        positions: Tensor,
        weights: Tensor | None = None,
        *,
        lengths: float | tuple[float, ...] = 1.0,
        periodic: bool | tuple[bool, ...] = False,
        origin: float | tuple[float, ...] = 0.0,
    ) -> None:
        points = check_positions(positions)
        self.dims = self.coordinates = points.shape[1]
        if not 1 <= self.dims <= 3:
            raise ValueError(f"positions must have 1, 2 or 3 coordinates, but have {self.dims}.")
        for value, name, positive in ((lengths, "lengths", True), (origin, "origin", False)):
            check_numbers(value, name, positive)
        check_flags(periodic, "periodic")
        self.lengths = per_axis(lengths, self.dims, "lengths")
        self.periodic = tuple(bool(flag) for flag in per_axis(periodic, self.dims, "periodic"))
        self.origin = per_axis(origin, self.dims, "origin")
        inner = points.numpy() - np.array(self.origin)
        slack = 1e-9 * max(self.lengths)
        outside = ((inner < -slack) | (inner > np.array(self.lengths) + slack)).any(1)
        if outside.any():
            index = int(outside.argmax())
            raise ValueError(
                f"positions[{index}] = {points[index].tolist()} lies outside the box of lengths {self.lengths} at "
                f"{self.origin}. Give the box with lengths= and origin=."
            )
        self._inner = np.clip(inner, 0, self.lengths)
        if weights is None:
            from nde.operators.voronoi import box_cells

            weights = torch.from_numpy(box_cells(self._inner, self.lengths, self.periodic))
        super().__init__(points, weights)

    def neighbours(self, radius: float, boundary: str) -> Neighbours:
        """See `ScatteredPoints.neighbours`."""
        from scipy.spatial import cKDTree

        for length, wraps in zip(self.lengths, self.periodic, strict=True):
            if radius > (length / 2 if wraps else length):
                raise ValueError(
                    f"radius={radius:.4g} is larger than {'half ' if wraps else ''}the box, whose side is {length:.4g}."
                )
        images, sources = with_images(self._inner, self.lengths, self.periodic, radius, boundary == "reflect")
        pairs = cKDTree(self._inner).sparse_distance_matrix(cKDTree(images), radius, output_type="ndarray")
        targets, seen = pairs["i"], pairs["j"]
        self.check_spacing(radius, targets)
        return Neighbours(targets, sources[seen], images[seen] - self._inner[targets])


def wave_numbers(modes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the wave numbers up to ``modes``; of the last, those from 0 on alone; it runs fastest."""
    return list(product(*(range(-number, number + 1) for number in modes[:-1]), range(modes[-1] + 1)))


def check_positions(positions: Any) -> Tensor:
    """Return positions as a float64 tensor on the host.

    Raises:
        TypeError: They are no real tensor.
        ValueError: They are not two-dimensional, fewer than two, or not finite.
    """
    if not isinstance(positions, Tensor) or not positions.is_floating_point():
        raise TypeError(f"positions must be a tensor of real numbers, but are {type(positions).__name__}.")
    if positions.dim() != 2 or positions.shape[0] < 2:
        raise ValueError(
            f"positions must have shape (points, coordinates) with two points or more, but "
            f"have {tuple(positions.shape)}."
        )
    if not bool(torch.isfinite(positions).all()):
        raise ValueError("positions must be finite.")
    return positions.detach().cpu().double()


def with_images(
    points: _Array, lengths: tuple[float, ...], periodic: tuple[bool, ...], reach: float, mirrors: bool
) -> tuple[_Array, _Array]:
    """Return points with their images within ``reach`` of the box (periodic axes) and in its walls, and whose they are.

    Args:
        points: Shape ``(points, dims)``, in the box ``[0, lengths]``.
        lengths, periodic: The box.
        reach: How far outside the box images are of use.
        mirrors: Whether to take mirror images in walls.

    Returns:
        Positions, shape ``(images, dims)``, the points themselves first; and indices, shape ``(images,)``.
    """
    indices = np.arange(len(points))
    for axis, (length, wraps) in enumerate(zip(lengths, periodic, strict=True)):
        if not (wraps or mirrors):
            continue
        places = points[:, axis]
        low, high = np.flatnonzero(places <= reach), np.flatnonzero(places >= length - reach)
        before, after = points[high].copy(), points[low].copy()
        if wraps:
            before[:, axis] -= length
            after[:, axis] += length
        else:
            before, after = points[low].copy(), points[high].copy()
            before[:, axis] *= -1
            after[:, axis] = 2 * length - after[:, axis]
            low, high = high, low
        points = np.concatenate((points, before, after))
        indices = np.concatenate((indices, indices[high], indices[low]))
    return points, indices
