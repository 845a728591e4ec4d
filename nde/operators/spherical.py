"""Spectral convolution on the sphere: a matrix for each degree of the spherical harmonics."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from nde.legendre import fejer_weights, legendre_functions
from nde.operators.checks import check_count
from nde.operators.constants import kept
from nde.operators.grids import Grid
from nde.operators.layer import OperatorLayer, transformable
from nde.operators.sphere import SphereGrid, SpherePoints, colatitudes

__all__ = ["SphericalConvolution"]


class SphericalConvolution(OperatorLayer):
    """Convolution with kernels of the angle between two points: ``W_l`` times the part of the field of each degree.

    By Funk and Hecke's theorem such a kernel multiplies all spherical harmonics of degree ``l`` by one real number,
    here by a matrix of channels; degrees above ``degree`` are removed. It commutes with every rotation. Bonev et al.
    (2023), Spherical Fourier neural operators; parameters are real, as the kernel is.

    Transforms are exact for fields without harmonics above ``degree``. On scattered points they are sums with
    quadrature weights.

    Args:
        in_channels, out_channels: See `OperatorLayer`.
        degree: Largest degree. A grid needs ``2 degree + 1`` longitudes, and ``degree + 1`` latitudes where they are
            Gauss's, ``2 degree + 1`` where they are the middles of even bands.

    Raises:
        TypeError: An argument is no integer.
        ValueError: An argument is out of range.
    """

    def __init__(self, in_channels: int, out_channels: int, *, degree: int = 12) -> None:
        super().__init__(in_channels, out_channels, 2)
        check_count(degree, "degree")
        self.degree = degree
        self.weight = nn.Parameter(torch.randn(degree + 1, in_channels, out_channels) / math.sqrt(in_channels))

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        dtype = x.dtype
        if isinstance(grid, SphereGrid):
            return self._on_grid(transformable(x), grid).to(dtype)
        if isinstance(grid, SpherePoints):
            return self._on_points(transformable(x), grid).to(dtype)
        raise ValueError(
            f"a SphericalConvolution needs a SphereGrid or SpherePoints, but the grid is a {type(grid).__name__}. "
            "In boxes, take a SpectralConvolution."
        )

    def _on_grid(self, x: Tensor, grid: SphereGrid) -> Tensor:
        batch, channels, rows, columns = x.shape
        self._check_fit(rows, columns, grid.latitudes)
        analysis = analysis_table(self.degree, rows, grid.latitudes).to(x)
        synthesis = synthesis_table(self.degree, rows, grid.latitudes).to(x)
        orders = self.degree + 1
        waves = torch.fft.rfft(x, dim=-1, norm="forward").narrow(-1, 0, orders)
        parts = torch.view_as_real(waves).permute(3, 2, 0, 4, 1).reshape(orders, rows, -1)
        coefficients = (analysis @ parts).view(orders, orders, -1, channels)  # orders, degrees, samples and parts
        mixed = self._mix(coefficients.transpose(0, 1).reshape(orders, -1, channels))
        mixed = mixed.view(orders, orders, -1, self.out_channels).transpose(0, 1).reshape(orders, orders, -1)
        parts = (synthesis @ mixed).view(orders, rows, batch, 2, self.out_channels)
        waves = torch.view_as_complex(parts.permute(2, 4, 1, 0, 3).contiguous())
        return torch.fft.irfft(waves, n=columns, dim=-1, norm="forward")

    def _on_points(self, x: Tensor, points: SpherePoints) -> Tensor:
        count = (self.degree + 1) ** 2
        if count > len(points):
            raise ValueError(
                f"degree={self.degree} has {count} harmonics, which {len(points)} points do not tell apart. "
                "Give a smaller degree or more points."
            )
        harmonics = points.harmonics(self.degree, x.dtype, x.device)  # harmonics by degrees, points
        coefficients = (x * points.weights.to(x)) @ harmonics.t()  # batch, channels, harmonics
        sizes = [2 * degree + 1 for degree in range(self.degree + 1)]
        mixed = [
            torch.einsum("bck,co->bok", part, weight)
            for part, weight in zip(coefficients.split(sizes, -1), self.weight.to(x).unbind(), strict=True)
        ]
        return torch.cat(mixed, -1) @ harmonics

    def _mix(self, coefficients: Tensor) -> Tensor:
        return coefficients @ self.weight.to(coefficients)

    def _check_fit(self, rows: int, columns: int, latitudes: str) -> None:
        needed = self.degree + 1 if latitudes == "gauss" else 2 * self.degree + 1
        if rows < needed or columns < 2 * self.degree + 1:
            most = min(rows - 1 if latitudes == "gauss" else (rows - 1) // 2, (columns - 1) // 2)
            raise ValueError(
                f"degree={self.degree} needs {needed} latitudes and {2 * self.degree + 1} longitudes or more on a "
                f"SphereGrid({latitudes!r}), but the field has {rows} and {columns}. Give at most degree={most}."
            )

    def extra_repr(self) -> str:
        """Say the degree too."""
        return f"{super().extra_repr()}, degree={self.degree}"


@kept(32)
def synthesis_table(degree: int, rows: int, latitudes: str) -> Tensor:
    """Return the values of the harmonics on longitude 0: shape ``(orders, rows, degrees)``, float64."""
    with torch.inference_mode(False):
        angles, _ = colatitudes(latitudes, rows)
        functions = legendre_functions(degree, np.cos(angles))
        return torch.from_numpy(np.ascontiguousarray(functions.transpose(0, 2, 1)))


@kept(32)
def analysis_table(degree: int, rows: int, latitudes: str) -> Tensor:
    """Return the harmonics times quadrature weights, for means over longitudes: shape ``(orders, degrees, rows)``."""
    with torch.inference_mode(False):
        angles, weights = colatitudes(latitudes, rows)
        if latitudes != "gauss":
            weights = fejer_weights(rows)
        return torch.from_numpy(2 * np.pi * weights * legendre_functions(degree, np.cos(angles)))
