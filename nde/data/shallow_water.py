"""Shallow water over a flat bottom in a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nde.data.checks import check_choice, check_count, check_number, check_positive
from nde.data.problem import Array, Box, Sample, TimeDependentProblem
from nde.data.random_fields import SpectralField

__all__ = ["ShallowWater"]

_MOST_STEPS = 10_000  # from frame to frame

Walls = Literal["outflow", "periodic", "reflecting"]


@dataclass(frozen=True)
class ShallowWater(TimeDependentProblem):
    """``h_t + div(h u) = 0``, ``(h u)_t + div(h u u) + grad(g h^2 / 2) = 0`` in the square ``[-2.5, 2.5]^2``.

    Finite volumes: reconstruction of height and velocity with van Leer's limiter (monotonized central), the flux of
    Harten, Lax and van Leer with Einfeldt's speeds, the second-order Runge-Kutta method of Shu and Osher. The defaults
    are the radial dam break of PDEBench (Takamoto et al., 2022): height 2 within a random radius around the centre,
    1 elsewhere, at rest, open boundaries. Its own data come from another scheme of the same order. Cells that the dam
    cuts have the mean of their water. With whole cells on either side, as in PDEBench, many radii are one dam: there
    would be no more than 81 samples on 128 x 128 cells, and 7 on 32 x 32.

    Fields: ``"height"`` of shape ``(frames + 1, 1, points, points)`` and ``"discharge"``, ``h u``, of shape
    ``(frames + 1, 2, points, points)``: means over cells, to second order.

    Args:
        points: Cells along each side.
        gravity: ``g``.
        inner_height, outer_height: On both sides of the dam.
        smallest_radius, largest_radius: The radius is uniform between them.
        walls: ``"outflow"`` repeats the outermost values beyond the boundary, ``"reflecting"`` lets no water through.
        initial: Law of the logarithm of the initial height over ``outer_height``, in place of the dam.
        courant: Largest part of a cell that waves cross in a step; ``dt`` is a further limit.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    recipe: ClassVar[int] = 2  # since cells have the mean of their water at the beginning

    frames: int = 100
    points: int = 128
    gravity: float = 1.0
    inner_height: float = 2.0
    outer_height: float = 1.0
    smallest_radius: float = 0.3
    largest_radius: float = 0.7
    walls: Walls = "outflow"
    initial: SpectralField | None = None
    courant: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.points, "points", 4)
        for name in ("gravity", "inner_height", "outer_height", "smallest_radius", "courant"):
            check_positive(getattr(self, name), name)
        check_number(self.largest_radius, "largest_radius", self.smallest_radius)
        check_choice(self.walls, ("outflow", "periodic", "reflecting"), "walls")
        if self.courant > 0.5:
            raise ValueError(f"courant must be 0.5 or less for the scheme to be stable, but is {self.courant}.")
        if self.initial is not None and self.initial.length != 5.0:
            raise ValueError(f"initial.length={self.initial.length} must be the side of the square, 5.0.")

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": 5.0, "periodic": self.walls == "periodic", "centering": "cells", "origin": -2.5}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        if self.initial is None:
            radius = rng.uniform(self.smallest_radius, self.largest_radius)
            inside = disc_in_cells(radius, np.linspace(-2.5, 2.5, self.points + 1))
            height = self.outer_height + (self.inner_height - self.outer_height) * inside
        else:
            height = self.outer_height * np.exp(self.initial.sample(rng, (self.points, self.points)))
        frames = self.solve(np.stack([height, np.zeros_like(height), np.zeros_like(height)]))
        return {"height": frames[:, :1], "discharge": frames[:, 1:]}

    def solve(self, initial: Array) -> Array:
        """Return ``(h, h u, h v)`` at all frames.

        Args:
            initial: The first of them, shape ``(3, rows, columns)``, in cells of side ``5 / points``.
        """
        spacing = 5.0 / self.points
        state, result = np.array(initial, dtype=np.float64), [np.array(initial, dtype=np.float64)]
        for frame in range(self.frames):
            left = self.times[frame + 1] - self.times[frame]
            while left > 0:
                speed = np.abs(state[1:] / state[0]).max() + np.sqrt(self.gravity * state[0].max())
                longest = min(self.dt, self.courant * spacing / speed)
                if not (state[0].min() > 0 and longest > self.final_time / self.frames / _MOST_STEPS):
                    raise FloatingPointError("the water has run dry or moves too fast; try a smaller courant")
                # equal steps to the frame, none of them tiny
                dt = left / np.ceil(left / longest * (1 - 1e-12))
                one = state + dt * self._rates(state, spacing)
                state = 0.5 * (state + one + dt * self._rates(one, spacing))
                left = left - dt if left > 1.5 * dt else 0.0
            result.append(state)
        return np.stack(result)

    def _rates(self, state: Array, spacing: float) -> Array:
        along = self._differences(state)
        # the other axis: as if the square were turned
        across = self._differences(state[[0, 2, 1]].swapaxes(1, 2))[[0, 2, 1]].swapaxes(1, 2)
        return np.asarray(-(along + across) / spacing)

    def _differences(self, state: Array) -> Array:
        """Return differences of fluxes along the first axis of space; the first discharge is the normal one."""
        padded = _pad(np.concatenate([state[:1], state[1:] / state[:1]]), self.walls)
        steps = np.diff(padded, axis=1)
        before, after = steps[:, :-1], steps[:, 1:]
        limited = np.minimum(np.minimum(2 * np.abs(before), 2 * np.abs(after)), 0.5 * np.abs(before + after))
        half_slope = np.where(before * after > 0, 0.5 * np.sign(before) * limited, 0.0)
        cells = padded[:, 1:-1]
        flux = self._flux((cells + half_slope)[:, :-1], (cells - half_slope)[:, 1:])
        return np.diff(flux, axis=1)

    def _flux(self, low: Array, high: Array) -> Array:
        """Return the flux between states of height and velocity on both sides of faces."""
        root_low, root_high = np.sqrt(low[0]), np.sqrt(high[0])
        wave_low, wave_high = np.sqrt(self.gravity) * root_low, np.sqrt(self.gravity) * root_high
        # Roe's averages
        velocity = (root_low * low[1] + root_high * high[1]) / (root_low + root_high)
        wave = np.sqrt(0.5 * self.gravity * (low[0] + high[0]))
        slowest = np.minimum(np.minimum(low[1] - wave_low, velocity - wave), 0.0)
        fastest = np.maximum(np.maximum(high[1] + wave_high, velocity + wave), 0.0)
        (state_low, flux_low), (state_high, flux_high) = (self._conserved(side) for side in (low, high))
        return np.asarray(
            (fastest * flux_low - slowest * flux_high + slowest * fastest * (state_high - state_low))
            / (fastest - slowest)
        )

    def _conserved(self, primitive: Array) -> tuple[Array, Array]:
        height, normal, along = primitive
        discharge = height * normal
        return (
            np.stack([height, discharge, height * along]),
            np.stack([discharge, discharge * normal + 0.5 * self.gravity * height * height, discharge * along]),
        )


