"""Cells drawn by torch's own generator, for paths that serve one solve alone.

Torch draws a normal number in two thirds of the time that a hashed one takes. In return the numbers of a row depend on
the whole shape, so that such a path cannot be divided into rows, and each device has other numbers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.cells import Cells, Chunk, scales_of
from nde.solvers.brownian.keys import cell_key, seed_key

__all__ = ["StreamedCells"]

# normal numbers of a chunk: in a core's own cache, they are still there when they are used
_CHUNK_NUMBERS = 1 << 17
_MASK = 2**63 - 1


class StreamedCells(Cells):
    """The cells of a grid, each chunk of them drawn by a generator with a seed of its own.

    Args:
        grid: Times between the cells, increasing.
        seed: The path's seed.
        count: Numbers of an increment: 1, 2 or 3.
        shape: Shape of the path; its first axis is the rows.
        dtype: float32 or float64.
        device: Where the numbers are.
    """

    def __init__(
        self,
        grid: np.ndarray,
        seed: int,
        count: int,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._rows, self._columns = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
        super().__init__(grid, count, max(_CHUNK_NUMBERS // max(count * self._rows * self._columns, 1), 1))
        self._key = seed_key(seed)
        self._dtype = dtype
        self._device = device
        self._generator = torch.Generator(device)

    def _draw(self, index: int) -> Chunk:
        first, times = self._edges(index)
        cells = times.shape[0] - 1
        self._generator.manual_seed(cell_key(self._key, index) & _MASK)
        shape = (self.count, cells, self._rows, self._columns)
        values = torch.empty(shape, dtype=self._dtype, device=self._device)
        scales = scales_of(times, self.count)
        for row, scale in zip(values.unbind(0), scales, strict=True):
            least, most = float(scale.min()), float(scale.max())
            if most - least <= 1e-12 * most:  # one size of step but for the rounding of its sums
                row.normal_(0.0, most, generator=self._generator)
            else:
                widths = torch.from_numpy(scale).to(device=self._device, dtype=self._dtype)
                row.normal_(generator=self._generator).mul_(widths.view(-1, 1, 1))
        return Chunk(first, values, times)

    def cell_rows(self, keys: Tensor, lengths: np.ndarray) -> tuple[Tensor, ...]:
        """Raise TypeError: rows have no numbers of their own."""
        raise TypeError("a path that was drawn for one solve knows no times of single rows.")
