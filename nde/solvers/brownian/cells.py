"""The cells of a Brownian path: independent increments on a grid, drawn many at a time, and their sums.

Sums over many cells go over aligned blocks of 1, 2, 4, ... cells, so that a sum depends on its ends alone and costs the
logarithm of the number of cells once the blocks exist. The path asks it; trees divide the cells further.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.chen import join, join_weights, root
from nde.solvers.brownian.keys import cell_keys, node_keys
from nde.solvers.brownian.normals import Normals

__all__ = ["Cells", "Chunk", "HashedCells", "scales_of"]

# normal numbers of a chunk, 4 MiB of float64; smaller ones take their memory from the system again and again
_CHUNK_NUMBERS = 1 << 19
_CHUNKS = 4
_BLOCKS = 64
_VARIANCES = (1.0, 1 / 12, 1 / 720)


class Chunk:
    """The numbers of neighbouring cells.

    Attributes:
        first: Number of the first cell.
        values: Shape ``(count, cells, rows, columns)``; ``count`` is that of (w), (w, h) or (w, h, k).
        times: Between the cells.
    """

    def __init__(self, first: int, values: Tensor, times: np.ndarray) -> None:
        self.first = first
        self.values = values
        self.times = times
        self._version = values._version
        self._sums: list[tuple[Tensor, ...]] = [values.unbind(0)]

    @property
    def intact(self) -> bool:
        """Whether nobody has written to the numbers since they were drawn."""
        return self.values._version == self._version

    def block(self, level: int, index: int) -> tuple[Tensor, ...]:
        """Return the numbers of the ``index``-th aligned block of ``2 ** level`` cells of the chunk, all inside it."""
        while len(self._sums) <= level:
            below, width = self._sums[-1], 1 << (len(self._sums) - 1)
            pairs = below[0].shape[0] // 2
            edges = self.times[:: 2 * width][: pairs + 1]
            middles = self.times[width :: 2 * width][:pairs]
            fractions = (middles - edges[:-1]) / (edges[1:] - edges[:-1])
            weights = tuple(
                torch.from_numpy(weight).to(below[0]).reshape(-1, 1, 1)
                for weight in join_weights(fractions, len(below))
            )
            left = tuple(value[0 : 2 * pairs : 2] for value in below)
            right = tuple(value[1 : 2 * pairs : 2] for value in below)
            self._sums.append(join(left, right, weights))
        return tuple(value[index] for value in self._sums[level])


def scales_of(times: np.ndarray, count: int) -> np.ndarray:
    """Return the standard deviations of the numbers of cells between times, shape ``(count, cells)``."""
    scales: np.ndarray = np.sqrt(np.array(_VARIANCES[:count])[:, None] * (times[1:] - times[:-1]))
    return scales


class Cells(ABC):
    """The cells of a grid, drawn when they are asked for.

    Args:
        grid: Its times, increasing.
        count: Numbers of an increment: 1, 2 or 3.
        at_once: How many cells are drawn at once, about.
    """

    def __init__(self, grid: np.ndarray, count: int, at_once: int) -> None:
        self.grid = grid
        self.count = count
        self._bits = max(at_once.bit_length() - 1, 0)
        self._chunks: OrderedDict[int, Chunk] = OrderedDict()
        self._blocks: OrderedDict[tuple[int, int], tuple[Tensor, ...]] = OrderedDict()

    @abstractmethod
    def _draw(self, index: int) -> Chunk:
        """Return a chunk, which is a function of its number."""

    @abstractmethod
    def cell_rows(self, keys: Tensor, lengths: np.ndarray) -> tuple[Tensor, ...]:
        """Return the numbers of one cell per row, given keys and lengths of shape ``(rows,)``."""

    def _edges(self, index: int) -> tuple[int, np.ndarray]:
        """Return the number of a chunk's first cell and the times between its cells."""
        first = index << self._bits
        return first, self.grid[first : first + (1 << self._bits) + 1]

    def chunk(self, cell: int) -> Chunk:
        """Return the chunk with a cell in it."""
        index = cell >> self._bits
        chunk = self._chunks.get(index)
        if chunk is None or not chunk.intact:
            chunk = self._chunks[index] = self._draw(index)
            if len(self._chunks) > _CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(index)
        return chunk

    def cell(self, cell: int) -> tuple[Tensor, ...]:
        """Return the numbers of one cell, shapes ``(rows, columns)``."""
        chunk = self.chunk(cell)
        return chunk.values[:, cell - chunk.first].unbind(0)

    def span(self, first: int, last: int) -> tuple[Tensor, ...]:
        """Return the numbers of the cells from ``first`` up to, without, ``last``."""
        total: tuple[Tensor, ...] | None = None
        begin = first
        while first < last:
            level = (last - first).bit_length() - 1
            if first:
                level = min(level, (first & -first).bit_length() - 1)
            stop = first + (1 << level)
            block = self._block(level, first >> level)
            if total is None:  # a copy: the block is kept
                total = block if stop < last else tuple(value.clone() for value in block)
            else:
                total = join(total, block, self._join_weights(begin, first, stop))
            first = stop
        assert total is not None
        return total

    def _join_weights(self, first: int, middle: int, last: int) -> tuple[float, ...]:
        start = float(self.grid[first])
        return join_weights((float(self.grid[middle]) - start) / (float(self.grid[last]) - start), self.count)

    def _block(self, level: int, index: int) -> tuple[Tensor, ...]:
        if level <= self._bits:
            chunk = self.chunk(index << level)
            return chunk.block(level, index - (chunk.first >> level))
        block = self._blocks.get((level, index))
        if block is None:
            middle, half = (2 * index + 1) << (level - 1), 1 << (level - 1)
            weights = self._join_weights(middle - half, middle, middle + half)
            block = join(self._block(level - 1, 2 * index), self._block(level - 1, 2 * index + 1), weights)
            self._blocks[level, index] = block
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end((level, index))
        return block


class HashedCells(Cells):
    """The cells of a grid, whose numbers are functions of the path's key, their cell and their row.

    Args:
        grid: Its times, increasing.
        key: The path's key.
        count: Numbers of an increment: 1, 2 or 3.
        normals: Draws the numbers of the rows.
    """

    def __init__(self, grid: np.ndarray, key: int, count: int, normals: Normals) -> None:
        super().__init__(grid, count, _CHUNK_NUMBERS // max(count * normals.rows * normals.columns, 1))
        self._key = key
        self._normals = normals

    def cell_rows(self, keys: Tensor, lengths: np.ndarray) -> tuple[Tensor, ...]:
        """Return the numbers of one cell per row, given keys and lengths of shape ``(rows,)``."""
        components = torch.arange(self.count, device=keys.device).unsqueeze(1)
        scales = torch.from_numpy(np.stack([root(lengths * variance) for variance in _VARIANCES[: self.count]]))
        drawn = self._normals.draw(node_keys(keys, components), scales.to(self._normals.device, self._normals.dtype))
        return drawn.unbind(0)

    def _draw(self, index: int) -> Chunk:
        first, times = self._edges(index)
        cells, device = times.shape[0] - 1, self._normals.device
        keys = cell_keys(self._key, torch.arange(first, first + cells, device=device))
        components = torch.arange(self.count, device=device).unsqueeze(1)
        scales = torch.from_numpy(scales_of(times, self.count)).to(device=device, dtype=self._normals.dtype)
        drawn = self._normals.draw(node_keys(keys, components).reshape(-1), scales.reshape(-1))
        return Chunk(first, drawn.unflatten(0, (self.count, cells)), times)
