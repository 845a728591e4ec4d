"""Fields on the unit sphere: on a grid of latitudes and longitudes, or on scattered points.

A local kernel at a point lives in the tangent plane there, with the axes "to the south" and "to the east", and reaches
other points by the logarithmic map: distance along the great circle, and direction in which it sets out. Radii are in
radians. Kernels that are the same in all directions commute with every rotation; others commute with rotations about
the axis of the poles.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nde.checks import check_choice
from nde.legendre import legendre_functions
from nde.operators.bases import Basis
from nde.operators.constants import Constant, constant_of_graphs, kept
from nde.operators.grids import Grid
from nde.operators.layer import complex_of
from nde.operators.points import Neighbours, ScatteredPoints, check_positions

__all__ = ["SphereGrid", "SpherePoints", "check_cap"]

_Array = np.ndarray[Any, Any]


def check_cap(radius: float) -> None:
    """Raise ValueError unless a radius reaches less than half around the sphere."""
    if radius >= math.pi:
        raise ValueError(f"radius={radius:.4g} reaches around the sphere: it must be below pi radians.")


def tangent_coordinates(at: _Array, to: _Array) -> _Array:
    """Return the logarithmic map: how far south and east the great circles from ``at`` to ``to`` go.

    Args:
        at, to: Unit vectors, shape ``(pairs, 3)``.

    Returns:
        Shape ``(pairs, 2)``, in radians.
    """
    flat = np.hypot(at[:, 0], at[:, 1])
    pole = flat < 1e-12  # at a pole, longitude 0 says where south is
    divisor = np.where(pole, 1, flat)
    cosine, sine = np.where(pole, 1, at[:, 0] / divisor), np.where(pole, 0, at[:, 1] / divisor)
    south = np.stack((at[:, 2] * cosine, at[:, 2] * sine, -flat), axis=1)
    east = np.stack((-sine, cosine, np.zeros_like(sine)), axis=1)
    components = np.stack(((to * south).sum(1), (to * east).sum(1)), axis=1)
    length = np.linalg.norm(components, axis=1)
    angle = np.arctan2(length, (at * to).sum(1))
    return np.asarray(components * (angle / np.where(length > 0, length, 1))[:, None])


class SpherePoints(ScatteredPoints):
    """Scattered points on the unit sphere.

    Args:
        positions: Unit vectors, shape ``(points, 3)``.
        weights: Areas that the points stand for, shape ``(points,)``; of their Voronoi cells by default.

    Raises:
        TypeError: Positions or weights are no real tensor.
        ValueError: Positions are no unit vectors or fewer than four, or shapes do not fit.
    """

    dims = 2
    coordinates = 3

    def __init__(self, positions: Tensor, weights: Tensor | None = None) -> None:
        points = check_positions(positions)
        if points.shape[1] != 3:
            raise ValueError(f"positions on the sphere must have 3 coordinates, but have {points.shape[1]}.")
        lengths = points.norm(dim=1)
        if bool(((lengths - 1).abs() > 1e-5).any()):
            index = int((lengths - 1).abs().argmax())
            raise ValueError(
                f"positions must be unit vectors, but positions[{index}] has length {float(lengths[index]):.6g}. "
                "Divide them by their norms."
            )
        points = points / lengths.unsqueeze(1)
        if len(points) < 4:
            raise ValueError(f"a sphere needs four points or more, but there are {len(points)}.")
        if weights is None:
            from nde.operators.voronoi import sphere_cells

            weights = torch.from_numpy(sphere_cells(points.numpy()))
        super().__init__(points, weights)

    def harmonics(self, degree: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the real orthonormal spherical harmonics up to a degree, shape ``((degree + 1)^2, points)``.

        Degree by degree; in each, order 0, then cosine and sine of each order.
        """
        harmonics: Tensor = self._harmonics(degree, dtype, device).value
        return harmonics

    @constant_of_graphs
    def _harmonics(self, degree: int, dtype: torch.dtype, device: torch.device) -> Constant:
        def make() -> Tensor:
            x, y, z = self.points.numpy().T
            functions, turn = legendre_functions(degree, z), np.arctan2(y, x)
            rows = []
            for n in range(degree + 1):
                rows.append(functions[0, n])
                for m in range(1, n + 1):
                    rows += [math.sqrt(2) * functions[m, n] * wave(m * turn) for wave in (np.cos, np.sin)]
            with torch.inference_mode(False):
                return torch.from_numpy(np.stack(rows)).to(device, dtype)

        return Constant(self._keep(("harmonics", degree, dtype, device), make))

    def neighbours(self, radius: float, boundary: str) -> Neighbours:
        """See `ScatteredPoints.neighbours`; a sphere has no boundary."""
        from scipy.spatial import cKDTree

        check_cap(radius)
        points = self.points.numpy()
        tree = cKDTree(points)
        pairs = tree.sparse_distance_matrix(tree, 2 * math.sin(radius / 2), output_type="ndarray")
        targets, sources = pairs["i"], pairs["j"]
        self.check_spacing(radius, targets)
        return Neighbours(targets, sources, tangent_coordinates(points[targets], points[sources]))


