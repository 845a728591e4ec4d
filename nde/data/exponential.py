"""The exponential Runge-Kutta method of order four for stiff problems whose linear part is diagonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExponentialRungeKutta4"]

Spectrum = NDArray[Any]

_CONTOUR_POINTS = 32


class ExponentialRungeKutta4:
    """Takes steps of ``dv/dt = linear v + nonlinear(v)``: ETDRK4 of Cox and Matthews (2002), Section 2.3.

    Its coefficients are means over a circle in the complex plane, as Kassam and Trefethen (2005, "Fourth-order
    time-stepping for stiff PDEs") compute them: the formulas themselves cancel where ``linear dt`` is small.

    Args:
        linear: Eigenvalues of the linear part, real or complex, of a shape that broadcasts with the state.
        step: Size of the steps.
        dtype: Of the coefficients; that of the state with real numbers.
    """

    def __init__(self, linear: Spectrum, step: float, dtype: Any = np.float64) -> None:
        # eigenvalues are often repeated many times
        values, places = np.unique(linear, return_inverse=True)
        z = values[:, None] * step + np.exp(2j * np.pi * (np.arange(_CONTOUR_POINTS) + 0.5) / _CONTOUR_POINTS)
        growth = np.exp(z)
        columns = (
            np.exp(values * step),
            np.exp(values * step / 2),
            step * ((np.exp(z / 2) - 1) / z).mean(axis=1),
            step * ((-4 - z + growth * (4 - 3 * z + z**2)) / z**3).mean(axis=1),
            step * 2 * ((2 + z + growth * (z - 2)) / z**3).mean(axis=1),
            step * ((-4 - 3 * z - z**2 + growth * (4 - z)) / z**3).mean(axis=1),
        )
        kind = np.result_type(dtype, np.complex64) if np.iscomplexobj(linear) else dtype
        self._decay, self._half_decay, self._half, self._first, self._middle, self._last = (
            (column if np.iscomplexobj(linear) else column.real)[places].reshape(linear.shape).astype(kind)
            for column in columns
        )

    def __call__(self, state: Spectrum, nonlinear: Callable[[Spectrum], Spectrum]) -> Spectrum:
        """Return the state after one step."""
        now = nonlinear(state)
        relaxed = self._half_decay * state
        one = relaxed + self._half * now
        slope_one = nonlinear(one)
        slope_two = nonlinear(relaxed + self._half * slope_one)
        three = self._half_decay * one + self._half * (2 * slope_two - now)
        slope_three = nonlinear(three)
        result = self._decay * state
        result += self._first * now
        result += self._middle * (slope_one + slope_two)
        result += self._last * slope_three
        return result