def disc_in_cells(radius: float, edges: Array) -> Array:
    """Return which part of each cell of a square grid lies in a disc around the origin.

    Args:
        radius: Of the disc.
        edges: Of the cells, shape ``(points + 1,)``, evenly spaced, the same along both axes.

    Returns:
        Shape ``(points, points)``, between 0 and 1.
    """
    # the area of the disc in the rectangle from the origin to a corner, odd in both of the corner's coordinates
    x, y = np.broadcast_arrays(*(np.minimum(np.abs(part), radius) for part in (edges[:, None], edges[None, :])))
    full = np.minimum(np.sqrt(radius**2 - y**2), x)  # up to here the rectangle is in the disc

    def below_arc(to: Array) -> Array:
        return np.asarray(0.5 * (to * np.sqrt(radius**2 - to**2) + radius**2 * np.arcsin(to / radius)))

    area = np.sign(edges)[:, None] * np.sign(edges) * (full * y + below_arc(x) - below_arc(full))
    inside = np.diff(np.diff(area, axis=0), axis=1) / (edges[1] - edges[0]) ** 2
    return np.asarray(np.clip(inside, 0.0, 1.0))


def _pad(field: Array, walls: Walls) -> Array:
    """Return a field with two cells more at both ends of the first axis of space."""
    mode: dict[Walls, Literal["edge", "wrap", "symmetric"]]
    mode = {"outflow": "edge", "periodic": "wrap", "reflecting": "symmetric"}
    padded = np.pad(field, ((0, 0), (2, 2), (0, 0)), mode=mode[walls])
    if walls == "reflecting":
        padded[1, :2] *= -1
        padded[1, -2:] *= -1
    return padded
