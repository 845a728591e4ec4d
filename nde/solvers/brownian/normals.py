"""Normal numbers without a generator: each is a pure function of a 64-bit key, its row and its column.

Torch's int64 arithmetic makes the bits, Box and Muller's transform the normals; nothing is stored, and a selection of
rows computes only its own. Cells and trees draw from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

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
        self.all += [torch.empty(size, dtype=dtype, device=device) for _ in range(2)]
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

    def draw(self, keys: Tensor, scales: Tensor | None = None) -> Tensor:
        """Return normal numbers.

        Args:
            keys: int64, shape ``(count,)`` for keys that all rows share, or ``(count, rows)``.
            scales: Their standard deviations, of the shape of ``keys`` and the dtype of the numbers; default 1.

        Returns:
            Shape ``(count, rows, columns)``; nothing of it depends on what else is drawn in the same call.
        """
        count = keys.shape[0]
        out = torch.empty((count, self.rows, self.columns), dtype=self.dtype, device=self.device)
        shared = keys.dim() == 1
        width = self.half if self.whole and shared else self.rows * self.columns
        block = max(_BLOCK // max(width, 1), 1)

        def blocks() -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
            for start in range(0, count, block):
                part = slice(start, start + block)
                yield keys[part], out[part], None if scales is None else scales[part]

        if self.whole and shared:
            memory = borrowed((_Buffers, self._block_size, self.dtype), self._new_buffers, self.device)
            with memory as buffers:
                for part in blocks():
                    self._fill_whole(*part, buffers)
            return out
        fill = self._fill_whole_by_rows if self.whole else self._fill_selected
        for part in blocks():
            fill(*part)
        return out

    def _new_buffers(self) -> _Buffers:
        return _Buffers(self._block_size, self.dtype, self.device)

    def _fill_whole(self, keys: Tensor, out: Tensor, scales: Tensor | None, buffers: _Buffers) -> None:
        shape = (keys.shape[0], self.half)
        size = shape[0] * shape[1]
        words, scratch, radius, angle = (buffer[:size].view(shape) for buffer in buffers.all)
        torch.bitwise_xor(keys.unsqueeze(1), self._offsets, out=words)
        self._polar_(words, scratch, radius, angle)
        if scales is not None:
            radius.mul_(scales.unsqueeze(1))
        flat, second = out.view(shape[0], -1), self._sine_from
        torch.cos(angle, out=flat[:, : self.half]).mul_(radius)
        torch.mul(radius[:, :second], angle[:, :second].sin_(), out=flat[:, self.half :])

    def _fill_whole_by_rows(self, keys: Tensor, out: Tensor, scales: Tensor | None) -> None:
        count, second = keys.shape[0], self._sine_from
        flat = out.view(count, -1)

        def by_element(values: Tensor) -> Tensor:
            return values.unsqueeze(2).expand(-1, -1, self.columns).reshape(count, -1)

        words = by_element(keys)
        widths = None if scales is None else by_element(scales)
        for part, turn, offsets in (
            (slice(0, self.half), torch.cos, self._offsets),
            (slice(self.half, None), torch.sin, self._offsets[:second]),
        ):
            radius, angle = self._polar(words[:, part] ^ offsets)
            if widths is not None:
                radius.mul_(widths[:, part])
            torch.mul(radius, turn(angle), out=flat[:, part])

    def _fill_selected(self, keys: Tensor, out: Tensor, scales: Tensor | None) -> None:
        def by_element(values: Tensor) -> Tensor:
            return values[:, None, None] if values.dim() == 1 else values.unsqueeze(2)

        radius, angle = self._polar(by_element(keys) ^ self._offsets)
        if scales is not None:
            radius.mul_(by_element(scales))
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
