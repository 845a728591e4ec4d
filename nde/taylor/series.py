"""Arithmetic of truncated power series in lifted coefficients: sums, Cauchy products, integrals of products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nde.taylor.frame import Frame, Lifted

__all__ = ["accumulate", "cauchy", "convolve", "integrate"]

Series = Sequence[Lifted]


def accumulate(total: Lifted, term: Lifted) -> Lifted:
    """Return ``total + term`` where either may be zero (None)."""
    if term is None:
        return total
    return term if total is None else total + term


def convolve(
    frame: Frame, a: Series, b: Series, order: int, product: Callable[[Any, Any], Any], first: int = 0
) -> Lifted:
    """Return ``sum_j a_j b_(order - j)`` over ``j`` from ``first`` to ``order - first``.

    Products of two coefficients of lower orders are summed over the directions where ``order`` is collapsed.
    """
    ends = None
    inner = None
    for j in range(first, order - first + 1):
        if a[j] is None or b[order - j] is None:
            continue
        term = product(a[j], b[order - j])
        if j in (0, order):
            ends = accumulate(ends, term)
        else:
            inner = accumulate(inner, term)
    return ends if inner is None else accumulate(ends, frame.summed(inner, order))


def cauchy(frame: Frame, a: Series, b: Series, product: Callable[[Any, Any], Any]) -> list[Lifted]:
    """Return all coefficients of a bilinear product of two series."""
    return [convolve(frame, a, b, order, product) for order in range(frame.order + 1)]


def integrate(frame: Frame, z: Series, g: Series, order: int) -> Lifted:
    """Return the coefficient ``y_order`` of ``y' = g z'``: ``sum_j (j / order) z_j g_(order - j)``.

    Only coefficients of ``g`` below ``order`` are read.
    """
    inner = None
    for j in range(1, order):
        if z[j] is not None and g[order - j] is not None:
            inner = accumulate(inner, z[j] * g[order - j] * (j / order))
    end = None if z[order] is None else z[order] * g[0]
    return end if inner is None else accumulate(end, frame.summed(inner, order))
