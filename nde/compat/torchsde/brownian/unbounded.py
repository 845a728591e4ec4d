"""Brownian motion on the whole time axis: one path per cell, the cells' lengths doubling with the distance.

Increments over cells that do not overlap are independent, so that each cell can have a seed of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.brownian import BrownianPath

__all__ = ["UnboundedPath"]

# leaves of the first cell, which is one unit of time long; further out, as deep as a path goes
_LEAF = 2.0**-22


class UnboundedPath:
    """Answers for any two times.

    Cell 0 is ``[0, 1]``, cell ``k`` is ``[2 ** (k - 1), 2 ** k]``, counted from ``t0`` in either direction.

    Args:
        t0: Where the cells begin.
        shape, dtype, device: Those of an increment.
        seed: Not negative.
    """

    def __init__(self, t0: float, shape: tuple[int, ...], seed: int, dtype: torch.dtype, device: torch.device) -> None:
        self.t0 = t0
        self._shape = shape
        self._seed = seed
        self._dtype = dtype
        self._device = device
        self._cells: dict[tuple[bool, int], BrownianPath] = {}

    def __call__(self, s: float, t: float) -> Tensor:
        """Return the increment from ``s`` to ``t``, ``s < t``, both finite."""
        start, end = s - self.t0, t - self.t0
        if start >= 0:
            return self._outwards(False, start, end)
        if end <= 0:
            return -self._outwards(True, -end, -start)
        return self._outwards(False, 0.0, end) - self._outwards(True, 0.0, -start)

    def _outwards(self, before: bool, start: float, end: float) -> Tensor:
        """Return the increment between two distances from ``t0``, ``start < end``, on one side of it."""
        first, last = _cell(start), _last_cell(end)
        total: Tensor | None = None
        for index in range(first, last + 1):
            left, right = _ends(index)
            path = self._cell_path(before, index)
            part = path(max(start, left), min(end, right)).w
            total = part if total is None else total + part
        assert total is not None
        return total

    def _cell_path(self, before: bool, index: int) -> BrownianPath:
        path = self._cells.get((before, index))
        if path is None:
            # the seeds of two cells differ in their upper bits
            seed = ((2 * index + before + 1) << 64) + self._seed
            path = BrownianPath(
                *_ends(index), self._shape, seed=seed, dtype=self._dtype, device=self._device, tol=_LEAF
            )
            self._cells[before, index] = path
        return path


def _cell(distance: float) -> int:
    """Return the cell that begins at a distance or before it."""
    return 0 if distance < 1.0 else math.frexp(distance)[1]


def _last_cell(distance: float) -> int:
    """Return the cell that ends at a distance or after it."""
    index = _cell(distance)
    return index - 1 if index and distance == _ends(index)[0] else index


def _ends(index: int) -> tuple[float, float]:
    return (2.0 ** (index - 1), 2.0**index) if index else (0.0, 1.0)
