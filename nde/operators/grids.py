"""Where the values of a field are known: uniform grids; clouds of points and the sphere have files of their own.

Layers read from a grid what they need of it (spacing, quadrature weights, walls) at every call: nothing about a
resolution is stored in a layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nde.checks import check_choice
from nde.operators.checks import check_flags, check_numbers
from nde.operators.constants import kept

__all__ = ["Centering", "Grid", "UniformGrid", "per_axis"]

Centering = Literal["cells", "vertices"]


class Grid:
    """Where the values of a field are known: the last axes of a tensor ``(*batch, channels, *shape)``.

    Attributes:
        coordinates: How many coordinates a position has; None where it depends on the number of axes.
    """

    coordinates: int | None = None

    def axes(self, dims: int) -> int:
        """Return how many trailing axes of a field's tensor belong to the grid.

        Args:
            dims: Dimension of the domain that the asking layer was made for.

        Raises:
            ValueError: The grid has another dimension.
        """
        raise NotImplementedError

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless a field of this shape can live here."""
        raise NotImplementedError

    def positions(self, shape: tuple[int, ...]) -> Tensor:
        """Return where the values of a field of this shape are, shape ``(coordinates, *shape)``, float64."""
        raise NotImplementedError


def per_axis(value: float | Sequence[float], dims: int, name: str) -> tuple[float, ...]:
    """Return a setting for each axis, given one for all or one for each.

    Raises:
        ValueError: There are more or fewer than axes.
    """
    values = (value,) * dims if isinstance(value, (int, float)) else tuple(value)
    if len(values) != dims:
        raise ValueError(f"{name} has {len(values)} entries, but the domain has {dims} axes. Give one for each axis.")
    return values


@dataclass(frozen=True)
class UniformGrid(Grid):
    """A box with evenly spaced points, in as many dimensions as the layer has.

    The number of points is that of the field, so that one `UniformGrid` serves every resolution of its box.

    Args:
        lengths: Side lengths of the box; one number for a square box.
        periodic: Which axes are periodic; one flag for all.
        centering: On axes with walls, ``"cells"`` has ``N`` points in the middle of ``N`` cells; ``"vertices"`` has the
            first and the last point on the walls. Periodic axes have ``N`` cells either way: no point is there twice.
        origin: Corner of the box with the lowest coordinates; one number for all axes.

    Raises:
        TypeError: A length or the origin is no number, or ``periodic`` neither True nor False.
        ValueError: A length is not positive, the origin not finite or the centering unknown.
    """

    lengths: float | tuple[float, ...] = 1.0
    periodic: bool | tuple[bool, ...] = False
    centering: Centering = "cells"
    origin: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        check_choice(self.centering, ("cells", "vertices"), "centering")
        for name in ("lengths", "periodic", "origin"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check_numbers(self.lengths, "lengths", positive=True)
        check_numbers(self.origin, "origin")
        check_flags(self.periodic, "periodic")

    def axes(self, dims: int) -> int:
        """See `Grid.axes`."""
        for name in ("lengths", "periodic", "origin"):
            per_axis(getattr(self, name), dims, name)
        return dims

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Grid.check`."""
        if min(shape) < 2:
            raise ValueError(f"a field on a uniform grid needs two points along each axis, but has shape {shape}.")

    def sides(self, dims: int) -> tuple[float, ...]:
        """Return the side length along each axis."""
        return per_axis(self.lengths, dims, "lengths")

    def wraps(self, dims: int) -> tuple[bool, ...]:
        """Return which axes are periodic."""
        return tuple(bool(flag) for flag in per_axis(self.periodic, dims, "periodic"))

    def spacing(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Return the distance of neighbouring points along each axis."""
        return tuple(
            length / (count - 1 if self.centering == "vertices" and not wraps else count)
            for length, count, wraps in zip(self.sides(len(shape)), shape, self.wraps(len(shape)), strict=True)
        )

    def halved_walls(self, dims: int) -> tuple[bool, ...]:
        """Return along which axes the outermost points stand on walls, so that only half of their cell is inside."""
        return tuple(self.centering == "vertices" and not wraps for wraps in self.wraps(dims))

    def positions(self, shape: tuple[int, ...]) -> Tensor:
        """See `Grid.positions`."""
        dims = len(shape)
        shift = 0.5 if self.centering == "cells" else 0.0
        axes = [
            start + (torch.arange(count, dtype=torch.float64) + shift) * step
            for start, count, step in zip(
                per_axis(self.origin, dims, "origin"), shape, self.spacing(shape), strict=True
            )
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))

    def weights(self, shape: tuple[int, ...]) -> Tensor:
        """Return the measure of the part of the box that each point stands for, shape ``shape``, float64."""
        weights = torch.full(shape, math.prod(self.spacing(shape)), dtype=torch.float64)
        for axis, halved in enumerate(self.halved_walls(len(shape))):
            if halved:
                view = [1] * len(shape)
                view[axis] = shape[axis]
                weights = weights * trapezoid(shape[axis]).view(view)
        return weights


@kept(64)
def trapezoid(count: int) -> Tensor:
    """Return the weights 1/2, 1, ..., 1, 1/2."""
    with torch.inference_mode(False):  # what is kept must also serve training
        weights = torch.ones(count, dtype=torch.float64)
        weights[0] = weights[-1] = 0.5
        return weights
