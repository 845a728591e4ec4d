"""Weights of exponential integrators for Langevin equations, good to rounding for any friction and step size.

With ``z`` the friction times the step, they are averages of ``exp(-z (1 - u))`` over ``u`` in (0, 1), weighted with the
Legendre polynomials that the increment and the areas of a path belong to. Such averages are scaled modified spherical
Bessel functions of ``z / 2``: their series has positive terms alone, so that nothing cancels where ``z`` is small.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["decay", "first_average", "second_average", "weight_of_h", "weight_of_k"]

# up to here the series, whose next term is below a rounding unit; beyond, closed forms that lose less than a digit
_SWITCH = 3.0
_TERMS = 16


def decay(z: Any) -> Any:
    """Return ``exp(-z)``."""
    return torch.exp(-z) if isinstance(z, Tensor) else math.exp(-z)


def first_average(z: Any) -> Any:
    """Return ``(1 - exp(-z)) / z``.

    Args:
        z: Positive; a number, or a tensor of any shape.
    """
    return _bessel(0, 0.5 * z)


def second_average(z: Any) -> Any:
    """Return ``(exp(-z) + z - 1) / z^2``."""
    s = 0.5 * z
    return 0.5 * (_bessel(0, s) + s * _bessel(1, s))


def weight_of_h(z: Any) -> Any:
    """Return ``6 (exp(-z) (z + 2) + z - 2) / z^3``: what the position gets of a space-time area, by the step."""
    return 3.0 * _bessel(1, 0.5 * z)


def weight_of_k(z: Any) -> Any:
    """Return ``60 (exp(-z) (z^2 + 6 z + 12) - z^2 + 6 z - 12) / z^4``: the same of a space-time-time area."""
    s = 0.5 * z
    return -30.0 * s * _bessel(2, s)


def _bessel(n: int, s: Any) -> Any:
    """Return ``exp(-s) i_n(s) / s^n`` with the modified spherical Bessel function of order 0, 1 or 2."""
    if not isinstance(s, Tensor):
        return _series(n, s) if s <= _SWITCH else _closed(n, s)
    # both are defined where the other is used, so that no derivative is NaN
    return torch.where(s <= _SWITCH, _series(n, s.clamp(max=_SWITCH)), _closed(n, s.clamp(min=_SWITCH)))


def _series(n: int, s: Any) -> Any:
    # the sum of (s^2 / 2)^k / (k! (2n + 2k + 1)!!)
    square, total = 0.5 * s * s, 1.0
    for k in range(_TERMS, 0, -1):
        total = 1.0 + square * total / (k * (2 * n + 2 * k + 1))
    return decay(s) * total / (1.0, 3.0, 15.0)[n]


def _closed(n: int, s: Any) -> Any:
    falling = decay(2 * s)
    sine, cosine = 0.5 * (1.0 - falling), 0.5 * (1.0 + falling)  # exp(-s) times the hyperbolic ones
    if n == 0:
        return sine / s
    if n == 1:
        return (s * cosine - sine) / s**3
    return ((s * s + 3.0) * sine - 3.0 * s * cosine) / s**5
