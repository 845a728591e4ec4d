"""Legendre functions on the sphere and quadrature in latitude, for what transforms fields to spherical harmonics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fejer_weights", "legendre_functions", "legendre_slopes"]

_Array = NDArray[np.float64]


def legendre_functions(degree: int, cosines: _Array) -> _Array:
    """Return the associated Legendre functions that make ``P_lm(cos theta) exp(i m phi)`` orthonormal on the sphere.

    By the recurrence in the degree, stable for all orders; without the sign ``(-1)^m``. Holmes, Featherstone (2002), A
    unified approach to the Clenshaw summation and the recursive computation of very high degree and order normalised
    associated Legendre functions.

    Args:
        degree: Largest degree ``l``.
        cosines: Of the angles from the pole, shape ``(points,)``.

    Returns:
        Shape ``(degree + 1, degree + 1, points)``: orders, degrees, points; zero for degrees below the order.
    """
    functions = np.zeros((degree + 1, degree + 1, len(cosines)))
    sines = np.sqrt(np.maximum(1 - cosines**2, 0))
    diagonal = np.full(len(cosines), 1 / np.sqrt(4 * np.pi))
    for m in range(degree + 1):
        if m:
            diagonal = np.sqrt((2 * m + 1) / (2 * m)) * sines * diagonal
        functions[m, m] = diagonal
        for n in range(m + 1, degree + 1):
            before = functions[m, n - 2] if n > m + 1 else 0.0
            scale = np.sqrt((4 * n**2 - 1) / (n**2 - m**2))
            back = np.sqrt(((n - 1) ** 2 - m**2) / (4 * (n - 1) ** 2 - 1)) if n > 1 else 0.0
            functions[m, n] = scale * (cosines * functions[m, n - 1] - back * before)
    return functions


def legendre_slopes(functions: _Array, cosines: _Array) -> _Array:
    """Return ``sin(theta) d/dtheta`` of what `legendre_functions` returns, in the same shape."""
    count = functions.shape[0]
    m, n = np.arange(count)[:, None], np.arange(count)[None, :]
    squares = np.maximum(n**2 - m**2, 0) * (2 * n + 1) / np.maximum(2 * n - 1, 1)
    below = np.zeros_like(functions)
    below[:, 1:] = functions[:, :-1]
    return np.asarray(n[..., None] * cosines * functions - np.sqrt(squares)[..., None] * below)


def fejer_weights(count: int) -> _Array:
    """Return weights of integrals over ``sin(theta) dtheta`` at the middles of ``count`` even parts of a half circle.

    Exact for polynomials in ``cos(theta)`` of degrees below ``count``: Fejer's first rule.
    """
    angles = (np.arange(count) + 0.5) * np.pi / count
    k = np.arange(1, count // 2 + 1)
    return np.asarray(2 / count * (1 - 2 * (np.cos(2 * angles[:, None] * k) / (4 * k**2 - 1)).sum(1)))
