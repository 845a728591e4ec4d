"""Two reacting substances that diffuse in a square with closed walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from nde.data.checks import check_count, check_number, check_positive
from nde.data.exponential import ExponentialRungeKutta4
from nde.data.problem import Array, Box, Sample, TimeDependentProblem
from nde.data.random_fields import SpectralField

__all__ = ["DiffusionReaction"]

# noise reacts fast until diffusion has made it smooth
_SETTLING_TIME, _SMALL_STEPS = 0.2, 8


@dataclass(frozen=True)
class DiffusionReaction(TimeDependentProblem):
    """FitzHugh-Nagumo: ``u_t = D_u Laplace u + u - u^3 - k - v``, ``v_t = D_v Laplace v + u - v``.

    In the square ``[-1, 1]^2``, with no flux through its walls. Finite volumes of second order in space, whose
    diffusion is diagonal in cosines, and ETDRK4 in time, with smaller steps at the beginning. The defaults are the
    setting of PDEBench (Takamoto et al., 2022): it too begins with independent normal numbers in each cell. These
    have no limit as cells shrink: for tests of an operator's resolution, give ``initial`` a law of functions.

    Fields: ``"concentration"`` of shape ``(frames + 1, 2, points, points)``, at the centres of cells.

    Args:
        points: Cells along each side.
        activator_diffusion, inhibitor_diffusion: ``D_u`` and ``D_v``.
        k: The constant of the reaction.
        initial: Law of both initial fields, independent of each other, on the unit square stretched to this one; None
            for noise.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range, or the law has no Neumann boundary or another length than 2.
    """

    final_time: float = 5.0
    frames: int = 100
    dt: float = 0.025
    points: int = 128
    activator_diffusion: float = 1e-3
    inhibitor_diffusion: float = 5e-3
    k: float = 5e-3
    initial: SpectralField | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.points, "points", 2)
        check_positive(self.activator_diffusion, "activator_diffusion")
        check_positive(self.inhibitor_diffusion, "inhibitor_diffusion")
        check_number(self.k, "k")
        if self.initial is not None and (self.initial.boundary, self.initial.length) != ("neumann", 2.0):
            raise ValueError(
                "initial must have boundary='neumann' and length=2.0, the walls and the side of the square, but has "
                f"boundary={self.initial.boundary!r} and length={self.initial.length}."
            )

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": 2.0, "periodic": False, "centering": "cells", "origin": -1.0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        if self.initial is None:
            start = rng.standard_normal((2, self.points, self.points))
        else:
            start = np.stack([self.initial.sample(rng, (self.points, self.points)) for _ in range(2)])
        return {"concentration": self.solve(start)}

    def solve(self, initial: Array) -> Array:
        """Return both concentrations at all frames, shape ``(frames + 1, 2, points, points)``."""
        # eigenvalues of second differences over cells with closed walls
        difference = -((self.points * np.sin(np.pi * np.arange(self.points) / (2 * self.points))) ** 2)
        laplacian = difference[:, None] + difference[None, :]
        factors = np.array([self.activator_diffusion, self.inhibitor_diffusion])[:, None, None]
        step = ExponentialRungeKutta4(factors * laplacian, self.step_size)
        small_step = ExponentialRungeKutta4(factors * laplacian, self.step_size / _SMALL_STEPS)

        def nonlinear(spectrum: Array) -> Array:
            u, v = fft.idctn(spectrum, axes=(1, 2), norm="ortho")
            reaction = np.stack([u - u * u * u - self.k - v, u - v])
            return np.asarray(fft.dctn(reaction, axes=(1, 2), norm="ortho", overwrite_x=True))

        spectrum = fft.dctn(initial, axes=(1, 2), norm="ortho")
        result = [initial]
        small = round(_SETTLING_TIME / self.step_size)
        for frame in range(self.frames):
            for tick in range(frame * self.steps_per_frame, (frame + 1) * self.steps_per_frame):
                if tick < small:
                    for _ in range(_SMALL_STEPS):
                        spectrum = small_step(spectrum, nonlinear)
                else:
                    spectrum = step(spectrum, nonlinear)
            result.append(fft.idctn(spectrum, axes=(1, 2), norm="ortho"))
        return np.stack(result)
