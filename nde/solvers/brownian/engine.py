"""What a Brownian path draws with: cells, trees and areas of one plan, and the caches of all of them.

Splits a query into parts of cells and whole cells and joins their numbers. Only the path makes one, and can forget it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.areas import area_keys, correlated, levy_area
from nde.solvers.brownian.cells import Cells, HashedCells
from nde.solvers.brownian.chen import BrownianIncrement, join, join_weights, turned
from nde.solvers.brownian.clock import Clock
from nde.solvers.brownian.keys import cell_key, cell_keys, mix_host, seed_key
from nde.solvers.brownian.normals import Normals
from nde.solvers.brownian.plan import Plan
from nde.solvers.brownian.streamed import StreamedCells
from nde.solvers.brownian.tree import Tree, quanta_of

__all__ = ["Engine", "KnownIncrements"]

Place = tuple[int, int]
Places = tuple[np.ndarray, np.ndarray]


class KnownIncrements:
    """Increments that need no more work.

    Args:
        by_start: The end of an interval and its increment, by the time that it begins at.
        slack: How far off the end may be.
    """

    def __init__(self, by_start: dict[float, tuple[float, BrownianIncrement]], slack: float) -> None:
        self._by_start = by_start
        self._slack = slack
        self._version = next(iter(by_start.values()))[1].w._version if by_start else 0

    def find(self, start: float, end: float) -> BrownianIncrement | None:
        """Return the increment of an interval; None if it is not known, or somebody has written to it."""
        found = self._by_start.get(start)
        if found is None or abs(found[0] - end) > self._slack or found[1].w._version != self._version:
            return None
        return found[1]


class Engine:
    """Answers the queries of one path.

    Args:
        plan: The path.

    Attributes:
        clock: Finds times on the grid.
        known: Increments of the cells around the last query of a cell.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._key = seed_key(plan.seed)
        self._normals: Normals | None = None
        self._tree_of: Tree | None = None
        self._cells: Cells
        if plan.streamed:
            self._cells = StreamedCells(plan.grid, plan.seed, plan.count, plan.shape, plan.dtype, plan.device)
        else:
            self._normals = plan.normals()
            self._cells = HashedCells(plan.grid, self._key, plan.count, self._normals)
        self.clock = Clock(plan.grid, quanta_of(plan.depth))
        self._columns = math.prod(plan.shape[1:])
        self._factor = None if plan.factor is None else plan.factor.to(device=plan.device, dtype=plan.dtype)
        self._has_area = plan.levy_area in ("davie", "foster")
        if self._has_area:
            m = plan.shape[-1]
            self._area_normals = plan.normals(math.prod(plan.shape[1:-1]) * m * (m - 1) // 2)
            self._area_key = mix_host(self._key + 1)
        self.known = KnownIncrements({}, 0.0)

    @property
    def _tree(self) -> Tree:
        # made when a time inside a cell is asked for, which a solver whose steps are the cells never does
        if self._tree_of is None:
            normals = self._normals or self.plan.normals()
            self._tree_of = Tree(self.plan.depth, self.plan.count, normals)
        return self._tree_of

    def span(self, s: float, t: float) -> BrownianIncrement:
        """Return the increment between two times that all rows share."""
        start, end = (-s, -t) if self.plan.backwards else (s, t)
        first, last = self.clock.place(start, "s"), self.clock.place(end, "t")
        back = first > last
        if back:
            first, last = last, first
        if first == last:
            zeros = torch.zeros(
                (self.plan.count, 1, self.plan.rows, self._columns), dtype=self.plan.dtype, device=self.plan.device
            )
            return self._finished(zeros, None, back)[0]
        if first[1] == 0 and last == (first[0] + 1, 0):
            return self._remember(first[0], back)
        values = torch.stack(self._between(first, last)).unsqueeze(1)
        area = None
        if self._has_area:
            length = self.clock.time(*last) - self.clock.time(*first)
            numbers = (torch.tensor([self._number(place)], device=self.plan.device) for place in (first, last))
            area = self._area(values, length, *numbers)
        return self._finished(values, area, back)[0]

    def _number(self, place: Place) -> int:
        return place[0] * self.clock.quanta + place[1]

    def _between(self, first: Place, last: Place) -> tuple[Tensor, ...]:
        """Return the numbers of an interval that is no single cell."""
        (cell, quantum), (last_cell, last_quantum) = first, last
        if cell == last_cell:
            return self._part(cell, quantum, last_quantum)
        parts: list[tuple[tuple[Tensor, ...], float]] = []  # with the time where each one ends
        if quantum:
            parts.append((self._part(cell, quantum, self.clock.quanta), self.clock.times[cell + 1]))
            cell += 1
        if last_cell > cell:
            parts.append((self._cells.span(cell, last_cell), self.clock.times[last_cell]))
        if last_quantum:
            parts.append((self._part(last_cell, 0, last_quantum), self.clock.time(*last)))
        start = self.clock.time(*first)
        values, reached = parts[0]
        for part, end in parts[1:]:
            values = join(values, part, join_weights((reached - start) / (end - start), self.plan.count))
            reached = end
        return values

    def _part(self, cell: int, start: int, end: int) -> tuple[Tensor, ...]:
        length = self.clock.times[cell + 1] - self.clock.times[cell]
        return self._tree.span(cell_key(self._key, cell), self._cells.cell(cell), length, start, end)

    def _area(self, values: Tensor, length: float | Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Return areas of ``values`` of shape ``(count, intervals, rows, columns)``, given their places' numbers."""
        shape = (values.shape[1], self.plan.rows, *self.plan.shape[1:])
        keys = area_keys(self._area_key, first, last)
        return levy_area(
            self.plan.levy_area, values[0].view(shape), values[1].view(shape), length, self._area_normals, keys
        )

    def _finished(self, values: Tensor, area: Tensor | None, back: bool) -> list[BrownianIncrement]:
        """Return increments of the path's shape.

        Args:
            values: Shape ``(count, intervals, rows, columns)``.
            area: Shape ``(intervals, rows, ..., m, m)``, where the path has areas; None for zero.
            back: Whether the intervals are run backwards.
        """
        plan, intervals = self.plan, values.shape[1]
        shape = plan.own_shape
        if self._factor is not None:
            values = correlated(values.view(plan.count, intervals, -1, plan.shape[-1]), self._factor)
        if back:
            values = turned(values)
        numbers = [value.unbind(0) for value in values.view(plan.count, intervals, *shape).unbind(0)]
        areas: tuple[Tensor | None, ...] = (None,) * intervals
        if self._has_area:
            m = plan.shape[-1]
            if area is None:
                area = values.new_zeros((intervals, *shape, m))
            elif self._factor is not None:
                area = correlated(correlated(area, self._factor).transpose(-1, -2), self._factor).transpose(-1, -2)
            area = -area if back else area
            areas = area.view(intervals, *shape, m).unbind(0)
        if plan.levy_area == "none":
            return [BrownianIncrement(w) for w in numbers[0]]
        if plan.count == 2:
            return [BrownianIncrement(w, h, None, a) for w, h, a in zip(*numbers, areas, strict=True)]
        return [BrownianIncrement(w, h, k) for w, h, k in zip(*numbers, strict=True)]

    def _remember(self, cell: int, back: bool) -> BrownianIncrement:
        """Finish a whole chunk of cells, so that the next queries only look their increments up."""
        chunk = self._cells.chunk(cell)
        cells = chunk.values.shape[1]
        area = None
        if self._has_area:
            places = torch.arange(chunk.first, chunk.first + cells, device=self.plan.device) * self.clock.quanta
            lengths = torch.from_numpy(np.diff(chunk.times)).to(self.plan.device)
            lengths = lengths.reshape(-1, *(1,) * len(self.plan.shape))
            area = self._area(chunk.values, lengths, places, places + self.clock.quanta)
        increments = self._finished(chunk.values, area, back)
        times = self.clock.times[chunk.first : chunk.first + cells + 1]
        # as near to the cell's end as times that are rounded to it
        slack = min(later - time for time, later in pairwise(times)) / (2 * self.clock.quanta)
        if self.plan.backwards:
            times = [-time for time in times]
        begins, ends = (times[1:], times[:-1]) if back else (times[:-1], times[1:])
        self.known = KnownIncrements(dict(zip(begins, zip(ends, increments, strict=True), strict=True)), slack)
        return increments[cell - chunk.first]

    def rows(self, s: np.ndarray, t: np.ndarray) -> BrownianIncrement:
        """Return an increment per row, given times of shape ``(rows,)``: for each row what ``span`` gives for it."""
        plan, quanta = self.plan, self.clock.quanta
        start, end = (-s, -t) if plan.backwards else (s, t)
        a, b = self.clock.place_rows(start, "s"), self.clock.place_rows(end, "t")
        back = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] > b[1]))
        some_back = bool(back.any())
        if some_back:
            a, b = _exchanged(a, b, back), _exchanged(b, a, back)
        (cell, quantum), (last_cell, last_quantum) = a, b
        one_cell = cell == last_cell
        joined = JoinedRows(plan.count, self.clock.rows_time(cell, quantum), plan.device)
        # the first part lies in a cell and does not fill it; then come whole cells; then the beginning of the last one
        stop = np.where(one_cell, last_quantum, quanta)
        used = np.where(one_cell, quantum < last_quantum, quantum > 0)
        joined.add(self._row_parts(cell, quantum, stop, used), used, self.clock.rows_time(cell, stop))
        if not one_cell.all():
            first = np.where(quantum > 0, cell + 1, cell)
            used = last_cell > first
            if used.any():
                joined.add(
                    self._row_cells(first, last_cell, used), used, self.clock.rows_time(last_cell, 0 * last_cell)
                )
            used = ~one_cell & (last_quantum > 0)
            if used.any():
                parts = self._row_parts(last_cell, np.zeros_like(last_quantum), last_quantum, used)
                joined.add(parts, used, self.clock.rows_time(last_cell, last_quantum))
        values = joined.values.unsqueeze(1)
        area = self._row_area(values, a, b, joined.reached - joined.start) if self._has_area else None
        forwards = self._finished(values, area, False)[0]
        if not some_back:
            return forwards
        backwards = self._finished(values, area, True)[0]
        sides = self._tensor(back).reshape(-1, *(1,) * (len(plan.own_shape) - 1))
        chosen: list[Any] = []
        for name in ("w", "h", "k", "a"):
            one, other = getattr(forwards, name), getattr(backwards, name)
            wide = sides.unsqueeze(-1) if name == "a" else sides
            chosen.append(None if one is None else torch.where(wide, other, one))
        return BrownianIncrement(*chosen)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.plan.device)

    def _row_area(self, values: Tensor, a: Places, b: Places, lengths: np.ndarray) -> Tensor:
        """Return an area per row, zero where an interval has no length."""
        numbers = (self._tensor(cell * self.clock.quanta + quantum).unsqueeze(0) for cell, quantum in (a, b))
        length = self._tensor(lengths).reshape(1, -1, *(1,) * (len(self.plan.shape) - 1))
        area = self._area(values, length, *numbers)
        return torch.where((length == 0).reshape(1, -1, *(1,) * (area.dim() - 2)), 0.0, area)

    def _row_parts(self, cell: np.ndarray, start: np.ndarray, end: np.ndarray, used: np.ndarray) -> Tensor:
        """Return the numbers of a part of a cell per row; of any part where not ``used``."""
        cell = np.minimum(cell, len(self.clock.times) - 2)
        start, end = np.where(used, start, 0), np.where(used, end, self.clock.quanta)
        lengths = self.clock.lengths(cell)
        keys: Tensor | int
        if len(self.clock.times) == 2:
            keys, numbers = cell_key(self._key, 0), self._cells.cell(0)
        else:
            keys = cell_keys(self._key, self._tensor(cell))
            numbers = self._cells.cell_rows(keys, lengths)
        return torch.stack(self._tree.span_rows(keys, numbers, lengths, start, end))

    def _row_cells(self, first: np.ndarray, last: np.ndarray, used: np.ndarray) -> Tensor:
        """Return sums over whole cells per row, zero where not ``used``; rows with the same cells share the work."""
        plan = self.plan
        values = torch.zeros((plan.count, *self._cells.cell(0)[0].shape), dtype=plan.dtype, device=plan.device)
        for begin, stop in {(int(one), int(other)) for one, other in zip(first[used], last[used], strict=True)}:
            chosen = self._tensor((first == begin) & (last == stop) & used)
            for value, total in zip(self._cells.span(begin, stop), values, strict=True):
                total[chosen] = value[chosen]
        return values


