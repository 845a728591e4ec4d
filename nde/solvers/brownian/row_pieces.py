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

__all__ = ["NEAR", "Look", "RowPieces", "Saved"]

Vector = np.ndarray

#: places this near to each other are one
NEAR = 2
_NEVER = np.iinfo(np.int64).max >> 1  # a place behind all others
_CAPACITY = 8  # knots of a row that there is memory for, to begin with; a power of two
# columns of the table of knots: the place, the query that made it, and where the numbers of the piece before it are
_PLACE, _BORN, _SLOT = range(3)


class Look(NamedTuple):
    """Where intervals of rows lie among the knots.

    Attributes:
        rows: The rows, increasing.
        first, last: Places of the intervals' ends.
        table: The knots of these rows, shape ``(len(rows), knots, 3)``; not to be written to.
        begin, end: Numbers of the first knots that are not before ``first`` and ``last``.
        at_first, at_last: Whether these are at ``first`` and ``last``.
    """

    rows: Vector
    first: Vector
    last: Vector
    table: Vector
    begin: Vector
    end: Vector
    at_first: Vector
    at_last: Vector


class Saved(NamedTuple):
    """The pieces as they were between two queries."""

    table: Vector
    counts: tuple[Vector, ...]
    flat: Vector
    values: Tensor
    keeps_all: bool


