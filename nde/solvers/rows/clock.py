"""Where the rows at work are in time, and where their next steps end, on the host."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy

from nde.solvers.rows.landings import MOVES
from nde.solvers.rows.problem import RowProblem

__all__ = ["Clock", "Move"]

Vector = numpy.ndarray
_SMALLEST_STEP = 1e-100


class Move(NamedTuple):
    """The next steps of the rows at work.

    Attributes:
        h: Signed sizes.
        length: The same without sign.
        t1: Ends.
        lands: Which end on a time that steps must end on; None if no one does.
        anchors: See `nde.solvers.rows.steps.RowStep`.
        stuck: Which are too short for the clock to move; None if no one is.
    """

    h: Vector
    length: Vector
    t1: Vector
    lands: Vector | None
    anchors: Vector
    stuck: Vector | None


class Clock:
    """Times of the rows at work, and what they are heading for.

    Args:
        problem: The problem.

    Attributes:
        rows: The samples at work.
        t: Their times.
        ends: Where their spans end.
        directions: Signs of the spans of all samples.
    """

    def __init__(self, problem: RowProblem) -> None:
        count = problem.layout.count
        times = problem.times
        self._landings = problem.landings()
        self._number = numpy.zeros(count, int)
        self._ends = times[numpy.arange(count), problem.counts - 1]
        self.directions = numpy.where(self._ends > times[:, 0], 1.0, -1.0)
        self._stretch = 1.0 + problem.controller.stretch
        self._dt_min, self._dt_max = problem.dt_min, problem.dt_max
        self._longest = problem.dt_max * (1 + 1e-9)
        self._crosses = bool(problem.jump_ts)
        self._snap = problem.snap
        self._shortest = max(problem.dt_min, _SMALLEST_STEP)
        reach = max(numpy.abs(times[:, 0]).max(initial=0.0), numpy.abs(self._ends).max(initial=0.0))
        # every step longer than this moves every clock
        self._surely_long = max(self._shortest, 4 * float(numpy.spacing(reach)))
        self.t = self._landings.begins.copy()
        self.rows = numpy.arange(count)
        self._aim()

    def _aim(self) -> None:
        """Look up what belongs to the rows at work."""
        rows = self.rows
        self.ends = self._ends[rows]
        self._direction = self.directions[rows]
        number = numpy.minimum(self._number[rows], self._landings.before.shape[1] - 1)
        self._target = self._landings.before[rows, number]
        self._anchor = self._landings.anchors[rows, number]
        self._moves = numpy.full(len(rows), MOVES)

    def keep(self, kept: Vector) -> None:
        """Forget all rows but those at these places."""
        self.rows, self.t = self.rows[kept], self.t[kept]
        self._aim()

    def propose(self, size: Vector) -> Move:
        """Return the next steps, of these sizes if nothing is in the way."""
        room = size * self._stretch
        if self._dt_max != math.inf:
            size = numpy.minimum(size, self._dt_max)
            room = numpy.minimum(size * self._stretch, self._longest)
        t = self.t
        lands = (self._target - t) * self._direction <= room
        t1, anchors = t + self._direction * size, self._moves
        if self._snap is not None and not lands.all():
            free = ~lands
            snapped = self._snap(t[free], t1[free])
            t1[free] = numpy.where(numpy.abs(snapped - t[free]) >= self._dt_min, snapped, t1[free])
        some_land = numpy.count_nonzero(lands) > 0
        if some_land:
            t1, anchors = numpy.where(lands, self._target, t1), numpy.where(lands, self._anchor, MOVES)
        h = t1 - t
        length = numpy.abs(h)
        stuck = None
        if min(length.min(), size.min()) <= self._surely_long:
            # what was asked for counts: rounding may leave a little less of it
            small = ((size < self._shortest) | (length <= 4 * numpy.spacing(numpy.abs(t)))) & ~lands
            stuck = small if small.any() else None
        return Move(h, length, t1, lands if some_land else None, anchors, stuck)

    def arrive(self, landed: Vector) -> tuple[Vector, Vector | None]:
        """Count landings.

        Args:
            landed: Which rows stand on the time that they were heading for.

        Returns:
            Which rows have come to the end of their span, and which have stepped over a discontinuity on their way
            there; None if no one has.
        """
        crossed = None
        if self._crosses:
            number = self._number[self.rows]
            table = self._landings
            before, after = table.before[self.rows, number], table.after[self.rows, number]
            crossing = landed & (before != after)
            if crossing.any():
                self.t = numpy.where(crossing, after, self.t)
                crossed = crossing & (self.t != self.ends)
        self._number[self.rows[landed]] += 1
        self._aim()
        return landed & (self.t == self.ends), crossed
