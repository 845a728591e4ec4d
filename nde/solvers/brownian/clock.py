"""Where times lie on a path: the cell, and the quantum of the cell's tree.

Numbers where all rows share a time, arrays where each row has its own; both round alike. The path asks it.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np

__all__ = ["Clock"]

# Times this far beyond the ends, as a fraction of the span, are taken for the ends: sums of steps miss them by
# rounding.
_SLACK = 1e-9


class Clock:
    """Finds times on a grid.

    Args:
        grid: Times between the cells.
        quanta: Quanta of a cell.
    """

    def __init__(self, grid: np.ndarray, quanta: int) -> None:
        self.times: list[float] = grid.tolist()
        self.quanta = quanta
        self._grid = grid
        self._slack = _SLACK * (self.times[-1] - self.times[0])

    def place(self, time: float, name: str) -> tuple[int, int]:
        """Return the cell of a time and its place there in quanta; the end of a cell is the start of the next.

        Raises:
            ValueError: The time is NaN or outside the path.
        """
        times = self.times
        if not times[0] <= time <= times[-1]:
            time = self._inside(time, name)
        cell = bisect_right(times, time) - 1
        if cell == len(times) - 1:
            return cell, 0
        start = times[cell]
        # int(x + 0.5), not round(): the arrays' line below
        quantum = math.floor((time - start) / (times[cell + 1] - start) * self.quanta + 0.5)
        return (cell + 1, 0) if quantum == self.quanta else (cell, quantum)

    def nearby(self, time: float, slack: float) -> float:
        """Return the time within ``slack`` of another that is the end of a cell or, if none is, of the largest node."""
        times = self.times
        first, last = max(time - slack, times[0]), min(time + slack, times[-1])
        if not first <= time <= last:
            raise ValueError(f"t must lie in the path and slack be at least 0, but t = {time} and slack = {slack}.")
        end = bisect_right(times, last) - 1
        if times[end] >= first:
            before = bisect_right(times, time) - 1
            ends = [times[cell] for cell in (before, min(before + 1, len(times) - 1)) if first <= times[cell] <= last]
            return min(ends, key=lambda end: abs(end - time))
        scale = self.quanta / (times[end + 1] - times[end])
        low, high = math.ceil((first - times[end]) * scale), math.floor((last - times[end]) * scale)
        if low > high:
            return time
        # of the numbers from low to high, the one that the largest power of two divides
        bits = ((low - 1) ^ high).bit_length() - 1
        return self.time(end, high >> bits << bits)

    def nearby_rows(self, times: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """Return the same for many times, each with a slack of its own, shape ``(rows,)``."""
        grid = self._grid
        first, last = np.maximum(times - slack, grid[0]), np.minimum(times + slack, grid[-1])
        outside = ~((first <= times) & (times <= last))
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            return np.array([self.nearby(float(times[row]), float(slack[row]))])  # raises
        end = np.searchsorted(grid, last, side="right") - 1
        before = np.minimum(np.searchsorted(grid, times, side="right") - 1, len(grid) - 2)
        # of the ends of cells within reach, the nearest one
        below, above = grid[before], grid[before + 1]
        lower = (below >= first) & ((above > last) | (times - below <= above - times))
        found = np.where(lower, below, above)
        inner = grid[end] < first
        if inner.any():
            start = grid[end[inner]]
            length = grid[end[inner] + 1] - start
            scale = self.quanta / length
            low = np.ceil((first[inner] - start) * scale).astype(np.int64)
            high = np.floor((last[inner] - start) * scale).astype(np.int64)
            # the number of bits of what is not zero, below 2 ** 53
            bits = np.frexp(((low - 1) ^ high).astype(float))[1] - 1
            node = high >> np.maximum(bits, 0) << np.maximum(bits, 0)
            found[inner] = np.where(low > high, times[inner], start + length * (node / self.quanta))
        return found

    def place_rows(self, times: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as ``place`` for a time per row, float64 of shape ``(rows,)``."""
        grid = self._grid
        outside = ~((times >= self.times[0]) & (times <= self.times[-1]))
        if outside.any():
            for row in np.flatnonzero(outside).tolist():
                self._inside(float(times[row]), f"{name}[{row}]")
            times = np.clip(times, self.times[0], self.times[-1])
        cell = np.searchsorted(grid, times, side="right") - 1
        last = grid.shape[0] - 1
        before = np.minimum(cell, last - 1)
        start = grid[before]
        quantum = np.floor((times - start) / (grid[before + 1] - start) * self.quanta + 0.5).astype(np.int64)
        next_cell = (quantum == self.quanta) | (cell == last)
        return np.where(next_cell, before + 1, cell), np.where(next_cell, 0, quantum)

    def time(self, cell: int, quantum: int) -> float:
        """Return the time of a place."""
        start = self.times[cell]
        return start + (self.times[cell + 1] - start) * (quantum / self.quanta) if quantum else start

    def rows_time(self, cell: np.ndarray, quantum: np.ndarray) -> np.ndarray:
        """Return the time of a place per row; a place may be given as its cell's end."""
        full = quantum == self.quanta
        cell, quantum = np.where(full, cell + 1, cell), np.where(full, 0, quantum)
        start = self._grid[cell]
        end = self._grid[np.minimum(cell + 1, self._grid.shape[0] - 1)]
        found: np.ndarray = start + (end - start) * (quantum / self.quanta)
        return found

    def lengths(self, cell: np.ndarray) -> np.ndarray:
        """Return the lengths of cells."""
        found: np.ndarray = self._grid[cell + 1] - self._grid[cell]
        return found

    def _inside(self, time: float, name: str) -> float:
        first, last = self.times[0], self.times[-1]
        if math.isnan(time):
            raise ValueError(f"{name} must be a time, but is NaN: the solver's step sizes may have become NaN before.")
        if first - self._slack <= time <= last + self._slack:
            return min(max(time, first), last)
        raise ValueError(
            f"{name} = {time:.10g} lies outside the path, which runs from t0 = {first:.10g} to t1 = {last:.10g}. "
            "Build the path over the whole span of the solve."
        )