class RowPieces:
    """Pieces of time of each row, without gaps, and the numbers (w, h, k) of each.

    Args:
        quantum: The unit of each row's time, positive, shape ``(rows,)``; places are whole numbers of it from 0 on.
        draws: Where the rows draw.
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
        self._dtype, self._device, self._on_host = dtype, device, device.type == "cpu"
        self._keeps_all = keeps_all
        # knots in their order; those behind the last one are never, and their slots are free
        self._table = np.zeros((rows, _CAPACITY, 3), dtype=np.int64)
        self._table[:, 1:, _PLACE] = _NEVER
        self._table[:, :, _SLOT] = np.arange(_CAPACITY)
        # number of pieces, knot at which the last query began, number of draws
        self._number, self._at, self._drawn = np.zeros((3, rows), dtype=np.int64)
        self._variances = np.array(VARIANCES[:count])[:, None]
        self._values = self._zeros(rows * _CAPACITY + 1)  # the last one is for what nobody needs

    def look(self, rows: Vector, first: Vector, last: Vector) -> Look:
        """Return where intervals lie, ``first < last``."""
        table = self._table if len(rows) == len(self._table) else self._table[rows]
        knots, line = table[:, :, _PLACE], np.arange(len(rows))
        begin, end = (knots < (np.stack([first, last]) - NEAR)[:, :, None]).sum(2)
        at_first, at_last = knots[line, begin] <= first + NEAR, knots[line, end] <= last + NEAR
        return Look(rows, first, last, table, begin, end, at_first, at_last)

    def youngest(self, look: Look) -> Vector:
        """Return the last query that made an end of each interval; -1 where an end is no knot."""
        born, line = look.table[:, :, _BORN], np.arange(len(look.rows))
        return np.where(look.at_first & look.at_last, np.maximum(born[line, look.begin], born[line, look.end]), -1)

    def advance(self, look: Look, query: int) -> Tensor:
        """Return the numbers of intervals, after drawing and cutting what it takes.

        Args:
            look: The intervals, as the pieces are now.
            query: The number of the query.

        Returns:
            Shape ``(count, len(rows), columns)``.
        """
        if np.count_nonzero(look.at_first) < len(look.rows):
            new = np.flatnonzero(~look.at_first)
            none = np.zeros_like(new)
            self._make_knots(look.rows[new], look.first[new], look.table[new], look.begin[new], query, none)
            look = self.look(look.rows, look.first, look.last)
        rows, table, begin, end = look.rows, look.table, look.begin, look.end
        if not self._keeps_all:
            # rejected steps begin again where the last query began; what lies before that and this one may go
            past = np.where(look.at_last, 0, np.minimum(self._at[rows], begin))
            begin, end = begin - past, end - past
        else:
            past = np.zeros_like(begin)
        self._at[rows] = begin
        met = np.count_nonzero(look.at_last)
        made: Tensor | None = None
        if not met:
            table, made = self._make_knots(rows, look.last, table, end, query, past)
        elif met < len(rows):
            new = np.flatnonzero(~look.at_last)
            self._make_knots(rows[new], look.last[new], table[new], end[new], query, past[new])
            table = self._table[rows]
        return self._joined(rows, table, begin, end, made)

    def saved(self) -> Saved:
        """Return a copy of the pieces."""
        rows, capacity, _ = self._table.shape
        knots = np.arange(capacity)
        used = (knots > 0) & (knots <= self._number[:, None])
        flat = (np.arange(rows)[:, None] * capacity + self._table[:, :, _SLOT])[used]
        counts = (self._number.copy(), self._at.copy(), self._drawn.copy())
        return Saved(self._table.copy(), counts, flat, self._values.index_select(1, self._index(flat)), self._keeps_all)

    def restored(self, saved: Saved) -> RowPieces:
        """Return the pieces that were saved, which go on by themselves."""
        pieces = self._anew(saved.keeps_all)
        pieces._table = saved.table.copy()
        pieces._number, pieces._at, pieces._drawn = (count.copy() for count in saved.counts)
        pieces._values = self._zeros(saved.table.shape[0] * saved.table.shape[1] + 1)
        pieces._values.index_copy_(1, self._index(saved.flat), saved.values)
        return pieces

    def keeping_all(self) -> RowPieces:
        """Return pieces before any query, which will all be kept."""
        return self._anew(keeps_all=True)

    def _anew(self, keeps_all: bool) -> RowPieces:
        return RowPieces(
            self._quantum, self._draws.fresh(), self._count, self._columns, self._dtype, self._device, keeps_all
        )

    def _make_knots(
        self, rows: Vector, place: Vector, table: Vector, index: Vector, query: int, past: Vector
    ) -> tuple[Vector, Tensor]:
        """Make a knot in each row: behind the last piece by a new one, inside a piece by cutting it.

        Args:
            rows: The rows.
            place: Where.
            table: Their knots.
            index: The numbers of the new knots, less those that go.
            query: The number of the query.
            past: How many knots at the beginning go.

        Returns:
            The new table, and the numbers of the pieces before the new knots, shape ``(count, len(rows), columns)``.
        """
        number = self._number[rows] - past
        if int(number.max()) + 2 >= table.shape[1]:
            self._grow()
            table = self._table[rows]
        n, capacity = len(rows), table.shape[1]
        knots, start = np.arange(capacity), np.arange(n) * capacity
        free, of_index = (number + 1)[:, None], index[:, None]
        behind = knots > free
        source = knots - ((knots > of_index) ^ behind)
        at = start + index
        source.ravel()[at] = number + 1
        source += past[:, None]
        source &= capacity - 1
        source += start[:, None]
        table = table.reshape(-1, 3).take(source, 0)
        table[:, :, _PLACE][behind] = _NEVER
        flat = table.reshape(-1, 3)
        flat[at, _PLACE] = place
        flat[at, _BORN] = query
        if len(rows) == len(self._table):
            self._table = table
        else:
            self._table[rows] = table
        self._number[rows] = number + 1
        return table, self._make_pieces(rows, flat, at, rows * capacity, index > number)

    def _make_pieces(self, rows: Vector, flat: Vector, at: Vector, base: Vector, beyond: Vector) -> Tensor:
        """Draw the pieces before new knots, and cut those that they lie in; return the numbers before the knots.

        Args:
            rows: The rows.
            flat: Their knots, row after row.
            at: Where the new ones are in it.
            base: Where the slots of each row begin.
            beyond: Which rows had no piece there.
        """
        drawn = self._drawn[rows]
        fresh = self._draws.take(rows, drawn)
        self._drawn[rows] = drawn + 1
        here, quantum = flat[at], self._quantum[rows]
        new = base + here[:, _SLOT]
        length = (here[:, _PLACE] - flat[at - 1, _PLACE]) * quantum
        n, count = len(rows), self._count
        if np.count_nonzero(beyond) == n:
            made = fresh * self._tensor(np.sqrt(self._variances * length)).unsqueeze(2)
            self._values.index_copy_(1, self._index(new), made)
            return made
        after = flat[at + 1]
        rest = np.where(beyond, length, (after[:, _PLACE] - here[:, _PLACE]) * quantum)
        weights = cut_weights(length, rest, count)
        if np.count_nonzero(beyond):
            weights *= ~beyond
            scales = np.sqrt(self._variances * length) * beyond
            for order in range(count):
                weights[order, count + order] += scales[order]
        old = np.where(beyond, self._values.shape[1] - 1, base + after[:, _SLOT])
        whole = self._values.index_select(1, self._index(old))
        weights = np.ascontiguousarray(weights.reshape(2, count, 2 * count, n, 1).transpose(2, 1, 0, 3, 4))
        factors = self._tensor(weights).unbind(0)
        # an order of the sum that does not depend on the number of rows
        parts = factors[0] * whole[0]
        for factor, number in zip(factors[1:], (*whole[1:].unbind(0), *fresh.unbind(0)), strict=True):
            parts.addcmul_(factor, number)
        slots = self._index(np.concatenate([new, old]))
        self._values.index_copy_(1, slots, parts.reshape(count, 2 * n, self._columns))
        return parts[:, 0]

    def _joined(self, rows: Vector, table: Vector, begin: Vector, end: Vector, made: Tensor | None) -> Tensor:
        """Return the numbers between two knots of each row; ``made`` are those of the last pieces, where known."""
        base, slots, knots = rows * table.shape[1], table[:, :, _SLOT], table[:, :, _PLACE]
        parts = end - begin
        several = np.flatnonzero(parts > 1)
        if made is None:
            line = np.arange(len(rows))
            # an interval of no length has no piece
            own = np.where(parts > 0, base + slots[line, end], self._values.shape[1] - 1)
            made = self._values.index_select(1, self._index(own))
            if not int(parts.min()):
                made.index_fill_(1, self._index(np.flatnonzero(parts == 0)), 0.0)
        if not several.size:
            return made
        at, base = begin[several], base[several]
        total = self._values.index_select(1, self._index(base + slots[several, at + 1]))
        for part in range(1, int(parts.max())):
            # those that have one more part
            more = np.flatnonzero(parts[several] > part) if part > 1 else np.arange(len(several))
            line, on = several[more], at[more] + part
            start, middle, stop = knots[line, at[more]], knots[line, on], knots[line, on + 1]
            weights = join_weights((middle - start) / (stop - start), self._count)
            factors = self._tensor(np.stack(weights)).unsqueeze(2).unbind(0) if weights else ()
            right = self._values.index_select(1, self._index(base[more] + slots[line, on + 1])).unbind(0)
            if part == 1:
                total = torch.stack(join(total.unbind(0), right, factors))
            else:
                places = self._index(more)
                left = total.index_select(1, places).unbind(0)
                total.index_copy_(1, places, torch.stack(join(left, right, factors)))
        return made.index_copy(1, self._index(several), total)

    def _grow(self) -> None:
        """Make room for more pieces."""
        rows, capacity, _ = self._table.shape
        more = np.zeros_like(self._table)
        more[:, :, _PLACE] = _NEVER
        more[:, :, _SLOT] = np.arange(capacity, 2 * capacity)
        self._table = np.concatenate([self._table, more], 1)
        values = self._values[:, :-1].unflatten(1, (rows, capacity))
        values = torch.cat([values, torch.zeros_like(values)], 2).flatten(1, 2)
        self._values = torch.cat([values, self._values[:, -1:]], 1)

    def _zeros(self, pieces: int) -> Tensor:
        return torch.zeros(self._count, pieces, self._columns, dtype=self._dtype, device=self._device)

    def _index(self, index: Vector) -> Tensor:
        found = torch.from_numpy(index)
        return found if self._on_host else found.to(self._device)

    def _tensor(self, values: Vector) -> Tensor:
        return torch.from_numpy(values).to(device=self._device, dtype=self._dtype)