class SphereGrid(Grid):
    """Circles of latitude, each with as many evenly spaced points: fields of shape ``(*batch, channels, lat, lon)``.

    The numbers of latitudes and longitudes are those of the field: one `SphereGrid` serves every resolution. Latitudes
    run from north to south, longitudes eastwards from 0.

    Args:
        latitudes: ``"cells"`` for the middles of evenly spaced bands with the exact areas of cells as weights;
            ``"gauss"`` for the nodes and weights of Gauss and Legendre.

    Raises:
        ValueError: The name is unknown.
    """

    coordinates = 3

    def __init__(self, latitudes: Literal["cells", "gauss"] = "cells") -> None:
        check_choice(latitudes, ("cells", "gauss"), "latitudes")
        self.latitudes = latitudes
        self._kept: dict[Hashable, Tensor] = {}

    def axes(self, dims: int) -> int:
        """See `Grid.axes`."""
        if dims != 2:
            raise ValueError(f"a sphere has dimension 2, but the layer has dims={dims}.")
        return 2

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Grid.check`."""
        if min(shape) < 4:
            raise ValueError(f"a field on a sphere needs four latitudes and longitudes or more, but has shape {shape}.")

    def colatitudes(self, count: int) -> tuple[_Array, _Array]:
        """Return angles from the north pole, and integrals of ``sin`` that belong to them."""
        return colatitudes(self.latitudes, count)

    def weights(self, shape: tuple[int, ...]) -> Tensor:
        """Return the area that each point stands for, shape ``shape``, float64; the sum is ``4 pi``."""
        _, sines = self.colatitudes(shape[0])
        return torch.from_numpy(sines * (2 * math.pi / shape[1])).unsqueeze(1).repeat(1, shape[1])

    def positions(self, shape: tuple[int, ...]) -> Tensor:
        """See `Grid.positions`."""
        return grid_positions(self.latitudes, *shape)

    def spectra(
        self,
        basis: Basis,
        radius: float,
        mean_free: bool,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> Tensor:
        """Return the filters of a basis in Fourier space along circles of latitude, where they are products.

        Args:
            basis, radius: The functions and the radius of their ball.
            mean_free: Whether to subtract from each point's own weight what makes its filter's sum zero.
            shape: Numbers of latitudes and longitudes.
            dtype, device: Of the fields.

        Returns:
            Shape ``(lon // 2 + 1, size * lat, lat)``, complex.

        Raises:
            ValueError: The radius is below the spacing of latitudes, or too large.
        """
        check_cap(radius)
        if radius < math.pi / shape[0]:
            raise ValueError(
                f"radius={radius:.4g} is below the spacing {math.pi / shape[0]:.4g} of {shape[0]} latitudes. "
                "Give a larger radius or a finer grid."
            )
        spectra: Tensor = self._keep(basis, radius, mean_free, shape, dtype, device).value
        return spectra

    @constant_of_graphs
    def _keep(
        self,
        basis: Basis,
        radius: float,
        mean_free: bool,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> Constant:
        key = (basis, radius, mean_free, shape, dtype, device)
        if key not in self._kept:
            with torch.inference_mode(False):
                self._kept[key] = self._make(basis, radius, mean_free, shape).to(device, complex_of(dtype))
        return Constant(self._kept[key])

    def _make(self, basis: Basis, radius: float, mean_free: bool, shape: tuple[int, ...]) -> Tensor:
        _, sines = self.colatitudes(shape[0])
        points = self.positions(shape).numpy()
        sources = points.reshape(3, -1).T
        areas = sines * (2 * math.pi / shape[1])
        made = []
        for row in range(shape[0]):
            # targets on longitude 0 stand for their whole circle
            at = points[:, row, 0]
            near = np.flatnonzero(sources @ at > math.cos(radius))
            ways = tangent_coordinates(np.broadcast_to(at, (len(near), 3)), sources[near])
            values = basis(torch.from_numpy(ways / radius)) * torch.from_numpy(areas[near // shape[1]] / radius**2)
            if mean_free:
                values[:, near == row * shape[1]] -= values.sum(1, keepdim=True)
            filters = torch.zeros(values.shape[0], shape[0] * shape[1], dtype=torch.float64)
            filters[:, near] = values
            # a correlation along longitude: the conjugate of the transform
            made.append(torch.fft.rfft(filters.view(-1, *shape), dim=-1).conj().resolve_conj())
        return torch.stack(made, dim=1).permute(3, 0, 1, 2).reshape(shape[1] // 2 + 1, -1, shape[0]).contiguous()


@lru_cache(maxsize=64)
def colatitudes(latitudes: str, count: int) -> tuple[_Array, _Array]:
    """See `SphereGrid.colatitudes`."""
    if latitudes == "gauss":
        nodes, weights = np.polynomial.legendre.leggauss(count)
        return np.arccos(nodes[::-1]), weights[::-1]
    edges = np.linspace(0, math.pi, count + 1)
    return (edges[1:] + edges[:-1]) / 2, np.cos(edges[:-1]) - np.cos(edges[1:])


@kept(32)
def grid_positions(latitudes: str, rows: int, columns: int) -> Tensor:
    """Return unit vectors, shape ``(3, rows, columns)``, float64."""
    with torch.inference_mode(False):
        colatitude = torch.from_numpy(colatitudes(latitudes, rows)[0]).unsqueeze(1)
        longitude = torch.arange(columns, dtype=torch.float64) * (2 * math.pi / columns)
        flat = torch.sin(colatitude)
        return torch.stack(
            (flat * longitude.cos(), flat * longitude.sin(), torch.cos(colatitude).expand(-1, columns)), dim=0
        )
