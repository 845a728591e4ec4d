"""The trees of Brownian bridges inside the cells: increments over any part of a cell.

A virtual Brownian tree (Jelincic, Foster, Kidger 2024): a node's normal numbers are a function of its key, so the path
is defined everywhere before anything is drawn. An increment is one weighted sum over the nodes on the ways to its two
ends, all drawn at once; the last ways are kept. The path asks it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.chen import root
from nde.solvers.brownian.keys import node_keys
from nde.solvers.brownian.normals import Normals
from nde.solvers.brownian.sums import GROUP, weighted_sum
from nde.solvers.brownian.weights import LEAF_BITS, Table, levels_of, row_weights, span_weights

__all__ = ["Tree", "quanta_of"]

# Ways kept: an adaptive solver begins where it ended, or tries again from where it began.
_WAYS = 4
# the place of a number is 4 times its node's, plus its component: room for three
_COMPONENTS = 4


def quanta_of(depth: int) -> int:
    """Return into how many quanta a cell is divided, given the levels of its tree."""
    return 1 << (depth + LEAF_BITS)


class Tree:
    """Draws increments over parts of cells.

    Args:
        depth: Levels of the tree below a cell.
        count: Numbers of an increment: 1, 2 or 3 for (w), (w, h), (w, h, k).
        normals: Draws the numbers of the rows.
    """

    def __init__(self, depth: int, count: int, normals: Normals) -> None:
        self.depth = depth
        self.count = count
        self.quanta = quanta_of(depth)
        self._normals = normals
        levels = np.arange(depth + 1, dtype=np.int64)
        self._levels = levels
        self._scales = 2.0 ** (-0.5 * levels)
        self._sizes = np.int64(1) << (depth + LEAF_BITS - levels)
        self._components = np.arange(count, dtype=np.int64)
        self._ways: list[tuple[int, int, Tensor]] = []

    def span(self, cell_key: int, cell: tuple[Tensor, ...], length: float, start: int, end: int) -> tuple[Tensor, ...]:
        """Return the numbers of a part of a cell.

        Args:
            cell_key: The cell's key.
            cell: Its own numbers, shapes ``(rows, columns)``.
            length: Its length.
            start, end: The part in quanta of the cell, ``start < end``.
        """
        weights = span_weights(start, end, self.depth, self.count, self._scales, self._sizes)
        parts: list[list[Tensor] | Tensor] = [self._mean(cell, weights.mean)]
        levels, start_levels = weights.end.shape[0], weights.start.shape[0]
        end_leaf, start_leaf = (end - 1) >> LEAF_BITS, start >> LEAF_BITS
        scale = root(length)
        if levels or start_levels:
            stop = weights.start_from + start_levels if start_levels else 0
            to_end, to_start = self._both(cell_key, end_leaf, levels, start_leaf, stop)
            if levels:
                parts.append(weighted_sum(to_end[:levels], self._tensor(weights.end * scale)))
            if start_levels:
                # whole groups, so that the order of the additions is that of a sum over all levels
                first = weights.start_from - weights.start_from % GROUP
                table = np.concatenate(
                    [np.zeros((weights.start_from - first, *weights.start.shape[1:])), weights.start]
                )
                parts.append(weighted_sum(to_start[first:stop], self._tensor(table * scale)))
        return self._total(parts)

    def span_rows(
        self,
        cell_keys: Tensor | int,
        cells: tuple[Tensor, ...],
        lengths: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
    ) -> tuple[Tensor, ...]:
        """Return the numbers of a part of a cell per row; each row's are those that ``span`` gives for it.

        Args:
            cell_keys: Each row's cell's key, int64, shape ``(rows,)``, or that of the only cell.
            cells: The cells' numbers, shapes ``(rows, columns)``.
            lengths: Their lengths, float64, shape ``(rows,)``.
            start, end: The parts in quanta, int64, shape ``(rows,)``, ``start < end``.
        """
        levels = levels_of(start, end, self.depth)
        weights = row_weights(start, end, self.depth, self.count, self._scales, self._sizes, levels)
        parts: list[list[Tensor] | Tensor] = [self._mean(cells, [self._columns(values) for values in weights.mean])]
        if levels:
            scale = root(lengths)
            level = self._levels[:levels, None]
            leaves = np.stack([(end - 1) >> LEAF_BITS, start >> LEAF_BITS])
            places = (leaves[:, None] >> (self.depth - level)) + (np.int64(1) << level)
            numbers = places[:, :, None] * _COMPONENTS + self._components[:, None]
            keys = node_keys(cell_keys, torch.from_numpy(numbers).to(self._normals.device))
            drawn = self._normals.draw(keys.flatten(0, 2)).unflatten(0, (2, levels, self.count))
            for way, table in zip(drawn, (weights.end, weights.start), strict=True):
                parts.append(weighted_sum(way, self._columns(table * scale)))
        return self._total(parts)

    def _columns(self, values: Any) -> Any:
        """Return numbers per row as columns."""
        column = torch.from_numpy(np.stack(values) if isinstance(values, list) else values).to(self._normals.dtype)
        return column.to(self._normals.device).unsqueeze(-1)

    def _mean(self, cell: tuple[Tensor, ...], table: Table) -> list[Tensor]:
        """Return the path's mean given the cell's numbers; a number weighs in those up to its own order."""
        values = []
        for value in range(self.count):
            total = cell[value] * table[value][value]
            for condition in range(value + 1, self.count):
                total += cell[condition] * table[condition][value]
            values.append(total)
        return values

    def _total(self, parts: list[list[Tensor] | Tensor]) -> tuple[Tensor, ...]:
        totals = list(parts[0])
        for part in parts[1:]:
            for value, total in enumerate(totals):
                total += part[value]
        return tuple(totals)

    def _tensor(self, weights: np.ndarray) -> Tensor:
        table = torch.from_numpy(weights).to(self._normals.dtype)
        return table.to(self._normals.device).unsqueeze(-1).unsqueeze(-1)

    def _both(
        self, cell_key: int, end_leaf: int, levels: int, start_leaf: int, start_levels: int
    ) -> tuple[Tensor, Tensor]:
        """Return the normals on the ways to two leaves, at least as many levels as asked for."""
        wanted = [(end_leaf, levels), (start_leaf, start_levels)]
        known: list[tuple[Tensor | None, int]] = []
        places = []
        for leaf, count in wanted:
            way, common = None, 0
            for key, other, kept in self._ways:
                if key == cell_key:
                    shared = min(self.depth - (leaf ^ other).bit_length() + 1, kept.shape[0], count)
                    if shared > common:
                        way, common = kept, shared
            known.append((way, common))
            places.append(self._places(leaf, common, count))
        # where both ways are new, the second begins as the first does
        fork = min(self.depth - (end_leaf ^ start_leaf).bit_length() + 1, levels, start_levels)
        if fork > known[1][1]:
            known[1] = (None, fork)
            places[1] = self._places(start_leaf, fork, start_levels)
        split = places[0].shape[0]
        numbers = np.concatenate(places)
        keys = node_keys(cell_key, torch.from_numpy(numbers.reshape(-1)).to(self._normals.device))
        drawn = self._normals.draw(keys).unflatten(0, (numbers.shape[0], self.count))
        ways: list[Tensor] = []
        for index, (way, common) in enumerate(known):
            leaf, count = wanted[index]
            if way is None and common:
                way = ways[0]
            if common == count:
                ways.append(drawn[:0] if way is None else way)
                continue
            new = drawn[split:] if index else drawn[:split]
            ways.append(new if way is None else torch.cat([way[:common], new]))
            self._ways.insert(0, (cell_key, leaf, ways[-1]))
        del self._ways[_WAYS:]
        return ways[0], ways[1]

    def _places(self, leaf: int, first: int, stop: int) -> np.ndarray:
        levels = self._levels[first:stop]
        nodes = (leaf >> (self.depth - levels)) + (np.int64(1) << levels)
        return nodes[:, None] * _COMPONENTS + self._components
