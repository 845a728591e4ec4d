"""Spherical harmonics of scalars and tangent vectors on Gauss's latitudes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from nde.data.problem import Array
from nde.legendre import legendre_functions, legendre_slopes

__all__ = ["Spectrum", "SphericalTransform"]

Spectrum = NDArray[np.complexfloating[Any, Any]]


class SphericalTransform:
    """Transforms between values on a grid and coefficients of orthonormal harmonics up to a degree.

    Grids have shape ``(*batch, rows, columns)``: Gauss's latitudes from north to south, longitudes eastwards from 0.
    Coefficients have shape ``(*batch, orders, degrees)``, orders from 0 on. Vectors have components to the south and
    to the east. The sphere has radius 1.

    Args:
        degree: Largest degree.
        rows, columns: Of the grid; more than ``degree`` and more than ``2 degree``.
    """

    def __init__(self, degree: int, rows: int, columns: int) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(rows)
        self.cosines, self.weights = nodes[::-1].copy(), weights[::-1].copy()
        self.degree, self.columns = degree, columns
        degrees = np.arange(degree + 1)
        self.eigenvalues = -degrees * (degrees + 1.0)  # of the Laplacian
        self._sines = np.sqrt(1 - self.cosines**2)[:, None]
        functions = legendre_functions(degree, self.cosines)
        slopes = legendre_slopes(functions, self.cosines)
        turns = np.arange(degree + 1)[:, None, None] * functions  # derivatives to the east, but for i
        measure = 2 * np.pi * self.weights
        self._analysis, self._synthesis = functions * measure, np.ascontiguousarray(functions.swapaxes(1, 2))
        self._slopes, self._turns = slopes * measure, turns * measure
        self._slopes_back, self._turns_back = (np.ascontiguousarray(part.swapaxes(1, 2)) for part in (slopes, turns))

    def analyse(self, values: Array) -> Spectrum:
        """Return the coefficients of a scalar."""
        return self._apply(self._analysis, self._waves(values))

    def synthesise(self, spectrum: Spectrum) -> Array:
        """Return the values of a scalar."""
        return self._values(self._apply(self._synthesis, spectrum))

    def vector(self, stream: Spectrum, potential: Spectrum) -> Array:
        """Return ``grad potential + r x grad stream``, shape ``(2, *batch, rows, columns)``."""
        both = np.stack((stream, potential))
        slopes, turns = self._apply(self._slopes_back, both), 1j * self._apply(self._turns_back, both)
        return self._values(np.stack((slopes[1] - turns[0], turns[1] + slopes[0]))) / self._sines

    def divergence(self, south: Array, east: Array) -> Spectrum:
        """Return the coefficients of a vector's divergence; its curl is ``divergence(east, -south)``."""
        waves = self._waves(np.stack((south, east)) / self._sines)
        # by parts, against the gradients of the harmonics
        return 1j * self._apply(self._turns, waves[1]) - self._apply(self._slopes, waves[0])

    def _waves(self, values: Array) -> Spectrum:
        return np.asarray(fft.rfft(values, norm="forward")[..., : self.degree + 1].swapaxes(-1, -2))

    def _values(self, waves: Spectrum) -> Array:
        return np.asarray(fft.irfft(waves.swapaxes(-1, -2), n=self.columns, norm="forward"))

    def _apply(self, table: Array, waves: Spectrum) -> Spectrum:
        """Return the products of a table for each order with real and imaginary parts, ``(*batch, orders, n)``."""
        batch = waves.shape[:-2]
        columns = np.ascontiguousarray(np.moveaxis(waves.reshape(-1, *waves.shape[-2:]), 0, -1))
        product = table @ columns.view(np.float64)
        return np.ascontiguousarray(np.moveaxis(product.view(np.complex128), -1, 0)).reshape(*batch, *product.shape[:2])
