"""Paths with a given increment, and space-time Levy area, over their whole span.

The path's own numbers there are exchanged for the given ones: what a Gaussian process is apart from its mean given
(w, h) is independent of them, so that exchanging the mean gives the conditional law exactly. Over the span, as the unit
interval, that mean is ``w x + 6 h x (1 - x)``: Foster, Lyons, Oberhauser (2020), "An optimal polynomial approximation
of Brownian motion", theorem 2.4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.brownian import BrownianPath
from nde.solvers.brownian.areas import area_keys, levy_area
from nde.solvers.brownian.chen import BrownianIncrement
from nde.solvers.brownian.keys import mix_host, seed_key
from nde.solvers.brownian.normals import Normals

__all__ = ["ConditionedPath"]

# Times of areas are rounded to this fraction of the span, which is what a path of one cell rounds its times to.
_QUANTA = float(1 << 42)


class ConditionedPath:
    """Answers as a path would whose numbers over the span are given. Gradients reach them.

    Args:
        path: A path of "none" or "space-time" Levy area; the latter if ``h`` is given or areas are wanted.
        w, h: Increment and space-time Levy area from its start to its end, of its shape; None for the path's own.
        area: "davie" or "foster" for space-space Levy areas drawn to the exchanged numbers; None for none.
    """

    def __init__(self, path: BrownianPath, w: Tensor | None, h: Tensor | None, area: str | None) -> None:
        self._path = path
        self._whole = (path.t0, path.t1)
        self._given = w, h
        own = path(*self._whole)
        self._more_w = None if w is None else w - own.w
        self._more_h = None if h is None or own.h is None else h - own.h
        self._area = area
        if area is not None:
            m = path.shape[-1]
            columns = math.prod(path.shape[1:-1]) * m * (m - 1) // 2
            self._normals = Normals(path.shape[0], columns, None, path.dtype, path.device)
            self._key = mix_host(seed_key(path.seed) + 1)

    def __call__(self, s: float, t: float) -> BrownianIncrement:
        """Return the increment from ``s`` to ``t``, ``s < t``."""
        found = self._path(s, t)
        start, length = self._whole[0], self._whole[1] - self._whole[0]
        x, part = (s - start) / length, (t - s) / length
        w, h = found.w, found.h
        if (s, t) == self._whole:  # to the bit
            w = w if self._given[0] is None else self._given[0]
            h = h if self._given[1] is None else self._given[1]
        else:
            if self._more_w is not None:
                w = w + self._more_w * part
            if self._more_h is not None and h is not None:
                w = w + self._more_h * (6.0 * part * (1.0 - 2.0 * x - part))
                h = h + self._more_h * (part * part)
        if self._area is None or h is None:
            return BrownianIncrement(w, h)
        places = (torch.tensor([round(at * _QUANTA)], device=w.device) for at in (x, x + part))
        keys = area_keys(self._key, *places)
        area = levy_area(self._area, w.unsqueeze(0), h.unsqueeze(0), t - s, self._normals, keys)
        return BrownianIncrement(w, h, None, area[0])
