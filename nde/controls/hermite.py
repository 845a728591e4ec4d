"""Cubic Hermite splines with backward differences."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.controls.missing import fill_linearly
from nde.controls.path import CubicPath

__all__ = ["HermiteCubicPath", "hermite_cubic_coefficients", "hermite_pieces"]


class HermiteCubicPath(CubicPath):
    """Cubic pieces whose slope at a knot is that of the straight line from the knot before.

    The path up to a knot depends on observations up to there alone, and its derivative is continuous. At the first knot
    the slope is that of the line to the second. Missing values are first interpolated linearly, as by `LinearPath`.

    Morrill, Kidger, Yang, Lyons (2021), On the choice of interpolation scheme for neural CDEs, section 3.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Missing values are NaN.
        times: Times of the observations, shape ``(length,)``, increasing; None for ``0, 1, ..., length - 1``.

    Raises:
        TypeError: An argument is no tensor of floating point.
        ValueError: The shapes do not fit, or the times do not increase.
    """

    @classmethod
    def _fit(cls, x: Tensor, times: Tensor) -> Tensor:
        return hermite_cubic_coefficients(x, times)


def hermite_cubic_coefficients(x: Tensor, times: Tensor) -> Tensor:
    """Return the coefficients of a `HermiteCubicPath`, shape ``(batch..., length - 1, 4 channels)``; see there."""
    x = fill_linearly(x, times)
    step = times.diff().unsqueeze(-1).to(x.dtype)
    slope = x.diff(dim=-2) / step
    knots = torch.cat([slope[..., :1, :], slope], -2)
    return torch.cat(hermite_pieces(x[..., :-1, :], slope, knots[..., :-1, :], knots[..., 1:, :], step), -1)


def hermite_pieces(x: Tensor, slope: Tensor, k0: Tensor, k1: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    """Return ``a, b, c, d`` of pieces ``a + b s + c s^2 / 2 + d s^3 / 3`` with given values and slopes at their ends.

    Args:
        x: Values at the first ends.
        slope: Slopes of the straight lines between the ends.
        k0, k1: Derivatives at the first and at the last ends.
        step: Lengths of the pieces.
    """
    return x, k0, (6 * slope - 4 * k0 - 2 * k1) / step, 3 * (k0 + k1 - 2 * slope) / step**2
