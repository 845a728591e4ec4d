"""The same function at other resolutions."""

from __future__ import annotations

import numpy as np
from scipy import fft

from nde.data.checks import check_count
from nde.data.problem import Array

__all__ = ["coarsen", "refine", "resample_periodic"]


def coarsen(field: Array, factor: int) -> Array:
    """Return means over ``factor x factor`` cells of the last two axes.

    Raises:
        ValueError: ``factor`` does not divide both axes.
    """
    check_count(factor, "factor")
    if field.ndim < 2 or field.shape[-1] % factor or field.shape[-2] % factor:
        raise ValueError(f"factor={factor} must divide the last two axes of the field, but its shape is {field.shape}.")
    rows, columns = field.shape[-2] // factor, field.shape[-1] // factor
    return np.asarray(field.reshape(*field.shape[:-2], rows, factor, columns, factor).mean(axis=(-3, -1)))


def refine(field: Array, factor: int) -> Array:
    """Return the same piecewise constant function on ``factor`` times as many cells along each of the last two axes.

    Raises:
        ValueError: The field has fewer than two axes.
    """
    check_count(factor, "factor")
    if field.ndim < 2:
        raise ValueError(f"the field must have two axes of space, but its shape is {field.shape}.")
    return np.repeat(np.repeat(field, factor, axis=-1), factor, axis=-2)


def resample_periodic(field: Array, points: int, axes: int = 1) -> Array:
    """Return a periodic field's trigonometric interpolant on other points.

    It is the same function as far as the coarser of the two grids can hold it.

    Args:
        field: Values at ``i length / N`` along the last ``axes`` axes.
        points: Points along each of them.
        axes: How many axes are axes of space.
    """
    check_count(points, "points", 2)
    check_count(axes, "axes", 1, field.ndim)
    for axis in range(field.ndim - axes, field.ndim):
        count = field.shape[axis]
        spectrum = fft.rfft(field, axis=axis, norm="forward")
        # the wave at half the number of points has a cosine but no sine: not the same function on both grids
        kept = (min(count, points) + 1) // 2
        spectrum = np.take(spectrum, range(kept), axis=axis)
        field = fft.irfft(spectrum, points, axis=axis, norm="forward")
    return field
