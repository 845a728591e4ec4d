"""Approximate space-space Levy areas, drawn for an interval as a whole.

An area is a function of the seed and of the interval's two times; areas of neighbouring intervals do not join to that
of their union, as no approximation's do. The path asks for them where its ``levy_area`` is "davie" or "foster".
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nde.solvers.brownian.keys import mix_, signed
from nde.solvers.brownian.normals import Normals

__all__ = ["area_keys", "correlated", "levy_area"]

_FIRST_STEP = signed(0xA0761D6478BD642F)
_SECOND_STEP = signed(0xE7037ED1A0B428DB)


def area_keys(key: int, start: Tensor, end: Tensor) -> Tensor:
    """Return the keys of intervals, given the numbers of their first and last quantum, int64."""
    words = start * _FIRST_STEP + signed(key)
    words = mix_(words, torch.empty_like(words)) + end * _SECOND_STEP
    return mix_(words, torch.empty_like(words))


def levy_area(kind: str, w: Tensor, h: Tensor, length: Any, normals: Normals, keys: Tensor) -> Tensor:
    """Return an approximate Levy area, given the increment and the space-time area.

    The area ``A[i, j]``, half the integral of ``W_i dW_j - W_j dW_i``, has the mean ``h_i w_j - w_i h_j`` given (w, h).
    What is added to it is Gaussian, with the right variance ``length^2 / 12`` on the whole (Davie 2014, "KMT theory
    applied to approximations of SDE") or, with ``kind`` "foster", with the right one given h as well,
    ``length^2 / 20 + length (h_i^2 + h_j^2) / 5`` (Foster 2020, "Numerical approximations for stochastic differential
    equations", thesis, Oxford).

    Args:
        kind: "davie" or "foster".
        w, h: Shape ``(count, rows, ..., m)``; independent coordinates, before any covariance.
        length: The intervals' lengths: a number, or a float64 tensor that broadcasts against ``(count, rows, ..., 1)``.
        normals: Draws ``... * m (m - 1) / 2`` columns.
        keys: Shape ``(count,)`` or ``(count, rows)``.

    Returns:
        Shape ``(count, rows, ..., m, m)``, antisymmetric.
    """
    m = w.shape[-1]
    area = torch.zeros((*w.shape, m), dtype=w.dtype, device=w.device)
    if m == 1:
        return area

    def rounded(factor: Any) -> Any:
        return factor.to(w.dtype) if isinstance(factor, Tensor) else factor

    first, second = torch.triu_indices(m, m, 1, device=w.device).unbind(0)
    h_first, h_second = h[..., first], h[..., second]
    upper = h_first * w[..., second] - w[..., first] * h_second
    noise = normals.draw(keys).view(upper.shape)
    if kind == "davie":
        upper += noise * rounded(length * math.sqrt(1 / 12))
    else:
        variance = (h_first * h_first + h_second * h_second) * rounded(length * 0.2) + rounded(length * length * 0.05)
        upper += noise * variance.sqrt()
    area[..., first, second] = upper
    area[..., second, first] = -upper
    return area


def correlated(values: Tensor, factor: Tensor) -> Tensor:
    """Return ``values @ factor.T`` in one order: a matrix product's bits depend on the number of rows."""
    total = values[..., :1] * factor[:, 0]
    for column in range(1, factor.shape[1]):
        total += values[..., column : column + 1] * factor[:, column]
    return total
