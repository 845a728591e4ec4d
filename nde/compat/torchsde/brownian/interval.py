"""``BrownianInterval``: torchsde's central Brownian motion, on the paths of ``nde.solvers.brownian``."""

from __future__ import annotations

import math
import sys
import warnings
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from nde.compat.torchsde.brownian import arguments
from nde.compat.torchsde.brownian.base import BaseBrownian
from nde.compat.torchsde.brownian.conditioned import ConditionedPath
from nde.compat.torchsde.settings import LEVY_AREA_APPROXIMATIONS
from nde.solvers.brownian import BrownianPath
from nde.solvers.brownian.chen import BrownianIncrement

__all__ = ["BrownianInterval"]

# Leaves of the path's trees, as a fraction of the span and, where a step is known, of the step
_SPAN_BITS, _STEP_BITS = 22, 10
# Cells that a known step divides the span into, at most: with more, a cell is of several steps
_CELLS = 1 << 17
# Times this close, as a fraction of the largest one, are one where a step is known: times in float32 are no closer to
# the multiples of a step.
_SAME = 2.0**-22
# Times this far outside, as a fraction of the span, are sums of steps that rounding has moved.
_SLACK = 1e-9


class BrownianInterval(BaseBrownian):
    """A Brownian motion on ``[t0, t1]``, with torchsde's arguments and answers.

    The motion is determined by ``entropy`` (and the shape, the span, ``dt``, ``tol`` and the kind of Levy area) alone:
    an answer depends on the interval that is asked for, not on what was asked for before; memory does not grow. With
    ``dt``, the steps ``t0 + k * dt`` are drawn many at a time and cost almost nothing each.

    Args:
        t0, t1: The span, ``t0 <= t1``: numbers or tensors of one element.
        size: Shape of an increment; default that of ``W`` or ``H``. The last axis of two or more is that of the Levy
            area.
        dtype: Default that of ``W`` or ``H``, or torch's default. Half precision is drawn in float32.
        device: Default that of ``W`` or ``H``, or the CPU.
        entropy: Seed: an integer or a sequence of integers, not negative; default one of numpy's global generator.
        dt: The expected length of a step; another one is another motion.
        tol: Length of time that the motion is resolved to; 0 for the span times ``2 ** -22``.
        pool_size, cache_size: Checked and kept; only torchsde's algorithm has a use for them.
        halfway_tree: The same; it must come with a ``tol`` and without ``dt``. What it stands for in torchsde, answers
            that do not depend on the order of the queries, always holds.
        levy_area_approximation: "none" for ``W`` alone, "space-time" for ``U`` too, "davie" or "foster" for ``A`` too.
        W: Increment over the whole span, default random. Gradients reach it.
        H: Space-time Levy area over the whole span, variance ``(t1 - t0) / 12``, default random. Gradients reach it.

    Raises:
        TypeError, ValueError: An argument is none of these; see the argument's name in the message.

    References:
        Kidger, Foster, Li, Lyons (2021), "Efficient and accurate gradients for neural SDEs", whose interface this is;
        ``nde.BrownianPath`` for what is behind it.
    """

    def __init__(
        self,
        t0: Any = 0.0,
        t1: Any = 1.0,
        size: Any = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
        entropy: Any = None,
        dt: Any = None,
        tol: Any = 0.0,
        pool_size: int = 8,
        cache_size: int | None = 45,
        halfway_tree: bool = False,
        levy_area_approximation: str = LEVY_AREA_APPROXIMATIONS.none,
        W: Tensor | None = None,
        H: Tensor | None = None,
    ) -> None:
        self._start, self._end = arguments.check_span(t0, t1)
        self._dt, leaf = arguments.check_resolution(dt, tol, halfway_tree)
        self._size, self._dtype, self._device = arguments.check_given(size, dtype, device, {"W": W, "H": H})
        kind = self._levy_area_approximation = arguments.check_levy_area(levy_area_approximation)
        arguments.check_caching(pool_size, cache_size)
        self._entropy = arguments.new_entropy() if entropy is None else entropy
        seed = arguments.path_seed(self._entropy)
        self._tol = tol
        self._pool_size = pool_size
        self._cache_size = cache_size
        self._halfway_tree = halfway_tree
        self._have_H = kind != LEVY_AREA_APPROXIMATIONS.none
        self._have_A = kind in (LEVY_AREA_APPROXIMATIONS.davie, LEVY_AREA_APPROXIMATIONS.foster)
        self._length = self._end - self._start
        self._slack = _SLACK * self._length
        self._same = _SAME * max(abs(self._start), abs(self._end))
        self._grid: list[float] = []
        # without a batch axis beside it, the last axis is the batch, and one motion has no area with itself
        area = kind if self._have_A and len(self._size) > 1 and self._size[-1] > 1 else None
        given = W is not None or H is not None
        inner = area or ("space-time" if self._have_H or H is not None else "none")
        self._path: BrownianPath | ConditionedPath | None = None
        if self._length == 0 or math.prod(self._size) == 0:
            return
        if not given:
            self._grid = self._steps()
        half = self._dtype not in (torch.float32, torch.float64)
        path = BrownianPath(
            self._start,
            self._end,
            self._size,
            seed=seed,
            grid=self._grid or None,
            levy_area="space-time" if given and area else inner,
            dtype=torch.float32 if half else self._dtype,
            device=self._device,
            tol=leaf or self._leaf(),
        )
        self._path = path
        if given:
            w, h = (x.float() if half and x is not None else x for x in (W, H))
            self._path = ConditionedPath(path, w, h, area)

    def _steps(self) -> list[float]:
        """Return the times between the cells, or none for one cell."""
        if self._dt is None or self._dt >= self._length:
            return []
        cell = self._dt
        while self._length > cell * _CELLS:
            cell *= 2
        count = math.ceil(self._length / cell - 1e-6)
        return [self._start + cell * index for index in range(count)] + [self._end]

    def _leaf(self) -> float:
        leaf = self._length * 2.0**-_SPAN_BITS
        return min(leaf, self._dt * 2.0**-_STEP_BITS) if self._dt is not None and self._grid else leaf

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        """Return the increment from ``ta`` to ``tb``, and what else is asked for.

        Args:
            ta, tb: Numbers or tensors of one element, ``ta <= tb``. Without ``tb``, the interval runs from ``t0`` to
                ``ta``. A time outside the span is taken for its end, with a warning.
            return_U: Also return ``U``, the integral of ``W(s) - W(ta)`` over the interval: with ``H`` for the
                space-time Levy area, ``(tb - ta) * (W / 2 + H)``. None if the motion has no space-time Levy area.
            return_A: Also return the space-space Levy area of the last axis, shape ``(..., m, m)``; None if the motion
                has none. Zero, with the shape of ``W``, for increments of less than two axes.

        Returns:
            ``W``, ``(W, U)``, ``(W, A)`` or ``(W, U, A)``. Do not write to them.

        Raises:
            ValueError: A time is NaN.
            RuntimeError: ``ta > tb``.
        """
        if tb is None:
            arguments.warn_of_point(self)
            start, end = self._start, self._inside(float(ta), "ta")
        else:
            start, end = self._inside(float(ta), "ta"), self._inside(float(tb), "tb")
        if start > end:
            raise RuntimeError(f"ta must not be after tb, but ta = {start:.10g} and tb = {end:.10g}.")
        found = self._increment(start, end)
        if not (return_U or return_A):
            return found.w
        answer: list[Tensor | None] = [found.w]
        if return_U:
            answer.append(None if found.h is None else (found.w * 0.5 + found.h) * (end - start))
        if return_A:
            answer.append(found.a)
        return tuple(answer)

    def _inside(self, time: float, name: str) -> float:
        """Return a time of the span, one of the grid if it is as good as there."""
        if not self._start <= time <= self._end:
            if math.isnan(time):
                raise ValueError(f"{name} must be a time, but is NaN.")
            # the wording is torchsde's: programs filter on it
            if time < self._start:
                if time < self._start - self._slack:
                    warnings.warn(f"Should have {name}>=t0 but got {name}={time} and t0={self._start}.", stacklevel=3)
                return self._start
            if time > self._end + self._slack:
                warnings.warn(f"Should have {name}<=t1 but got {name}={time} and t1={self._end}.", stacklevel=3)
            return self._end
        if self._grid:
            index = round((time - self._start) / (self._grid[1] - self._start))
            for near in (self._grid[min(index, len(self._grid) - 2)], self._end):
                if abs(time - near) <= self._same:
                    return near
        return time

    def _increment(self, start: float, end: float) -> BrownianIncrement:
        """Return what is known of an interval of the span, in the motion's dtype."""
        if start == end or self._path is None:
            zero = torch.zeros(self._size, dtype=self._dtype, device=self._device)
            return BrownianIncrement(zero, zero if self._have_H else None, None, self._no_area(zero))
        found = self._path(start, end)
        w = found.w
        if w.dtype == self._dtype and (found.h is not None) == self._have_H and (found.a is not None) == self._have_A:
            return found
        w = w.to(self._dtype)
        h = None if found.h is None or not self._have_H else found.h.to(self._dtype)
        return BrownianIncrement(w, h, None, self._no_area(w) if found.a is None else found.a.to(self._dtype))

    def _no_area(self, w: Tensor) -> Tensor | None:
        if not self._have_A:
            return None
        return torch.zeros_like(w) if w.dim() < 2 else w.new_zeros((*w.shape, w.shape[-1]))

    def display_binary_tree(self) -> None:
        """Print the span and, below it, the cells that ``dt`` divides it into; what is inside a cell is not stored."""
        cells = [f" {pair}" for pair in pairwise(self._grid)]
        sys.stdout.write("\n".join([str((self._start, self._end)), *cells]) + "\n")

    def __repr__(self) -> str:
        step = None if self._dt is None else f"{self._dt:.3f}"
        return (
            f"{type(self).__name__}(t0={self._start:.3f}, t1={self._end:.3f}, size={self._size}, dtype={self._dtype}, "
            f"device={self._device!r}, entropy={self._entropy}, dt={step}, tol={self._tol}, "
            f"pool_size={self._pool_size}, cache_size={self._cache_size}, "
            f"levy_area_approximation={self._levy_area_approximation!r})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an increment."""
        return self._size

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of an increment."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Where the increments are."""
        return self._device

    @property
    def entropy(self) -> Any:
        """The seed."""
        return self._entropy

    @property
    def levy_area_approximation(self) -> str:
        """The kind of Levy area."""
        return self._levy_area_approximation

    @property
    def dt(self) -> float | None:
        """The expected length of a step."""
        return self._dt

    @property
    def tol(self) -> Any:
        """The resolution in time, as given."""
        return self._tol

    @property
    def pool_size(self) -> int:
        """As given."""
        return self._pool_size

    @property
    def cache_size(self) -> int | None:
        """As given."""
        return self._cache_size

    @property
    def halfway_tree(self) -> bool:
        """As given."""
        return self._halfway_tree
