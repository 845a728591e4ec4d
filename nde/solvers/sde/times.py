"""Times of a stochastic solve: the cells of a new path, and ends of steps that a path reaches cheaply."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from nde.solvers.controllers import Controller, FixedStep

__all__ = ["cells", "snapper"]

_SLIVER = 1e-9  # fixed steps this much (of a step) beside an output time are meant to end on it
_FINER = 4  # bits of a step's size that remain when its end is moved


def cells(times: Sequence[float], controller: Controller) -> list[float]:
    """Return the grid of a path, increasing: all times that steps are known to end on.

    Args:
        times: Output times, strictly monotone.
        controller: The step-size controller.
    """
    low, high = sorted((times[0], times[-1]))
    asked = {float(time) for time in controller.landings() or () if low < time < high}
    ends = sorted({*times, *asked}, reverse=times[-1] < times[0])
    if not isinstance(controller, FixedStep):
        return sorted(ends)
    step = math.copysign(controller.size, ends[1] - ends[0])
    grid = ends[:1]
    for end in ends[1:]:
        # a step that is cut short begins anew behind the cut
        count = math.floor((end - grid[-1]) / step - _SLIVER)
        for _ in range(count):
            grid.append(
                grid[-1] + step
            )  # summed as the solver sums them, so that its times are these to the last digit
        grid.append(end)
    return sorted(grid)


def snapper(path: Any) -> Callable[[float, float], float] | None:
    """Return a function that shortens a step from ``t`` to ``t1`` a little, to a time with few binary digits.

    Inside its cells a path is a dyadic tree: a time with few digits is found near its root, and what was computed for
    one step serves the next ones.

    Args:
        path: The path; None is returned if it has no attribute ``grid``.
    """
    grid = getattr(path, "grid", None)
    if grid is None:
        return None
    times = [float(time) for time in grid]

    def snap(t: float, t1: float) -> float:
        forward = t1 > t
        index = bisect.bisect_right(times, t1) - 1 if forward else bisect.bisect_left(times, t1) - 1
        if not 0 <= index < len(times) - 1:
            return t1
        begin, end = times[index], times[index + 1]
        length = end - begin
        digits = math.ceil(math.log2(length / abs(t1 - t))) + _FINER
        scale = math.ldexp(1.0, digits)
        place = (t1 - begin) / length * scale
        place = math.floor(place) if forward else math.ceil(place)
        moved = begin + length * (place / scale)
        return moved if (moved > t) == forward and moved != t else t1

    return snap
