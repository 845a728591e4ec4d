"""Normal numbers without a generator: each is a pure function of a 64-bit key, its row and its column.

Torch's int64 arithmetic makes the bits, Box and Muller's transform the normals; nothing is stored, and a selection of
rows computes only its own. Cells and trees draw from here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.brownian.keys import GAMMA, mix_, signed

__all__ = ["Normals"]

# about the number of elements whose temporaries stay in a core's own cache
_BLOCK = 1 << 16


class Normals:
    """Draws the normal numbers of some rows of a batched path.

    The path's ``total_rows * columns`` elements are numbered row by row. Elements ``e`` and ``e + half`` share one
    64-bit hash of the key and ``e``: its halves give a radius and an angle, the first element takes the cosine, the
    second the sine. The largest number is 6.7 standard deviations (probability 2e-11), where a 32-bit uniform number
    ends.

    Args:
        total_rows: Rows of the whole path.
        columns: Elements of a row.
        rows: Numbers of the rows wanted, shape ``(rows,)``; None for all.
        dtype: float32 or float64.
        device: Where the numbers are wanted.
    """

    def __init__(
        self, total_rows: int, columns: int, rows: Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.columns = columns
        self.dtype = dtype
        self.device = device
        elements = total_rows * columns
        self.half = (elements + 1) // 2
        self.whole = rows is None
        self.rows = total_rows if rows is None else rows.shape[0]
        step = signed(GAMMA)
        if rows is None:
            self._sine_from = elements - self.half
            self._offsets = torch.arange(1, self.half + 1, dtype=torch.int64, device=device).mul_(step)
            return
        element = rows.to(device=device, dtype=torch.int64).unsqueeze(1) * columns
        element = element + torch.arange(columns, dtype=torch.int64, device=device)
        self._sine = element >= self.half
        self._offsets = torch.where(self._sine, element - self.half, element).add_(1).mul_(step)

    def draw(self, keys: Tensor) -> Tensor:
        """Return standard normal numbers.

        Args:
            keys: int64, shape ``(count,)`` for keys that all rows share, or ``(count, rows)``.

        Returns:
            Shape ``(count, rows, columns)``; nothing of it depends on what else is drawn in the same call.
        """
        count = keys.shape[0]
        out = torch.empty((count, self.rows, self.columns), dtype=self.dtype, device=self.device)
        if self.whole and keys.dim() == 1:
            flat, width = out.view(count, self.rows * self.columns), self.half
        else:
            flat, width = out, self.rows * self.columns
        block = max(_BLOCK // max(width, 1), 1)
        for start in range(0, count, block):
            part = slice(start, start + block)
            if self.whole and keys.dim() == 1:
                self._fill_whole(keys[part], flat[part])
            elif self.whole:
                self._fill_whole_by_rows(keys[part], flat[part])
            else:
                self._fill_selected(keys[part], flat[part])
        return out

    def _fill_whole(self, keys: Tensor, out: Tensor) -> None:
        radius, angle = self._polar(keys.unsqueeze(1) + self._offsets)
        torch.mul(radius, torch.cos(angle), out=out[:, : self.half])
        second = self._sine_from
        torch.mul(radius[:, :second], angle[:, :second].sin_(), out=out[:, self.half :])

    def _fill_whole_by_rows(self, keys: Tensor, out: Tensor) -> None:
        count, second = keys.shape[0], self._sine_from
        element_keys = keys.unsqueeze(2).expand(-1, -1, self.columns).reshape(count, -1)
        flat = out.view(count, -1)
        radius, angle = self._polar(element_keys[:, : self.half] + self._offsets)
        torch.mul(radius, angle.cos_(), out=flat[:, : self.half])
        radius, angle = self._polar(element_keys[:, self.half :] + self._offsets[:second])
        torch.mul(radius, angle.sin_(), out=flat[:, self.half :])

    def _fill_selected(self, keys: Tensor, out: Tensor) -> None:
        keys = keys[:, None, None] if keys.dim() == 1 else keys.unsqueeze(2)
        radius, angle = self._polar(keys + self._offsets)
        torch.mul(radius, torch.where(self._sine, angle.sin(), angle.cos()), out=out)

    def _polar(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Return radius and angle of Box and Muller's transform; overwrites ``words``, which are not hashed yet."""
        scratch = torch.empty_like(words)
        mix_(words, scratch)
        # the lower half, made odd so that it is not zero: a number of (0, 1)
        torch.bitwise_and(words, 0xFFFFFFFF, out=scratch)
        radius = scratch.to(self.dtype).add_(0.5).mul_(2.0**-32)
        radius = radius.log_().mul_(-2.0).clamp_min_(0.0).sqrt_()
        # the upper half with its sign: an angle of [-pi, pi)
        angle = words.bitwise_right_shift_(32).to(self.dtype).mul_(math.pi * 2.0**-31)
        return radius, angle
