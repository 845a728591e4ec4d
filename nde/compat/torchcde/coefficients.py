"""Functions from data to coefficients, which the classes of `interpolation` take."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from nde.compat.torchcde.misc import validate_input_path
from nde.controls import LinearPath, NaturalCubicPath, hermite_cubic_coefficients, natural_cubic_coefficients
from nde.controls import rectilinear_points as _rectilinear_points

__all__ = [
    "hermite_cubic_coefficients_with_backward_differences",
    "linear_interpolation_coeffs",
    "natural_cubic_coeffs",
    "natural_cubic_spline_coeffs",
]


def linear_interpolation_coeffs(x: Tensor, t: Tensor | None = None, rectilinear: int | None = None) -> Tensor:
    """Return the values at the knots, for `LinearInterpolation`.

    Args:
        x: Data, shape ``(..., length, channels)``. Missing values are NaN.
        t: Times, shape ``(length,)``; None for ``0, 1, ...``.
        rectilinear: Channel of times, for a path in which time and data move by turns.

    Returns:
        Shape ``(..., length, channels)``; ``(..., 2 length - 1, channels)`` if rectilinear.

    Raises:
        ValueError: ``x`` or ``t`` is not as above.
        AssertionError: ``rectilinear`` is no channel, or its times have missing values.
    """
    if rectilinear is not None:
        x = _rectilinear(x, rectilinear)
    return LinearPath(x, validate_input_path(x, t)).coefficients


def _rectilinear(x: Tensor, time_index: int) -> Tensor:
    if torch.isnan(x[..., 0, :]).any():
        warnings.warn(
            "The data `x` begins with missing values in some channels. They become the first value observed later, "
            "which is not causal. If you pass `rectilinear` for the sake of causality, fill them in first: with the "
            "mean of the channel, for example.",
            UserWarning,
            stacklevel=3,
        )
    channels = x.size(-1)
    if not isinstance(time_index, int) or not 0 <= time_index < channels:
        raise AssertionError(f"rectilinear must be an integer from 0 to {channels - 1}, but is {time_index!r}.")
    if torch.isnan(x[..., time_index]).any():
        raise AssertionError(
            f"x[..., {time_index}] must hold times without missing values. Repeat the last time where a series ended."
        )
    return _rectilinear_points(x, time_index)


def hermite_cubic_coefficients_with_backward_differences(x: Tensor, t: Tensor | None = None) -> Tensor:
    """Return the coefficients of cubic Hermite splines, for `CubicSpline`.

    Args:
        x: Data, shape ``(..., length, channels)``. Missing values are NaN, and interpolated linearly.
        t: Times, shape ``(length,)``; None for ``0, 1, ...``.

    Returns:
        Shape ``(..., length - 1, 4 channels)``.

    Raises:
        ValueError: ``x`` or ``t`` is not as above.
    """
    return hermite_cubic_coefficients(x, validate_input_path(x, t))


def natural_cubic_coeffs(x: Tensor, t: Tensor | None = None) -> Tensor:
    """Return the coefficients of natural cubic splines, for `CubicSpline`.

    Args:
        x: Data, shape ``(..., length, channels)``. Missing values are NaN; those at the ends become the nearest known
            one.
        t: Times, shape ``(length,)``; None for ``0, 1, ...``.

    Returns:
        Shape ``(..., length - 1, 4 channels)``.

    Raises:
        ValueError: ``x`` or ``t`` is not as above.
    """
    return NaturalCubicPath(x, validate_input_path(x, t)).coefficients


def natural_cubic_spline_coeffs(x: Tensor, t: Tensor | None = None) -> Tensor:
    """Return what `natural_cubic_coeffs` does, but where values are missing at an end there is a knot at the end alone.

    Deprecated in torchcde.
    """
    times = validate_input_path(x, t)
    full = LinearPath(x, times).coefficients
    ends = torch.zeros(x.shape[-2], 1, dtype=torch.bool, device=x.device)
    ends[0], ends[-1] = True, True
    return natural_cubic_coefficients(torch.where(ends, full, x), times)
