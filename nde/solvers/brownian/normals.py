"""Normal numbers without a generator: each is a pure function of a 64-bit key, its row and its column.

Torch's int64 arithmetic makes the bits, Box and Muller's transform the normals; nothing is stored, and a selection of
rows computes only its own. Cells and trees draw from here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.brownian.keys import GAMMA, mix_, signed
from nde.solvers.scratch import borrowed

__all__ = ["Normals"]

# about the number of elements whose temporaries stay in a core's own cache
_BLOCK = 1 << 16
# as in the keys: tensors are cheaper than Python numbers
_LOWER = torch.tensor(0xFFFFFFFF, dtype=torch.int64, device="cpu")
_UPPER = torch.tensor(32, dtype=torch.int64, device="cpu")


class _Buffers:
    """Memory for one block; lent, because memory fresh from the operating system is slow to touch."""

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.all = [torch.empty(size, dtype=torch.int64, device=device) for _ in range(2)]
        self.all += [torch.empty(size, dtype=dtype, device=device) for _ in range(3)]
        self.nbytes = sum(buffer.nbytes for buffer in self.all)


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
        self._block_size = max(_BLOCK, self.half)
        self.whole = rows is None
        self.rows = total_rows if rows is None else rows.shape[0]
        constants = (0.5, 2.0**-32, -2.0, math.pi * 2.0**-31)
        self._half_unit, self._unit, self._minus_two, self._angle_unit = (
            torch.tensor(constant, dtype=dtype, device="cpu") for constant in constants
        )
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
        if self.whole and keys.dim() == 1:
            memory = borrowed((_Buffers, self._block_size, self.dtype), self._new_buffers, self.device)
            with memory as buffers:
                for start in range(0, count, block):
                    self._fill_whole(keys[start : start + block], flat[start : start + block], buffers)
            return out
        fill = self._fill_whole_by_rows if self.whole else self._fill_selected
        for start in range(0, count, block):
            fill(keys[start : start + block], flat[start : start + block])
        return out

    def _new_buffers(self) -> _Buffers:
        return _Buffers(self._block_size, self.dtype, self.device)

    def _fill_whole(self, keys: Tensor, out: Tensor, buffers: _Buffers) -> None:
        shape = (keys.shape[0], self.half)
        size = shape[0] * shape[1]
        words, scratch, radius, angle, cosine = (buffer[:size].view(shape) for buffer in buffers.all)
        torch.add(keys.unsqueeze(1), self._offsets, out=words)
        self._polar_(words, scratch, radius, angle)
        torch.mul(radius, torch.cos(angle, out=cosine), out=out[:, : self.half])
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
        radius, angle = (torch.empty(words.shape, dtype=self.dtype, device=self.device) for _ in range(2))
        self._polar_(words, torch.empty_like(words), radius, angle)
        return radius, angle

    def _polar_(self, words: Tensor, scratch: Tensor, radius: Tensor, angle: Tensor) -> None:
        mix_(words, scratch)
        # the lower half, moved off zero: a number of (0, 1)
        radius.copy_(torch.bitwise_and(words, _LOWER, out=scratch)).add_(self._half_unit).mul_(self._unit)
        radius.log_().mul_(self._minus_two).sqrt_()
        # the upper half with its sign: an angle of [-pi, pi)
        angle.copy_(words.bitwise_right_shift_(_UPPER)).mul_(self._angle_unit)
