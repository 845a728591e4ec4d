"""Densities in the plane to draw samples from."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["DENSITIES", "entropy", "sample"]

_RADIUS, _COMPONENTS = 5.0, 6
_WIDTH = math.hypot(0.1, 0.3)  # of a Gaussian of width 0.1 with noise of 0.3
_CHECKERS = 4


def _gaussians(count: int, generator: torch.Generator) -> Tensor:
    """Six Gaussians on a circle, the mixture in the code of Pal et al. (2021)."""
    which = torch.randint(_COMPONENTS, (count,), generator=generator)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return _centres()[which] + _WIDTH * noise


def _moons(count: int, generator: torch.Generator) -> Tensor:
    """Two interleaving half circles with noise."""
    angle = math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    upper = torch.rand(count, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return 2 * (torch.stack([x - 0.5, y - 0.25], dim=1) + 0.1 * noise)


def _spirals(count: int, generator: torch.Generator) -> Tensor:
    """Two spirals with noise."""
    turns = torch.rand(count, generator=generator, dtype=torch.float64).sqrt() * 3 * math.pi
    side = torch.where(torch.rand(count, generator=generator) < 0.5, 1.0, -1.0).double()
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return torch.stack([-turns.cos() * turns, turns.sin() * turns], dim=1) * side[:, None] / 3 + 0.1 * noise


def _checkerboard(count: int, generator: torch.Generator) -> Tensor:
    """Uniform on the black squares of a board."""
    x = torch.rand(count, generator=generator, dtype=torch.float64) * _CHECKERS
    row = 2 * torch.randint(_CHECKERS // 2, (count,), generator=generator) + (x.floor().long() % 2)
    y = row + torch.rand(count, generator=generator, dtype=torch.float64)
    return 2 * torch.stack([x, y], dim=1) - _CHECKERS


DENSITIES: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "gaussians": _gaussians,
    "moons": _moons,
    "spirals": _spirals,
    "checkerboard": _checkerboard,
}


def sample(density: str, count: int, seed: int) -> Tensor:
    """Return samples of a density, shape ``(count, 2)``, float64."""
    return DENSITIES[density](count, torch.Generator().manual_seed(seed))


def entropy(density: str, points: Tensor) -> float | None:
    """Return the mean of the negative logarithm of a density over points, where it has a formula.

    No model of the density has a smaller one, but by the chance of these points.
    """
    if density == "checkerboard":
        return math.log(2 * _CHECKERS**2)  # half of the area of the board, (2 * _CHECKERS)^2 / 2
    if density != "gaussians":
        return None
    squares = (points[:, None] - _centres()).square().sum(-1) / _WIDTH**2
    normaliser = math.log(_COMPONENTS) + math.log(2 * math.pi * _WIDTH**2)
    return float(normaliser - torch.logsumexp(-squares / 2, dim=1).mean())


def _centres() -> Tensor:
    angles = torch.arange(_COMPONENTS, dtype=torch.float64) * (2 * math.pi / _COMPONENTS)
    return _RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)
