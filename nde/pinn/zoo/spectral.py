"""Reference solutions of stiff equations on a circle: Fourier series in space, exponential Runge-Kutta in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SpectralSolution", "solve_periodic"]

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


class SpectralSolution:
    """A solution as Fourier coefficients at equally spaced times; between them by Hermite's cubic polynomials.

    Attributes:
        times: Shape ``(T,)``.
        coefficients: Of ``numpy.fft.rfft``, divided by the number of nodes, shape ``(T, K)``.
        slopes: Their derivatives in time, shape ``(T, K)``.
        start, period: The circle.
    """

    def __init__(self, times: Real, coefficients: Complex, slopes: Complex, start: float, period: float) -> None:
        self.times = times
        self.coefficients = coefficients
        self.slopes = slopes
        self.start = start
        self.period = period

    def __call__(self, x: Tensor) -> Tensor:
        """Return the solution at points ``(n, 2)`` of space and time, shape ``(n,)``."""
        points = x.detach().cpu().double().numpy().reshape(-1, 2)
        values = np.concatenate([self._values(part) for part in np.array_split(points, len(points) // 2000 + 1)])
        return torch.from_numpy(values).to(x).reshape(x.shape[:-1])

    def _values(self, points: Real) -> Real:
        step = self.times[1] - self.times[0]
        position = (points[:, 1] - self.times[0]) / step
        index = np.clip(position.astype(int), 0, len(self.times) - 2)
        s = (position - index)[:, None]
        spectrum = (
            (1 + 2 * s) * (1 - s) ** 2 * self.coefficients[index]
            + s**2 * (3 - 2 * s) * self.coefficients[index + 1]
            + step * s * (1 - s) ** 2 * self.slopes[index]
            - step * s**2 * (1 - s) * self.slopes[index + 1]
        )
        waves = 2 * np.pi / self.period * np.arange(spectrum.shape[1])
        phases = np.exp(1j * waves * (points[:, :1] - self.start))
        # every frequency but zero stands for itself and its conjugate
        return 2 * (spectrum * phases).real.sum(1) - spectrum[:, 0].real


def solve_periodic(
    linear: Callable[[Complex], Complex],
    nonlinear: Callable[[Real], Real],
    initial: Callable[[Real], Real],
    *,
    start: float,
    period: float,
    end: float,
    nodes: int,
    steps: int,
    saved: int = 201,
    conservative: bool = False,
) -> SpectralSolution:
    """Solve ``u_t = L u + N(u)`` on a circle from time 0 by ETDRK4.

    Args:
        linear: The symbol of ``L`` for ``i w``, as ``lambda d: nu * d**2``.
        nonlinear: ``N`` of the values at the nodes.
        initial: Values at the nodes at time 0.
        start, period: The circle.
        end: Last time.
        nodes: Number of nodes; products are freed of aliases by the rule of 2/3.
        steps: Number of steps, a multiple of ``saved - 1``.
        saved: Number of times that are kept.
        conservative: Whether ``nonlinear`` is differentiated in space: ``u_t = L u + N(u)_x``.

    Raises:
        ValueError: ``steps`` is no multiple of ``saved - 1``.
        FloatingPointError: The solution is not finite: there are too few steps.

    Source:
        Cox and Matthews (2002); Kassam and Trefethen, Fourth-order time-stepping for stiff PDEs (2005), section 2 with
        the contour integrals of section 3.
    """
    if steps % (saved - 1):
        raise ValueError(f"steps must be a multiple of saved - 1 = {saved - 1}, but is {steps}.")
    x = start + period * np.arange(nodes) / nodes
    derivative = 2j * np.pi / period * np.arange(nodes // 2 + 1)
    derivative[-1] = 0 if nodes % 2 == 0 else derivative[-1]  # the derivative of the highest wave has no phase
    symbol = linear((2j * np.pi / period * np.arange(nodes // 2 + 1)).astype(np.complex128))
    h = end / steps
    full, half, q, f1, f2, f3 = _weights(symbol, h)
    kept = np.arange(nodes // 2 + 1) <= nodes // 3
    outer = derivative * kept if conservative else kept

    def right(v: Complex) -> Complex:
        return outer * np.fft.rfft(nonlinear(np.fft.irfft(v, nodes)))

    v = np.asarray(np.fft.rfft(initial(x)), dtype=np.complex128)
    spectra, slopes = [v], [symbol * v + right(v)]
    for step in range(1, steps + 1):
        n0 = right(v)
        a = half * v + q * n0
        n1 = right(a)
        b = half * v + q * n1
        n2 = right(b)
        c = half * a + q * (2 * n2 - n0)
        n3 = right(c)
        v = full * v + f1 * n0 + 2 * f2 * (n1 + n2) + f3 * n3
        if step % (steps // (saved - 1)) == 0:
            if not np.isfinite(v).all():
                raise FloatingPointError(f"the reference is not finite at t = {step * h:.4g}. Take more steps.")
            spectra.append(v)
            slopes.append(symbol * v + right(v))
    times = np.linspace(0, end, saved)
    return SpectralSolution(times, np.stack(spectra) / nodes, np.stack(slopes) / nodes, start, period)


def _weights(symbol: Complex, h: float) -> tuple[Complex, ...]:
    """Return the weights of one step; means over circles avoid the cancellation at small symbols."""
    circle = np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
    z = h * symbol[:, None] + circle
    grown = np.exp(z)
    q = h * ((np.exp(z / 2) - 1) / z).mean(1)
    f1 = h * ((-4 - z + grown * (4 - 3 * z + z**2)) / z**3).mean(1)
    f2 = h * ((2 + z + grown * (z - 2)) / z**3).mean(1)
    f3 = h * ((-4 - 3 * z - z**2 + grown * (4 - z)) / z**3).mean(1)
    return np.exp(h * symbol), np.exp(h * symbol / 2), q, f1, f2, f3
