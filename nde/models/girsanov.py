"""What an integral along a path, as one more state without noise, needs: a path that leaves it out, a safe quotient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nde.solvers.brownian import BrownianIncrement
from nde.solvers.sde.field import Path

__all__ = ["PaddedPath", "stable_division"]


class PaddedPath:
    """A path of a state with diagonal noise, as a flat one that has further entries without noise behind it.

    Args:
        path: The path.
        entries: Number of entries to add.
    """

    def __init__(self, path: Path, entries: int) -> None:
        self._path = path
        self._entries = entries

    def __call__(self, s: float, t: float) -> BrownianIncrement:
        """Return what happens from ``s`` to ``t``, each part of shape ``(size + entries,)``."""
        found = self._path(s, t)
        areas = (getattr(found, name, None) for name in ("h", "k"))
        padded = (None if area is None else self._padded(area) for area in areas)
        return BrownianIncrement(self._padded(found.w), *padded)

    def __getattr__(self, name: str) -> Any:
        # span, device and areas are those of the path; its shape is not
        if name in ("t0", "t1", "device", "levy_area", "nearby"):
            return getattr(self._path, name)
        raise AttributeError(name)

    def _padded(self, part: Tensor) -> Tensor:
        return torch.cat([part.reshape(-1), part.new_zeros(self._entries)])


def stable_division(numerator: Tensor, denominator: Tensor, floor: float) -> Tensor:
    """Return the quotient, with denominators below ``floor`` in modulus replaced by it, of the same sign.

    Zero counts as positive. The gradient reaches a denominator only where it was not replaced.
    """
    smallest = torch.copysign(torch.full_like(denominator, floor), denominator.detach())
    return numerator / torch.where(denominator.detach().abs() > floor, denominator, smallest)
