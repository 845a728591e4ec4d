"""Burgers' equation on a circle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import fft

from nde.data.checks import check_count, check_positive
from nde.data.exponential import ExponentialRungeKutta4
from nde.data.problem import Array, Box, Sample, TimeDependentProblem
from nde.data.random_fields import SpectralField

__all__ = ["Burgers"]


@dataclass(frozen=True)
class Burgers(TimeDependentProblem):
    """``u_t + u u_x = viscosity u_xx`` on the circle of length 1; pseudo-spectral, dealiased, ETDRK4 in time.

    The defaults are the setting of Li et al. (2021, "Fourier neural operator for parametric partial differential
    equations", Section 5.1): ``u_0 ~ N(0, 625 (-Laplace + 25)^-2)``, viscosity 0.1, from ``u(0)`` to ``u(1)``. The
    script that was published with the article draws from ``SpectralField(2.5, 7.0, sigma=49.0)`` with viscosity 1e-3
    and 200 frames.

    Fields: ``"velocity"`` of shape ``(frames + 1, 1, points)``, at ``x_i = i / points``.

    Args:
        points: Points in space; thin structures need ``points`` of a few times ``amplitude / viscosity``.
        viscosity: Factor of the second derivative.
        initial: Law of the initial velocity.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    points: int = 1024
    viscosity: float = 0.1
    initial: SpectralField = field(default_factory=lambda: SpectralField(2.0, 5.0, sigma=25.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.points, "points", 4)
        check_positive(self.viscosity, "viscosity")

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": 1.0, "periodic": True, "centering": "vertices", "origin": 0.0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        return {"velocity": self.solve(self.initial.sample(rng, (self.points,)))[:, None]}

    def solve(self, initial: Array) -> Array:
        """Return the velocity at all frames, shape ``(frames + 1, points)``."""
        wave = 2 * np.pi * fft.rfftfreq(self.points, 1 / self.points)
        kept = wave < 2 * np.pi * self.points / 3
        step = ExponentialRungeKutta4(-self.viscosity * wave**2, self.step_size)
        factor = -0.5j * wave * kept

        def nonlinear(spectrum: Array) -> Array:
            velocity = fft.irfft(spectrum * kept, self.points)
            velocity *= velocity
            return np.asarray(factor * fft.rfft(velocity))

        spectrum = fft.rfft(initial)
        frames = [initial]
        for _ in range(self.frames):
            for _ in range(self.steps_per_frame):
                spectrum = step(spectrum, nonlinear)
            frames.append(fft.irfft(spectrum, self.points))
        return np.stack(frames)