def _exchanged(one: Places, other: Places, where: np.ndarray) -> Places:
    return np.where(where, other[0], one[0]), np.where(where, other[1], one[1])


class JoinedRows:
    """Joins parts of intervals row by row, each where it is used.

    Args:
        count: Numbers of an increment.
        start: Where the rows' intervals begin, float64, shape ``(rows,)``.
        device: Where the numbers are.

    Attributes:
        values: The numbers so far, shape ``(count, rows, columns)``.
        reached: Where they end.
    """

    def __init__(self, count: int, start: np.ndarray, device: torch.device) -> None:
        self.values: Tensor
        self.start = start
        self.reached = start
        self._count = count
        self._device = device

    def add(self, part: Tensor, used: np.ndarray, end: np.ndarray) -> None:
        """Join the next part to the rows that have it."""
        all_used = bool(used.all())
        if not hasattr(self, "values"):
            self.values = part if all_used else torch.where(self._column(used), part, 0.0)
        else:
            with np.errstate(all="ignore"):  # what rows without this part give is not used
                weights = join_weights((self.reached - self.start) / (end - self.start), self._count)
            columns = tuple(self._column(weight).to(part.dtype) for weight in weights)
            both = torch.stack(join(self.values.unbind(0), part.unbind(0), columns))
            begun = self._column(self.reached > self.start)
            self.values = torch.where(self._column(used), torch.where(begun, both, part), self.values)
        self.reached = np.where(used, end, self.reached)

    def _column(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device).unsqueeze(1)
