"""Which output times the steps of rows reach; the first and the last need no row."""

from __future__ import annotations

import numpy

from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.steps import RowStep
from nde.solvers.transforms import may_move

__all__ = ["DueOutputs"]


class DueOutputs:
    """The output times that each sample has still before it.

    Args:
        problem: The problem.
        directions: Signs of the spans of all samples.
    """

    def __init__(self, problem: RowProblem, directions: numpy.ndarray) -> None:
        self._times = problem.times
        self._last = problem.counts - 1
        self._directions = directions
        self._next = numpy.ones(len(self._last), int)
        # an output that only happens to lie at the end of a step does not move with it
        self._still = not may_move(problem.ts)
        self._none = not bool((self._last > 1).any())

    def find(self, facts: RowStep) -> None:
        """Note in accepted steps which output times lie inside them, and which at their ends."""
        if self._none:
            return
        rows, times = facts.rows, self._times
        last, direction, pending = self._last[rows], self._directions[rows], self._next[rows]
        places, indices, thetas, end_places, end_indices = [], [], [], [], []
        # at an event, an output is the state before the jump, as that of the dense output is
        cut = numpy.zeros(len(rows), dtype=bool)
        for hits in facts.hits:
            cut[hits.places[hits.alters]] = True
        while True:
            safe = numpy.minimum(pending, last)
            time = times[rows, safe]
            reached = (pending < last) & ((time - facts.t1) * direction <= 0)
            if not reached.any():
                break
            at_end = reached & (time == facts.t1) & ~cut & (self._still | (facts.anchors == safe))
            inside = numpy.flatnonzero(reached & ~at_end)
            places.append(inside)
            indices.append(safe[inside])
            thetas.append((time[inside] - facts.t[inside]) / facts.h[inside])
            end_places.append(numpy.flatnonzero(at_end))
            end_indices.append(safe[at_end])
            pending = pending + reached
        if places:
            self._next[rows] = pending
            facts.places, facts.indices = numpy.concatenate(places), numpy.concatenate(indices)
            facts.thetas = numpy.concatenate(thetas)
            facts.end_places, facts.end_indices = numpy.concatenate(end_places), numpy.concatenate(end_indices)
