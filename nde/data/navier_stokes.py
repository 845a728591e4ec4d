"""Incompressible flow in a periodic square, as the transport of vorticity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from nde.data.checks import check_choice, check_count, check_number, check_positive
from nde.data.exponential import ExponentialRungeKutta4
from nde.data.problem import Array, Box, Sample, TimeDependentProblem
from nde.data.random_fields import SpectralField
from nde.data.resolution import resample_periodic

__all__ = ["NavierStokes"]

Forcing = Literal["diagonal", "kolmogorov", "none"]


@dataclass(frozen=True)
class NavierStokes(TimeDependentProblem):
    """Vorticity with viscosity, drag and forcing: ``w_t + u . grad w = viscosity Laplace w - drag w + f``.

    ``u`` is the velocity without divergence whose curl is ``w``. Pseudo-spectral with the 2/3 rule, so that the
    quadratic term neither makes nor destroys energy or enstrophy; ETDRK4 in time. The defaults are the setting of Li et
    al. (2021, "Fourier neural operator for parametric partial differential equations", Section 5.3) with viscosity
    1e-3: ``f = 0.1 (sin(2 pi (x + y)) + cos(2 pi (x + y)))``, and the law that their published script draws from,
    ``N(0, 7^3 (-Laplace + 49)^-2.5)``.

    Fields: ``"vorticity"`` of shape ``(frames + 1, 1, outputs, outputs)``, at ``(i, j) length / outputs``.

    Args:
        points: Points along each side on which the equation is solved.
        viscosity: Factor of the Laplacian.
        drag: Linear friction; it keeps flows that are forced on large scales from growing.
        forcing: ``"diagonal"`` as above; ``"kolmogorov"`` for the curl of a shear force, ``-n cos(n y)`` with ``n``
            waves across the square (``y`` in units of ``length / 2 pi``); ``"none"``.
        forcing_scale: Factor of the forcing.
        forcing_waves: ``n`` of the Kolmogorov forcing.
        length: Side of the square.
        initial: Law of the initial vorticity.
        output_points: Points along each side of the fields, by trigonometric interpolation; None for ``points``.
        precision: Of the solver: ``"single"`` takes about half the time and is right to some 1e-6.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range, or the lengths differ.
    """

    final_time: float = 20.0
    frames: int = 20
    dt: float = 0.01
    points: int = 64
    viscosity: float = 1e-3
    drag: float = 0.0
    forcing: Forcing = "diagonal"
    forcing_scale: float = 1.0
    forcing_waves: int = 4
    length: float = 1.0
    initial: SpectralField = field(default_factory=lambda: SpectralField(2.5, 7.0))
    output_points: int | None = None
    precision: Literal["double", "single"] = "double"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.points, "points", 8)
        check_positive(self.viscosity, "viscosity")
        check_number(self.drag, "drag", 0.0)
        check_choice(self.forcing, ("diagonal", "kolmogorov", "none"), "forcing")
        check_number(self.forcing_scale, "forcing_scale")
        check_count(self.forcing_waves, "forcing_waves", 1, self.points // 3)
        check_positive(self.length, "length")
        check_choice(self.precision, ("double", "single"), "precision")
        if self.output_points is not None:
            check_count(self.output_points, "output_points", 2, self.points)
        if self.initial.length != self.length:
            raise ValueError(f"initial.length={self.initial.length} must be the side of the square, {self.length}.")

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": self.length, "periodic": True, "centering": "vertices", "origin": 0.0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        frames = self.solve(self.initial.sample(rng, (self.points, self.points)))
        if self.output_points not in (None, self.points):
            frames = resample_periodic(frames, self.output_points or self.points, axes=2)
        return {"vorticity": frames[:, None]}

    def force(self) -> Array:
        """Return the forcing of the vorticity at the points, shape ``(points, points)``."""
        angle = 2 * np.pi * np.arange(self.points) / self.points
        x, y = np.meshgrid(angle, angle, indexing="ij")
        if self.forcing == "diagonal":
            return np.asarray(self.forcing_scale * 0.1 * (np.sin(x + y) + np.cos(x + y)))
        if self.forcing == "kolmogorov":
            return np.asarray(-self.forcing_scale * self.forcing_waves * np.cos(self.forcing_waves * y))
        return np.zeros((self.points, self.points))

    def solve(self, initial: Array, source: Callable[[float], Array] | None = None) -> Array:
        """Return the vorticity at all frames, shape ``(frames + 1, points, points)``.

        Args:
            initial: Vorticity at the points. Its mean, which is that of a curl, has to be zero.
            source: Further forcing at a time, for manufactured solutions; taken as constant over each step.
        """
        kind = np.float64 if self.precision == "double" else np.float32
        spectral = self._spectral
        eigenvalues = -self.viscosity * spectral.squared - self.drag
        step = ExponentialRungeKutta4(eigenvalues, self.step_size, kind)
        steady = fft.rfft2(self.force().astype(kind))
        spectrum = fft.rfft2(initial.astype(kind))
        frames = [np.asarray(initial, dtype=kind)]
        force, tick = steady, 0

        def nonlinear(state: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(spectral.transport(state) + force)

        for _ in range(self.frames):
            for _ in range(self.steps_per_frame):
                if source is not None:
                    force = steady + fft.rfft2(source((tick + 0.5) * self.step_size).astype(kind))
                spectrum = step(spectrum, nonlinear)
                tick += 1
            frames.append(fft.irfft2(spectrum, (self.points, self.points)))
        return np.stack(frames)

    @cached_property
    def _spectral(self) -> _VorticitySpectrum:
        kind = np.float64 if self.precision == "double" else np.float32
        return _VorticitySpectrum(self.points, self.length, kind)


class _VorticitySpectrum:
    """The quadratic term of the vorticity equation between spectra, with the factors that it needs."""

    def __init__(self, points: int, length: float, kind: Any) -> None:
        self.points = points
        one = fft.fftfreq(points, 1 / points)[:, None]
        two = fft.rfftfreq(points, 1 / points)[None, :]
        kept = (np.abs(one) < points / 3) & (two < points / 3)
        along, across = 2 * np.pi / length * one, 2 * np.pi / length * two
        self.squared = along**2 + across**2
        inverse = np.where(self.squared > 0, 1 / np.where(self.squared > 0, self.squared, 1.0), 0.0) * kept
        pair = np.result_type(kind, np.complex64)
        # psi = w / |k|^2, u = psi_y, v = -psi_x
        self._velocities = np.stack([1j * across * inverse, -1j * along * inverse]).astype(pair)
        # u . grad w = (d_xx - d_yy)(u v) + d_xy (v^2 - u^2) where div u = 0: four transforms in all
        self._products = np.stack([(along**2 - across**2) * kept, along * across * kept]).astype(kind)

    def transport(self, spectrum: NDArray[Any]) -> NDArray[Any]:
        """Return ``-u . grad w``."""
        u, v = fft.irfft2(self._velocities * spectrum, (self.points, self.points), axes=(1, 2), overwrite_x=True)
        products = fft.rfft2(np.stack([u * v, (v - u) * (v + u)]), axes=(1, 2), overwrite_x=True)
        products *= self._products
        return np.asarray(products[0] + products[1])
