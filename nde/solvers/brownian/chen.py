"""Increments of a Brownian path and how those of neighbouring intervals join (Chen's identity).

An interval's numbers are a tuple ``(w,)``, ``(w, h)`` or ``(w, h, k)``; the formulas hold for tensors, arrays and
floats. The cells, the trees and the path itself join intervals with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["COMPONENTS", "BrownianIncrement", "join", "join_weights", "root", "turned"]

COMPONENTS = {"none": 1, "space-time": 2, "space-time-time": 3, "davie": 2, "foster": 2}


class BrownianIncrement(NamedTuple):
    """What a Brownian path does between two times ``s`` and ``t``.

    The tensors may share the path's cache: do not write to them. With ``u`` for the fraction of the interval that has
    passed and ``B(u)`` for the path less its straight line from ``s`` to ``t``:

    Attributes:
        w: Increment ``W(t) - W(s)``, variance ``t - s``, of the path's shape.
        h: Space-time Levy area ``integral of B(u) du``, variance ``(t - s) / 12`` and independent of ``w``; None unless
            the path's ``levy_area`` has it. The time integral of the path from ``s``, less its start, is
            ``(t - s) * (w / 2 + h)``.
        k: Space-time-time Levy area ``integral of B(u) (1/2 - u) du``, variance ``(t - s) / 720`` and independent of
            both; None unless the path's ``levy_area`` has it.
        a: Space-space Levy area of the last axis, antisymmetric, shape ``(..., m, m)``; approximate; None unless the
            path's ``levy_area`` is "davie" or "foster".

    An interval with ``s > t`` is the same stretch of path run backwards: ``w``, ``k`` and ``a`` change their signs,
    ``h`` does not.
    """

    w: Tensor
    h: Tensor | None = None
    k: Tensor | None = None
    a: Tensor | None = None


def join_weights(fraction: Any, count: int) -> tuple[Any, ...]:
    """Return what ``join`` needs, given the left interval's part of the whole length.

    They are a float64's or a float64 array's, and only then rounded to the dtype of what they weigh: whether one
    fraction or many are prepared at once then makes no difference.
    """
    if count == 1:
        return ()
    rest = 1.0 - fraction
    if count == 2:
        return fraction, rest
    return fraction, rest, fraction * fraction, rest * rest, fraction * rest * 0.5, (rest - fraction) * (1 / 12)


def join(left: Sequence[Any], right: Sequence[Any], weights: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the numbers of two intervals that touch, as one interval.

    Args:
        left, right: Their ``(w,)``, ``(w, h)`` or ``(w, h, k)``.
        weights: From ``join_weights``.

    The formulas are the integrals that define ``h`` and ``k``, split where the intervals touch; Foster, Lyons,
    Oberhauser (2020), "An optimal polynomial approximation of Brownian motion", has them for halves.
    """
    w = left[0] + right[0]
    if len(left) == 1:
        return (w,)
    before, after = weights[:2]
    across = left[0] * after - right[0] * before
    h = left[1] * before + right[1] * after + across * 0.5
    if len(left) == 2:
        return w, h
    k = left[2] * weights[2] + right[2] * weights[3] + (left[1] - right[1]) * weights[4] + across * weights[5]
    return w, h, k


def turned(values: Tensor) -> Tensor:
    """Return the numbers of intervals run backwards; the first axis is that of (w, h, k)."""
    back = -values
    if values.shape[0] > 1:
        back[1] = values[1]
    return back


def root(value: Any) -> Any:
    """Return the square root, rounded correctly: torch's own is not on every processor, and rows would differ by a bit.

    What rounding has left below zero counts as zero.
    """
    if isinstance(value, np.ndarray):
        return np.sqrt(np.maximum(value, 0.0))
    if not isinstance(value, Tensor):
        return math.sqrt(max(value, 0.0))
    value = value.clamp_min(0.0)
    return torch.from_numpy(np.sqrt(value.numpy())) if value.device.type == "cpu" else value.sqrt()
