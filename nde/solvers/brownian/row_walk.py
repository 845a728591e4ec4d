"""Brownian increments drawn as they are asked for, at times of each row's own: for samples that choose their own steps.

What `nde.solvers.brownian.walk` is to one time for all rows. Each new stretch of a row's time costs as many normal
numbers as an increment has; a stretch that is asked for in parts, as after a rejected step, is cut by the exact
conditional law. `nde.solve_sde` makes one where nobody else can ask for the path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.chen import COMPONENTS, BrownianIncrement
from nde.solvers.brownian.row_draws import RowDraws
from nde.solvers.brownian.row_pieces import NEAR, Look, RowPieces, Saved
from nde.solvers.transforms import as_host, constants, tape_fails

__all__ = ["RowWalk"]

Vector = np.ndarray

_BITS = 52  # of a time's place in a span
_RECENT = 2  # queries whose numbers are kept
_MOST_SAVED = 32  # times at which the pieces are saved, so that queries since then can be run again


class _Query(NamedTuple):
    """Rows that asked, increasing, and the places of their intervals' ends."""

    rows: Vector
    first: Vector
    last: Vector


class RowWalk:
    """A sample path of Brownian motion for each row, whose numbers depend on the order of the row's queries alone.

    The first query of a stretch draws it; a query that begins or ends inside a stretch cuts it by a Brownian bridge.
    The numbers of a row depend neither on the other rows nor on which of them ask along with it. A query that was made
    before gives what it gave: the queries are kept, without their numbers, and are run again from the last time at
    which all was saved. All increments together have exactly the law of Brownian motion, whatever is asked; going back
    to times behind the last step that were not asked for before runs all queries again.

    Args:
        spans: First and last time of each row, in the direction of its solve.
        shape: Shape of an increment, rows first.
        seed: An integer.
        levy_area: "none", "space-time" or "space-time-time"; see `BrownianPath`.
        dtype: float32 or float64.
        device: Where the increments are.
    """

    def __init__(
        self,
        spans: Sequence[tuple[float, float]],
        shape: tuple[int, ...],
        *,
        seed: int,
        levy_area: str,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.shape = tuple(shape)
        self.levy_area = levy_area
        self.dtype = dtype
        self.device = device
        self._rows = np.arange(shape[0])
        self._count, self._columns = COMPONENTS[levy_area], math.prod(shape[1:])
        start, end = np.array(spans, dtype=np.float64).T
        self._start = start
        # no finer than the times themselves, so that what the solver's sums round away makes no pieces
        finest = 8 * np.spacing(np.maximum(np.abs(start), np.abs(end)))
        quantum = np.maximum(np.abs(end - start) * 2.0**-_BITS, finest)
        self._quantum = np.where(end < start, -quantum, quantum)
        with constants():
            draws = RowDraws(shape[0], self._count, self._columns, seed, dtype, device)
            self._pieces = RowPieces(quantum, draws, self._count, self._columns, dtype, device)
        self._queries: list[_Query] = []
        self._saved: dict[int, Saved] = {}  # the pieces before these queries
        self._every = _MOST_SAVED
        self._recent: dict[int, Tensor] = {}
        self._again: dict[int, Tensor] = {}
        self._found = 0  # the query that was found last

    def __call__(self, s: float | Tensor, t: float | Tensor) -> BrownianIncrement:
        """Return the increments of all rows from ``s`` to ``t``, numbers or tensors of shape ``(rows,)``."""
        return self.between(
            None, *(np.broadcast_to(as_host(torch.as_tensor(time)), self._start.shape) for time in (s, t))
        )

    def between(self, rows: Vector | None, s: Vector, t: Vector) -> BrownianIncrement:
        """Return the increments of rows, each from its ``s`` to its ``t``; against its direction, of the way back.

        Args:
            rows: Numbers of the rows, increasing; None for all.
            s, t: Times, float64, shape ``(len(rows),)``.

        Raises:
            ValueError: A time is before the beginning of its row.
        """
        rows = self._rows if rows is None else rows
        start, quantum = self._start[rows], self._quantum[rows]
        first, last = (np.rint((time - start) / quantum).astype(np.int64) for time in (s, t))
        if torch.is_grad_enabled() or tape_fails():
            with constants():
                return self._increment(rows, first, last)
        return self._increment(rows, first, last)

    def _increment(self, rows: Vector, first: Vector, last: Vector) -> BrownianIncrement:
        back = first > last
        if np.count_nonzero(back):
            values = self._numbers(rows, np.minimum(first, last), np.maximum(first, last))
            sign = torch.from_numpy(np.where(back, -1.0, 1.0)).to(values).unsqueeze(1)
            values = values * sign
            if self._count > 1:
                values[1] *= sign
        else:
            values = self._numbers(rows, first, last)
        w, *more = values.view(self._count, len(rows), *self.shape[1:]).unbind(0)
        h, k = (*more, None, None)[:2]
        return BrownianIncrement(w, h, k)

    def _numbers(self, rows: Vector, first: Vector, last: Vector) -> Tensor:
        """Return the numbers of intervals, shape ``(count, len(rows), columns)``."""
        empty = last - first <= NEAR
        if np.count_nonzero(empty):
            return self._composed(rows, first, last, np.where(empty, -1, 0))
        look = self._pieces.look(rows, first, last)
        asked = self._asked(look)
        if asked is None:
            return self._new(look)
        if asked[0] >= 0 and np.count_nonzero(asked != asked[0]) == 0:
            return self._old(int(asked[0]), rows)
        return self._composed(rows, first, last, asked + 1)

    def _composed(self, rows: Vector, first: Vector, last: Vector, kinds: Vector) -> Tensor:
        """Return the numbers of rows by kinds: -1 for empty intervals, 0 for new ones, 1 + query for old ones."""
        values = torch.zeros(self._count, len(rows), self._columns, dtype=self.dtype, device=self.device)
        for kind in np.unique(kinds[kinds >= 0]).tolist():
            places = np.flatnonzero(kinds == kind)
            some = rows[places], first[places], last[places]
            if kind:
                part = self._old(kind - 1, some[0])
            else:
                part = self._numbers(*some) if np.count_nonzero(kinds < 0) else self._new(self._pieces.look(*some))
            values.index_copy_(1, self._index(places), part)
        return values

    def _new(self, look: Look) -> Tensor:
        """Draw the numbers of intervals that were not asked for before."""
        number = len(self._queries)
        if number % self._every == 0:
            self._save(number)
        values = self._pieces.advance(look, number)
        self._queries.append(_Query(look.rows, look.first, look.last))
        self._recent[number] = values
        self._recent.pop(number - _RECENT, None)
        self._found = number
        return values

    def _save(self, number: int) -> None:
        self._saved[number] = self._pieces.saved()
        if len(self._saved) > _MOST_SAVED:
            self._every *= 2
            # queries behind this one may need pieces that those saved earlier lack
            whole = min((at for at, saved in self._saved.items() if saved.keeps_all), default=0)
            self._saved = {at: saved for at, saved in self._saved.items() if at % self._every == 0 or at == whole}

    def _asked(self, look: Look) -> Vector | None:
        """Return which query asked for each interval before, -1 if none did; None if that is so for all."""
        n = len(look.rows)
        some_behind = np.count_nonzero(look.at_first) < n
        if not some_behind and not np.count_nonzero(look.at_last):
            return None
        behind = ~look.at_first & (look.begin == 0)
        earliest = np.where(behind, 0, self._pieces.youngest(look))
        found = np.full(n, -1)
        old = np.flatnonzero(earliest >= 0)
        if old.size:
            found[old] = self._search(look.rows[old], look.first[old], look.last[old], int(earliest[old].min()))
        if np.count_nonzero(behind & (found < 0)):
            self._keep_all(look.rows, look.first)
        return found

    def _search(self, rows: Vector, first: Vector, last: Vector, earliest: int) -> Vector:
        """Return which query, from the earliest on, asked for each interval; -1 if none did."""
        found = np.full(len(rows), -1)
        # a replay goes from one step to the next, in either direction
        low, high, end = self._found, self._found + 1, len(self._queries)
        while low >= earliest or high < end:
            for number in (low, high):
                if not earliest <= number < end:
                    continue
                query = self._queries[number]
                places = np.minimum(np.searchsorted(query.rows, rows), len(query.rows) - 1)
                same = (query.rows[places] == rows) & (found < 0)
                same &= np.abs(query.first[places] - first) <= NEAR
                same &= np.abs(query.last[places] - last) <= NEAR
                if np.count_nonzero(same):
                    found[same] = self._found = number
                    if np.count_nonzero(found < 0) == 0:
                        return found
            low, high = low - 1, high + 1
        return found

    def _old(self, number: int, rows: Vector) -> Tensor:
        """Return what a query gave some of its rows."""
        values = self._recent.get(number)
        if values is None:
            if number not in self._again:
                self._run_again(number)
            values = self._again[number]
        own = self._queries[number].rows
        if len(own) == len(rows):
            return values
        return values.index_select(1, self._index(np.searchsorted(own, rows)))

    def _run_again(self, number: int) -> None:
        """Draw the numbers of a query again, and those of its neighbours."""
        begin = max(at for at in self._saved if at <= number)
        end = min((at for at in self._saved if at > number), default=len(self._queries))
        pieces = self._pieces.restored(self._saved[begin])
        self._again = {at: pieces.advance(pieces.look(*self._queries[at]), at) for at in range(begin, end)}

    def _keep_all(self, rows: Vector, first: Vector) -> None:
        """Get back the pieces that were left behind, and keep them from now on."""
        early = np.flatnonzero(first < -NEAR)
        if early.size:
            row = int(rows[early[0]])
            raise ValueError(f"row {row} begins at {self._start[row]:.10g}, but was asked for an earlier time.")
        pieces = self._pieces.keeping_all()
        for number, query in enumerate(self._queries):
            pieces.advance(pieces.look(*query), number)
        self._pieces = pieces
        self._saved[len(self._queries)] = pieces.saved()

    def _index(self, index: Vector) -> Tensor:
        return torch.from_numpy(index).to(self.device)
