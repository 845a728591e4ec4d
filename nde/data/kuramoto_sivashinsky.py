"""The Kuramoto-Sivashinsky equation: chaos in space and time on a circle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import fft

from nde.data.checks import check_count, check_number, check_positive
from nde.data.exponential import ExponentialRungeKutta4
from nde.data.problem import Array, Box, Sample, TimeDependentProblem
from nde.data.random_fields import SpectralField

__all__ = ["KuramotoSivashinsky"]


@dataclass(frozen=True)
class KuramotoSivashinsky(TimeDependentProblem):
    """``u_t + u u_x + u_xx + u_xxxx = 0`` on a circle; pseudo-spectral, dealiased, ETDRK4 in time.

    The initial state is a smooth random field with mean zero, from which the equation runs for ``warm_up`` before the
    first frame, so that trajectories begin on the attractor. Chaos doubles differences every few units of time: over
    long times, trajectories are right in their statistics, not one by one.

    Fields: ``"velocity"`` of shape ``(frames + 1, 1, points)``, at ``x_i = i length / points``.

    Args:
        points: Points in space; at least two for each unit of length resolve the attractor.
        length: Of the circle. Trajectories are chaotic from about 22 on.
        warm_up: Time that passes before the first frame.
        initial: Law of the state before the warm-up; its ``length`` must be that of the circle. None for a field of
            moderate waves.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range, or the lengths differ.
    """

    final_time: float = 50.0
    frames: int = 50
    dt: float = 0.05
    points: int = 128
    length: float = 64.0
    warm_up: float = 50.0
    initial: SpectralField | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.points, "points", 8)
        check_positive(self.length, "length")
        check_number(self.warm_up, "warm_up", 0.0)
        if self.initial is not None and self.initial.length != self.length:
            raise ValueError(f"initial.length={self.initial.length} must be the length of the circle, {self.length}.")

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": self.length, "periodic": True, "centering": "vertices", "origin": 0.0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        law = self.initial or SpectralField(4.0, 0.5, sigma=0.5, length=self.length)
        state = law.sample(rng, (self.points,))
        if self.warm_up > 0:
            state = self.solve(state, self.warm_up, 1)[-1]
        return {"velocity": self.solve(state, self.final_time, self.frames)[:, None]}

    def solve(self, initial: Array, final_time: float, frames: int) -> Array:
        """Return evenly spaced frames from an initial state, shape ``(frames + 1, points)``."""
        steps = max(1, int(np.ceil(final_time / frames / self.dt * (1 - 1e-12))))
        wave = 2 * np.pi / self.length * fft.rfftfreq(self.points, 1 / self.points)
        kept = np.arange(len(wave)) < self.points / 3
        step = ExponentialRungeKutta4(wave**2 - wave**4, final_time / frames / steps)
        factor = -0.5j * wave * kept

        def nonlinear(spectrum: Array) -> Array:
            velocity = fft.irfft(spectrum * kept, self.points)
            return np.asarray(factor * fft.rfft(velocity * velocity))

        spectrum = fft.rfft(initial)
        result = [initial]
        for _ in range(frames):
            for _ in range(steps):
                spectrum = step(spectrum, nonlinear)
            result.append(fft.irfft(spectrum, self.points))
        return np.stack(result)
