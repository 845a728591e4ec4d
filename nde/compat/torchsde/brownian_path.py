"""A user's Brownian motion as the path that nde's methods ask."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde.compat.torchsde.brownian import BaseBrownian
from nde.solvers.brownian.chen import BrownianIncrement

__all__ = ["MotionPath"]

# a time this many rounding units beside the end of a step is that end
_ROUNDING = 4


class MotionPath:
    """Increments of a Brownian motion ``bm(ta, tb, return_U, return_A)``, in both directions of time.

    Args:
        bm: The motion.
        area: What is asked for besides increments: "none", "space-time" or another kind of area.
        ts: Output times; the motion is asked with times of their dtype, on their device, between the first and the
            last of them.
        grid: Ends of the steps, where they are known: solvers add sizes to times, which may miss the ends by roundings.
    """

    def __init__(self, bm: Any, area: str, ts: Tensor, grid: Sequence[float] | None) -> None:
        self._bm = bm
        self._area = area
        self._ts = ts
        self._grid = (float(ts[0]), float(ts[-1])) if grid is None else grid
        # own motions take the times as they are; others may expect tensors, as torchsde's solvers give them
        self._plain = isinstance(bm, BaseBrownian)

    def __call__(self, s: float, t: float) -> BrownianIncrement:
        """Return what the motion does from ``s`` to ``t``."""
        begin, end = self._known(s), self._known(t)
        if begin > end:
            forth = self._ask(end, begin)
            return BrownianIncrement(-forth.w, forth.h, None, None if forth.a is None else -forth.a)
        return self._ask(begin, end)

    def _ask(self, begin: float, end: float) -> BrownianIncrement:
        ta, tb = self._time(begin), self._time(end)
        if self._area == "none":
            return BrownianIncrement(self._bm(ta, tb), None, None, None)
        if self._area == "space-time":
            w, u = self._bm(ta, tb, return_U=True)
            return BrownianIncrement(w, u / (end - begin) - 0.5 * w, None, None)
        w, a = self._bm(ta, tb, return_A=True)
        return BrownianIncrement(w, None, None, a)

    def _known(self, time: float) -> float:
        grid = self._grid
        index = bisect_left(grid, time)
        # the nearest one: sums of steps may end that close before the last time, as 10 * 0.1 before 1
        near = min(grid[max(index - 1, 0) : index + 1], key=lambda end: abs(time - end))
        if abs(time - near) <= _ROUNDING * math.ulp(max(abs(time), abs(near))):
            return near
        return min(max(time, grid[0]), grid[-1])

    def _time(self, t: float) -> float | Tensor:
        return t if self._plain else torch.full((), t, dtype=self._ts.dtype, device=self._ts.device)
