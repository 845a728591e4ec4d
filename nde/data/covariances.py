"""Gaussian random fields with a covariance that is a function of the distance, drawn by circulant embedding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import fft

from nde.data.checks import check_choice, check_count, check_positive
from nde.data.problem import Array

__all__ = ["Covariance", "StationaryField", "correlation"]

Covariance = Literal["cubic", "exponential", "gaussian"]

_LARGEST_EXTENSION = 16


def correlation(covariance: Covariance, scaled: Array) -> Array:
    """Return the correlation at distances that are given in correlation lengths.

    ``"cubic"`` is ``1 - 7 d^2 + 35/4 d^3 - 7/2 d^5 + 3/4 d^7`` up to ``d = 1`` and zero from there, ``"exponential"``
    is ``exp(-d)``, ``"gaussian"`` is ``exp(-d^2)``: the models of the parafields library, with which ConDiff was drawn.

    Raises:
        ValueError: The model is not known.
    """
    check_choice(covariance, ("cubic", "exponential", "gaussian"), "covariance")
    if covariance == "exponential":
        return np.asarray(np.exp(-scaled))
    if covariance == "gaussian":
        return np.asarray(np.exp(-(scaled**2)))
    near = np.minimum(scaled, 1.0)  # the polynomial is zero at one
    return np.asarray(1 + near**2 * (-7 + near * (8.75 + near**2 * (-3.5 + 0.75 * near**2))))


@dataclass(frozen=True)
class StationaryField:
    """A field with mean zero, one variance everywhere, and a correlation that is a function of the distance.

    Samples have the exact covariance at the points (Dietrich and Newsam, 1997): the covariance is continued to a
    periodic one on a box that is large enough for it to be positive.

    Args:
        covariance: Model of the correlation; see `correlation`.
        variance: Variance at each point.
        length_scale: Correlation length, in the units in which neighbouring points are ``1 / points`` apart.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    covariance: Covariance = "exponential"
    variance: float = 1.0
    length_scale: float = 0.05

    def __post_init__(self) -> None:
        check_choice(self.covariance, ("cubic", "exponential", "gaussian"), "covariance")
        check_positive(self.variance, "variance")
        check_positive(self.length_scale, "length_scale")

    def sample_pair(self, rng: np.random.Generator, points: int) -> tuple[Array, Array]:
        """Return two independent fields on ``(points, points)``, for the price of one.

        Raises:
            TypeError: ``points`` is no integer.
            ValueError: There are fewer than two points, or no box up to 16 times the size makes the covariance
                positive.
        """
        check_count(points, "points", 2)
        deviations = _deviations(self.covariance, self.length_scale, points)
        waves = rng.standard_normal((*deviations.shape, 2)).view(np.complex128)[..., 0]
        waves *= deviations
        # what lies outside the square is not transformed further
        half = fft.fft(waves, axis=1, overwrite_x=True)[:, :points]
        field = np.sqrt(self.variance) * fft.fft(half, axis=0)[:points]
        return np.ascontiguousarray(field.real), np.ascontiguousarray(field.imag)


@lru_cache(maxsize=8)
def _deviations(covariance: Covariance, length_scale: float, points: int) -> Array:
    """Return standard deviations of Fourier coefficients on a box where the covariance is positive."""
    extension = 2
    while extension <= _LARGEST_EXTENSION:
        size = fft.next_fast_len(extension * (points - 1))
        lag = np.minimum(np.arange(size), size - np.arange(size)) / points / length_scale
        spectrum = fft.fft2(correlation(covariance, np.hypot(lag[:, None], lag[None, :]))).real
        # what is negative by rounding alone is zero
        if spectrum.min() >= -1e-13 * spectrum.max():
            return np.asarray(np.sqrt(np.maximum(spectrum, 0.0)) / size)
        extension *= 2
    raise ValueError(
        f"length_scale={length_scale:g} is too long for an exact draw of the {covariance!r} covariance on a "
        "unit square. Choose a shorter one."
    )
