"""Normal numbers of rows that draw one after the other, each at its own pace.

Number ``d`` of a row is a function of the seed, the row and ``d``: neither the other rows nor what was drawn before
change it. `nde.solvers.brownian.row_pieces` draws from here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.keys import cell_keys, node_keys, seed_key
from nde.solvers.brownian.normals import Normals

__all__ = ["RowDraws"]

Vector = np.ndarray

# numbers drawn at once: small increments cost more calls than numbers
_BLOCK = 1 << 14
_MOST_AT_ONCE = 32


class RowDraws:
    """Draws of rows, which are kept ahead of their use.

    Args:
        rows: Number of all rows.
        count, columns: A draw is of this shape.
        seed: An integer.
        dtype: float32 or float64.
        device: Where the numbers are.
    """

    def __init__(
        self, rows: int, count: int, columns: int, seed: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._arguments = (rows, count, columns, seed, dtype, device)
        self._count, self._columns, self._device = count, columns, device
        self._normals = Normals(1, count * columns, None, dtype, device)
        self._keys = cell_keys(seed_key(seed), torch.arange(rows, device=device))
        self._place = np.full(rows, -1)  # of the rows in the block
        self._first = np.zeros(rows, dtype=np.int64)  # their first draws there
        self._at_once = 0
        self._block: Tensor | None = None

    def fresh(self) -> RowDraws:
        """Return the same draws with nothing kept ahead."""
        return RowDraws(*self._arguments)

    def take(self, rows: Vector, draws: Vector) -> Tensor:
        """Return standard normal numbers.

        Args:
            rows: The rows that draw, shape ``(n,)``.
            draws: The number of each one's draw.

        Returns:
            Shape ``(count, n, columns)``.
        """
        offset = draws - self._first[rows]
        places = self._place[rows]
        outside = (offset >= self._at_once) | (offset < 0) | (places < 0)
        if self._block is None or np.count_nonzero(outside):
            self._fill(rows, draws)
            places, offset = np.arange(len(rows)), np.zeros_like(offset)
        assert self._block is not None
        flat = torch.from_numpy(places * self._at_once + offset).to(self._device)
        return self._block.index_select(1, flat)

    def _fill(self, rows: Vector, draws: Vector) -> None:
        """Draw for these rows what they need now and next."""
        n = len(rows)
        self._at_once = max(min(_BLOCK // max(n * self._count * self._columns, 1), _MOST_AT_ONCE), 1)
        self._place[:] = -1
        self._place[rows] = np.arange(n)
        self._first[rows] = draws
        places = torch.from_numpy(draws[:, None] + np.arange(self._at_once)).to(self._device)
        keys = node_keys(self._keys[torch.from_numpy(rows).to(self._device)].unsqueeze(1), places)
        numbers = self._normals.draw(keys.reshape(-1)).view(-1, self._count, self._columns)
        self._block = numbers.transpose(0, 1).contiguous()
