"""Shallow water on a rotating sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nde.data.checks import check_count, check_number, check_positive
from nde.data.problem import Array, Box, Sample, TimeDependentProblem
from nde.data.spherical_transform import Spectrum, SphericalTransform

__all__ = ["SphericalShallowWater"]


@dataclass(frozen=True)
class SphericalShallowWater(TimeDependentProblem):
    """``v_t + (zeta + f) r x v + grad(g h + |v|^2 / 2) = 0``, ``h_t + div(h v) = 0`` on a rotating sphere.

    Vorticity, divergence and height in spherical harmonics (the spectral transform method), without aliasing, by the
    classical Runge-Kutta method. What cascades to the smallest scales is taken out after each step by a factor
    ``exp(-dt / damping_time (l (l + 1) / (L (L + 1)))^4)`` on vorticity and divergence.

    The default is the earth with winds of 20 m/s: a Gaussian stream function with variances proportional to
    ``(l (l + 1) + tau^2)^-alpha`` for each harmonic of degree ``l > 0``, no divergence, and heights in linear balance
    with it, so that there are few gravity waves at the beginning. A problem like that of Bonev et al. (2023), Spherical
    Fourier neural operators, and Liu-Schiaffini et al. (2024); their initial fields are others.

    Fields: ``"height"`` of shape ``(frames + 1, 1, rows, 2 rows)`` in metres, and ``"velocity"``, to the south and to
    the east, of shape ``(frames + 1, 2, rows, 2 rows)``, in metres per second.

    Args:
        final_time, dt: In seconds.
        rows: Gauss's latitudes; harmonics go to degree ``(2 rows - 1) // 3``.
        radius, rotation, gravity: Of the sphere, in metres, radians per second, metres per square second.
        depth: Mean height.
        speed: Root of the expected mean square of the initial velocity.
        alpha, tau: Of the initial stream function.
        damping_time: Of the smallest scales, in seconds; None for no damping.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range, or ``dt`` is too large for gravity waves.
    """

    final_time: float = 3600.0
    dt: float = 150.0
    rows: int = 64
    radius: float = 6.37122e6
    rotation: float = 7.292e-5
    gravity: float = 9.80616
    depth: float = 10_000.0
    speed: float = 20.0
    alpha: float = 4.0
    tau: float = 6.0
    damping_time: float | None = 7200.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.rows, "rows", 8)
        for name in ("radius", "gravity", "depth", "speed", "alpha"):
            check_positive(getattr(self, name), name)
        check_number(self.rotation, "rotation")
        check_number(self.tau, "tau", 0.0)
        if self.damping_time is not None:
            check_positive(self.damping_time, "damping_time")
        fastest = math.sqrt(self.gravity * self.depth) * (self.degree + 1) / self.radius
        if self.step_size * fastest > 2.4:  # Runge and Kutta's limit is 2.8; winds add to the waves
            raise ValueError(
                f"dt={self.dt:g} is too large for gravity waves of degree {self.degree}. "
                f"Give dt={2.4 / fastest:.4g} or less."
            )

    @property
    def degree(self) -> int:
        """Largest degree of harmonics whose products are integrated without aliasing."""
        return (2 * self.rows - 1) // 3

    @property
    def box(self) -> Box:
        """Where the values are: the latitudes of `nde.operators.SphereGrid`."""
        return {"latitudes": "gauss"}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        frames = self.solve(*self.initial(rng))
        return {"height": frames[:, :1], "velocity": frames[:, 1:]}

    def initial(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw height ``(rows, 2 rows)`` and velocity ``(2, rows, 2 rows)``."""
        transform, degrees = self._transform, np.arange(self.degree + 1)
        variances = (degrees * (degrees + 1.0) + self.tau**2) ** -self.alpha if self.tau else np.zeros(len(degrees))
        if not self.tau:
            variances[1:] = (degrees[1:] * (degrees[1:] + 1.0)) ** -self.alpha
        variances[0] = 0.0
        square = (degrees * (degrees + 1) * (2 * degrees + 1) * variances).sum() / (4 * np.pi * self.radius**2)
        scales = self.speed / np.sqrt(square) * np.sqrt(variances)
        parts = rng.standard_normal((2, len(degrees), len(degrees)))
        stream = scales * (parts[0] + 1j * parts[1]) / np.sqrt(2)
        stream[0] = scales * parts[0, 0]
        stream *= degrees[None, :] >= degrees[:, None]  # orders do not exceed degrees
        # linear balance: Laplace(g h) = div(f grad stream)
        gradient = self._coriolis * transform.vector(np.zeros_like(stream), stream)
        height = self._inverse_laplacian * transform.divergence(*gradient) / self.gravity
        velocity = transform.vector(stream, np.zeros_like(stream)) / self.radius
        return self.depth + transform.synthesise(height), velocity

    def solve(self, height: Array, velocity: Array) -> Array:
        """Return height and velocity, south and east, at all frames, shape ``(frames + 1, 3, rows, 2 rows)``.

        Args:
            height: The first of them, shape ``(rows, 2 rows)``.
            velocity: Shape ``(2, rows, 2 rows)``.

        Raises:
            FloatingPointError: The water has run dry or moves too fast for ``dt``.
        """
        transform = self._transform
        south, east = velocity
        state = np.stack(
            (
                transform.divergence(east, -south) / self.radius,
                transform.divergence(south, east) / self.radius,
                transform.analyse(self.gravity * height),
            )
        )
        damping = self._damping
        result = [np.concatenate((height[None], velocity))]
        dt = self.step_size
        for _ in range(self.frames):
            for _ in range(self.steps_per_frame):
                first = self._rates(state)
                second = self._rates(state + 0.5 * dt * first)
                third = self._rates(state + 0.5 * dt * second)
                state = state + dt / 6 * (first + 2 * (second + third) + self._rates(state + dt * third))
                state[:2] *= damping
            frame = np.concatenate((transform.synthesise(state[2])[None] / self.gravity, self._velocity(state)))
            if not (np.isfinite(frame).all() and frame[0].min() > 0):
                raise FloatingPointError("the water has run dry or moves too fast; try a smaller dt or speed")
            result.append(frame)
        return np.stack(result)

    def _rates(self, state: Spectrum) -> Spectrum:
        """Return the rates of vorticity, divergence and geopotential."""
        transform = self._transform
        vorticity, potential = transform.synthesise(state[[0, 2]])
        velocity = self._velocity(state)
        spin = (vorticity + self._coriolis) * velocity
        energy = transform.analyse(0.5 * (velocity**2).sum(0))
        souths, easts = (
            np.stack((spin[0], spin[1], potential * velocity[0])),
            np.stack((spin[1], -spin[0], potential * velocity[1])),
        )
        carried, turned, flux = transform.divergence(souths, easts) / self.radius
        lifted = transform.eigenvalues / self.radius**2 * (state[2] + energy)
        return np.stack((-carried, turned - lifted, -flux))

    def _velocity(self, state: Spectrum) -> Array:
        stream, potential = self.radius * self._inverse_laplacian * state[:2]
        return self._transform.vector(stream, potential)

    @property
    def _transform(self) -> SphericalTransform:
        return _transform(self.degree, self.rows)

    @property
    def _coriolis(self) -> Array:
        return 2 * self.rotation * self._transform.cosines[:, None]

    @property
    def _inverse_laplacian(self) -> Array:
        """Inverse of the unit sphere's Laplacian on what has mean zero."""
        values = self._transform.eigenvalues
        return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0)

    @property
    def _damping(self) -> Array:
        if self.damping_time is None:
            return np.ones(self.degree + 1)
        values = self._transform.eigenvalues
        return np.asarray(np.exp(-self.step_size / self.damping_time * (values / values[-1]) ** 4))


@lru_cache(maxsize=4)
def _transform(degree: int, rows: int) -> SphericalTransform:
    return SphericalTransform(degree, rows, 2 * rows)
