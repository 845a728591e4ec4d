"""Times of a stochastic solve: the cells of a new path, and ends of steps that a path reaches cheaply."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from nde.solvers.controllers import Controller, FixedStep

__all__ = ["cells", "row_cells", "row_snapper", "snapper"]

# with more kinds of spans than these, their times make no grid that all samples profit from
_MOST_SPANS = 16


def cells(times: Sequence[float], controller: Controller, forced: Sequence[float] = ()) -> list[float]:
    """Return the grid of a path, increasing: all times that steps are known to end on.

    Args:
        times: Output times, strictly monotone.
        controller: The step-size controller.
        forced: Further times that steps end on.
    """
    low, high = sorted((times[0], times[-1]))
    asked = {float(time) for time in (*(controller.landings() or ()), *forced) if low < time < high}
    ends = sorted({*times, *asked}, reverse=times[-1] < times[0])
    if not isinstance(controller, FixedStep):
        return sorted(ends)
    step = math.copysign(controller.size, ends[1] - ends[0])
    grid = ends[:1]
    for end in ends[1:]:
        # a step that is cut short begins anew behind the cut
        count = math.floor((end - grid[-1]) / step - controller.stretch)
        for _ in range(count):
            # summed as the solver sums them: these are its times to the last digit
            grid.append(grid[-1] + step)
        grid.append(end)
    return sorted(grid)


def snapper(path: Any) -> Callable[[float, float], float] | None:
    """Return a function that shortens a step by an eighth at most, to a time that the path knows soon.

    It takes the step's beginning ``t`` and its end ``t1``, and returns another end.

    Args:
        path: The path; None is returned if it has no method ``nearby``.
    """
    nearby = getattr(path, "nearby", None)
    if nearby is None:
        return None

    def snap(t: float, t1: float) -> float:
        slack = abs(t1 - t) / 16
        return float(nearby(t1 - math.copysign(slack, t1 - t), slack))

    return snap


def row_cells(
    times: numpy.ndarray, counts: numpy.ndarray, controller: Controller, forced: Sequence[float] = ()
) -> list[float]:
    """Return the same where each sample has output times of its own.

    Args:
        times: Output times, shape ``(rows, T)``.
        counts: How many of them belong to each row.
        controller: The step-size controller.
        forced: Further times that steps end on.
    """
    spans = {tuple(row[:count].tolist()) for row, count in zip(times, counts, strict=True)}
    if len(spans) > _MOST_SPANS:
        return [min(min(span) for span in spans), max(max(span) for span in spans)]
    return sorted({time for span in spans for time in cells(span, controller, forced)})


def row_snapper(path: Any) -> Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray] | None:
    """Return what `snapper` returns, for many steps at once."""
    nearby = getattr(path, "nearby_rows", None)
    if nearby is None:
        return None

    def snap(t: numpy.ndarray, t1: numpy.ndarray) -> numpy.ndarray:
        slack = numpy.abs(t1 - t) / 16
        snapped: numpy.ndarray = nearby(t1 - numpy.copysign(slack, t1 - t), slack)
        return snapped

    return snap
