"""Advection on a circle: the one problem here whose solution is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nde.data.checks import check_choice, check_count, check_number
from nde.data.problem import Box, Sample, TimeDependentProblem

__all__ = ["Advection"]


@dataclass(frozen=True)
class Advection(TimeDependentProblem):
    """``u_t + speed u_x = 0`` on the circle of length 1; exact at every point, so that ``dt`` has no effect.

    Fields: ``"density"`` of shape ``(frames + 1, 1, points)``, at the centres of cells.

    Args:
        points: Points in space.
        speed: Of the transport.
        profile: ``"sines"`` for a sum of waves, of which PDEBench (Takamoto et al., 2022) takes two, with 1 to 8
            periods, amplitudes uniform in ``[0, 1]`` and random phases; ``"steps"`` for a piecewise constant function
            with jumps at random places and values uniform in ``[-1, 1]``.
        terms: How many waves or steps.
        largest_wave: Most periods of a wave.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    final_time: float = 2.0
    frames: int = 200
    points: int = 1024
    speed: float = 1.0
    profile: Literal["sines", "steps"] = "sines"
    terms: int = 2
    largest_wave: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.points, "points", 2)
        check_number(self.speed, "speed")
        check_choice(self.profile, ("sines", "steps"), "profile")
        check_count(self.terms, "terms")
        check_count(self.largest_wave, "largest_wave")

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": 1.0, "periodic": True, "centering": "cells", "origin": 0.0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        x = (np.arange(self.points) + 0.5) / self.points
        origin = (x[None, :] - self.speed * self.times[:, None]) % 1.0
        if self.profile == "sines":
            waves = rng.integers(1, self.largest_wave + 1, self.terms)
            amplitudes, phases = rng.uniform(0, 1, self.terms), rng.uniform(0, 2 * np.pi, self.terms)
            density = np.zeros_like(origin)
            for wave, amplitude, phase in zip(waves, amplitudes, phases, strict=True):
                density += amplitude * np.sin(2 * np.pi * wave * origin + phase)
        else:
            places, values = np.sort(rng.uniform(0, 1, self.terms)), rng.uniform(-1, 1, self.terms)
            # before the first jump there is what comes after the last one
            density = values[np.searchsorted(places, origin, side="right") - 1]
        return {"density": density[:, None]}
