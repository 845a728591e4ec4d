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
        # of a row in the block: draw d is at place + d, up to a last d
        self._place, self._until = np.zeros((2, rows), dtype=np.int64)
        self._block: Tensor | None = None

    def fresh(self) -> RowDraws:
        """Return the same draws with nothing kept ahead."""
        return RowDraws(*self._arguments)

    def take(self, rows: Vector, draws: Vector) -> Tensor:
        """Return standard normal numbers.

        Args:
            rows: The rows that draw, shape ``(n,)``.
            draws: The number of each one's draw, which never gets less.

        Returns:
            Shape ``(count, n, columns)``.
        """
        if self._block is None or np.count_nonzero(draws >= self._until[rows]):
            self._block = self._filled(rows, draws)
        return self._block.index_select(1, torch.from_numpy(self._place[rows] + draws).to(self._device))

    def _filled(self, rows: Vector, draws: Vector) -> Tensor:
        """Return what these rows need now and next."""
        n = len(rows)
        at_once = max(min(_BLOCK // max(n * self._count * self._columns, 1), _MOST_AT_ONCE), 1)
        self._until[:] = 0
        self._until[rows] = draws + at_once
        self._place[rows] = np.arange(n) * at_once - draws
        places = torch.from_numpy(draws[:, None] + np.arange(at_once)).to(self._device)
        keys = node_keys(self._keys[torch.from_numpy(rows).to(self._device)].unsqueeze(1), places)
        numbers = self._normals.draw(keys.reshape(-1)).view(-1, self._count, self._columns)
        return numbers.transpose(0, 1).contiguous()
