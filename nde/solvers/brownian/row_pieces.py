"""Stretches of a Brownian path, for each row its own: drawn, cut and joined as the queries of the row need it.

What a row's stretches are is a function of its queries and of their order alone, so that the queries can be run again.
All bookkeeping is done on host vectors for all rows at once. `nde.solvers.brownian.row_walk` keeps the queries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.chen import join, join_weights
from nde.solvers.brownian.cut import VARIANCES, cut_weights
from nde.solvers.brownian.row_draws import RowDraws

__all__ = ["NEAR", "RowPieces", "Saved"]

Vector = np.ndarray

#: places this near to each other are one
NEAR = 2
_NEVER = np.iinfo(np.int64).max >> 1  # a place behind all others
_CAPACITY = 4  # pieces of a row that there is memory for, to begin with


class Saved(NamedTuple):
    """The pieces as they were between two queries."""

    tables: tuple[Vector, ...]
    flat: Vector
    values: Tensor
    keeps_all: bool


class RowPieces:
    """Pieces of time of each row, without gaps, and the numbers (w, h, k) of each.

    Args:
        quantum: The unit of each row's time, positive, shape ``(rows,)``; places are whole numbers of it from 0 on.
        draws: Where the rows draw; its shape says how many of (w, h, k) there are.
        count, columns: Numbers of a piece: how many of (w, h, k), and how many entries of each.
        dtype, device: Of the numbers.
        keeps_all: Whether pieces that the queries have left behind are kept.
    """

    def __init__(
        self,
        quantum: Vector,
        draws: RowDraws,
        count: int,
        columns: int,
        dtype: torch.dtype,
        device: torch.device,
        keeps_all: bool = False,
    ) -> None:
        rows = len(quantum)
        self._quantum, self._draws, self._count, self._columns = quantum, draws, count, columns
        self._dtype, self._device = dtype, device
        self._keeps_all = keeps_all
        # piece i of a row lies between knots i and i + 1; unused knots are never
        self.knots = np.full((rows, _CAPACITY + 1), _NEVER)
        self.knots[:, 0] = 0
        # numbers of the queries that made the knots
        self.born = np.zeros_like(self.knots)
        # where the numbers of a piece are; behind those in use, the free ones
        self._slots = np.tile(np.arange(_CAPACITY), (rows, 1))
        self._number = np.zeros(rows, dtype=np.int64)
        self._before = np.zeros(rows, dtype=np.int64)  # where the last query began
        self._drawn = np.zeros(rows, dtype=np.int64)
        self._values = torch.zeros(count, rows * _CAPACITY, columns, dtype=dtype, device=device)

    def advance(self, rows: Vector, first: Vector, last: Vector, query: int) -> tuple[Tensor, Vector, Vector]:
        """Return the numbers of an interval of each row, after drawing and cutting what it takes.

        Args:
            rows: The rows, increasing.
            first, last: Places of the intervals' ends, ``first < last``.
            query: The number of the query.

        Returns:
            Numbers of shape ``(count, len(rows), columns)``, and the places of the knots that were taken for the ends.
        """
        self._forget(rows, first)
        begin, end = self._knot(rows, first, query), self._knot(rows, last, query)
        values = self._joined(rows, begin, end)
        return values, self.knots[rows, begin], self.knots[rows, end]

    def first_kept(self, rows: Vector) -> Vector:
        """Return the places from which on the pieces are kept."""
        return self.knots[rows, 0]

    def youngest(self, rows: Vector, first: Vector, last: Vector) -> Vector | None:
        """Return the last query that made an end of each interval; -1 where an end is no knot; None if none is."""
        knots = self.knots[rows]
        at_last = np.abs(knots - last[:, None]) <= NEAR
        if not np.count_nonzero(at_last):
            return None
        at_first = np.abs(knots - first[:, None]) <= NEAR
        born = self.born[rows]
        both = at_last.any(1) & at_first.any(1)
        return np.where(both, np.where(at_first | at_last, born, -1).max(1), -1)

    def saved(self) -> Saved:
        """Return a copy of the pieces."""
        rows, capacity = self._slots.shape
        used = np.arange(capacity) < self._number[:, None]
        flat = (np.arange(rows)[:, None] * capacity + self._slots)[used]
        tables = (self.knots, self.born, self._slots, self._number, self._before, self._drawn)
        copies = tuple(table.copy() for table in tables)
        return Saved(copies, flat, self._values.index_select(1, self._index(flat)), self._keeps_all)

    def restored(self, saved: Saved) -> RowPieces:
        """Return the pieces that were saved, which go on by themselves."""
        pieces = RowPieces(
            self._quantum, self._draws.fresh(), self._count, self._columns, self._dtype, self._device, saved.keeps_all
        )
        tables = (table.copy() for table in saved.tables)
        pieces.knots, pieces.born, pieces._slots, pieces._number, pieces._before, pieces._drawn = tables
        size = pieces._slots.size
        pieces._values = torch.zeros(self._count, size, self._columns, dtype=self._dtype, device=self._device)
        pieces._values.index_copy_(1, self._index(saved.flat), saved.values)
        return pieces

    def keeping_all(self) -> RowPieces:
        """Return pieces before any query, which will all be kept."""
        return RowPieces(
            self._quantum, self._draws.fresh(), self._count, self._columns, self._dtype, self._device, keeps_all=True
        )

    def _forget(self, rows: Vector, first: Vector) -> None:
        """Let pieces go that end before the last query and this one begin: rejected steps begin again there."""
        keep_from = np.minimum(self._before[rows], first)
        self._before[rows] = first
        if self._keeps_all:
            return
        past = (self.knots[rows, 1:] <= keep_from[:, None]).sum(1)
        if not np.count_nonzero(past):
            return
        if np.count_nonzero(past) < len(rows):
            some = past > 0
            rows, past = rows[some], past[some]
        capacity = self._slots.shape[1]
        source = np.arange(capacity + 1) + past[:, None]
        # the last knot is never: there is always room for one piece more
        knots = np.minimum(source, capacity)
        self.knots[rows] = np.take_along_axis(self.knots[rows], knots, 1)
        self.born[rows] = np.take_along_axis(self.born[rows], knots, 1)
        self._slots[rows] = np.take_along_axis(self._slots[rows], source[:, :-1] % capacity, 1)
        self._number[rows] -= past

    def _knot(self, rows: Vector, place: Vector, query: int) -> Vector:
        """Return the number of the knot at a place of each row; make one where there is none."""
        if int(self._number[rows].max()) + 2 > self._slots.shape[1]:
            self._grow()
        knots = self.knots[rows]
        index: Vector = (knots < (place - NEAR)[:, None]).sum(1)
        there = knots[np.arange(len(rows)), index] <= place + NEAR
        met = np.count_nonzero(there)
        if not met:
            self._cut(rows, place, index, knots, query)
        elif met < len(rows):
            new = ~there
            self._cut(rows[new], place[new], index[new], knots[new], query)
        return index

    def _cut(self, rows: Vector, place: Vector, index: Vector, knots: Vector, query: int) -> None:
        """Make knots: behind the last piece by a new one, inside a piece by cutting it."""
        n, (_, capacity) = len(rows), self._slots.shape
        line, number = np.arange(n), self._number[rows]
        piece = index - 1
        beyond = piece == number
        numbers = self._draws.take(rows, self._drawn[rows])
        self._drawn[rows] += 1
        slots = self._slots[rows]
        new = slots[line, number]
        start, quantum = knots[line, piece], self._quantum[rows]
        length = (place - start) * quantum
        flat = self._index(rows * capacity + new)
        if np.count_nonzero(beyond) == n:
            scales = np.sqrt(np.array(VARIANCES[: self._count])[:, None] * length)
            self._values.index_copy_(1, flat, numbers * self._tensor(scales).unsqueeze(2))
        else:
            rest = np.where(beyond, length, (knots[line, index] - place) * quantum)
            weights = cut_weights(length, rest, self._count)
            if np.count_nonzero(beyond):
                scales = np.sqrt(np.array(VARIANCES[: self._count])[:, None] * length[beyond])
                weights[:, :, beyond] = 0.0
                for order in range(self._count):
                    weights[order, self._count + order, beyond] = scales[order]
            old = self._index(rows * capacity + slots[line, piece])
            numbers = torch.cat([self._values.index_select(1, old), numbers])
            # an order of the sum that does not depend on the number of rows
            factors = self._tensor(weights).unsqueeze(3)
            parts = factors[:, 0] * numbers[0]
            for column in range(1, 2 * self._count):
                parts.addcmul_(factors[:, column], numbers[column])
            # where there is nothing to cut, the old slot is the new one, and is written to again
            self._values.index_copy_(1, old, parts[self._count :])
            self._values.index_copy_(1, flat, parts[: self._count])
        position = np.arange(capacity + 1)
        behind = position > index[:, None]
        source = position - behind
        knots = np.take_along_axis(knots, source, 1)
        knots[line, index] = place
        self.knots[rows] = knots
        born = np.take_along_axis(self.born[rows], source, 1)
        born[line, index] = query
        self.born[rows] = born
        moved = behind[:, 1:] & (position[:-1] <= number[:, None])
        slots = np.take_along_axis(slots, position[:-1] - moved, 1)
        slots[line, piece] = new
        self._slots[rows] = slots
        self._number[rows] += 1

    def _joined(self, rows: Vector, begin: Vector, end: Vector) -> Tensor:
        """Return the numbers between two knots of each row."""
        rows_flat = rows * self._slots.shape[1]
        values = self._values.index_select(1, self._index(rows_flat + self._slots[rows, begin]))
        parts = end - begin
        if not int(parts.min()):  # of no length
            values.index_fill_(1, self._index(np.flatnonzero(parts == 0)), 0.0)
        for part in range(1, int(parts.max())):
            more = np.flatnonzero(parts > part)
            own, at = rows[more], begin[more]
            start, middle, stop = (self.knots[own, place] for place in (at, at + part, at + part + 1))
            index = self._index(more)
            left = values.index_select(1, index).unbind(0)
            slots = self._index(rows_flat[more] + self._slots[own, at + part])
            right = self._values.index_select(1, slots).unbind(0)
            weights = join_weights((middle - start) / (stop - start), self._count)
            factors = self._tensor(np.stack(weights)).unsqueeze(2).unbind(0) if weights else ()
            values.index_copy_(1, index, torch.stack(join(left, right, factors)))
        return values

    def _grow(self) -> None:
        """Make room for more pieces."""
        rows, capacity = self._slots.shape
        self.knots = np.concatenate([self.knots, np.full((rows, capacity), _NEVER)], 1)
        self.born = np.concatenate([self.born, np.zeros((rows, capacity), dtype=np.int64)], 1)
        more = np.tile(np.arange(capacity, 2 * capacity), (rows, 1))
        self._slots = np.concatenate([self._slots, more], 1)
        values = self._values.unflatten(1, (rows, capacity))
        self._values = torch.cat([values, torch.zeros_like(values)], 2).flatten(1, 2)

    def _index(self, index: Vector) -> Tensor:
        return torch.from_numpy(index).to(self._device)

    def _tensor(self, values: Vector) -> Tensor:
        return torch.from_numpy(values).to(device=self._device, dtype=self._dtype)
