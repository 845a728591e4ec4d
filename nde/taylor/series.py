"""Arithmetic of truncated power series in lifted coefficients: products, quotients, integrals, compositions."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from nde.taylor.frame import Frame, Lifted

__all__ = ["accumulate", "compose", "convolve", "integrate", "multilinear", "powers_of", "tail"]

Series = Sequence[Lifted]


def accumulate(total: Lifted, term: Lifted) -> Lifted:
    """Return ``total + term`` where either may be zero (None)."""
    if term is None:
        return total
    return term if total is None else total + term


def convolve(frame: Frame, a: Series, b: Series, order: int, first: int = 0) -> Lifted:
    """Return ``sum_j a_j b_(order - j)`` over ``j`` from ``first`` to ``order - first``.

    Products of two coefficients of lower orders are summed over the directions where ``order`` is collapsed.
    """
    if not frame.keeps(order):
        return None
    ends = None
    inner = None
    for j in range(first, order - first + 1):
        if a[j] is None or b[order - j] is None:
            continue
        if a is b and 2 * j > order:  # the mirror image of a term that is there already
            continue
        term = a[j] * b[order - j]
        if a is b and 2 * j < order:
            term = 2 * term
        if j in (0, order):
            ends = accumulate(ends, term)
        else:
            inner = accumulate(inner, term)
    return ends if inner is None else accumulate(ends, frame.summed(inner, order))


def multilinear(frame: Frame, factors: Sequence[Series], product: Callable[..., Any]) -> list[Lifted]:
    """Return all coefficients of a multilinear product (Cauchy's for two factors)."""
    highest = [max(j for j in range(frame.order + 1) if j == 0 or series[j] is not None) for series in factors]
    ends: list[Lifted] = [None] * (frame.order + 1)
    inner: list[Lifted] = [None] * (frame.order + 1)
    for orders in itertools.product(*(range(top + 1) for top in highest)):
        total = sum(orders)
        if total > frame.order or not frame.keeps(total):
            continue
        terms = [series[j] for series, j in zip(factors, orders, strict=True)]
        if any(term is None for term in terms):
            continue
        where = ends if max(orders) == total else inner
        where[total] = accumulate(where[total], product(*terms))
    return [
        end if term is None else accumulate(end, frame.summed(term, order))
        for order, (end, term) in enumerate(zip(ends, inner, strict=True))
    ]


def tail(frame: Frame, b: Series, q: Series, order: int) -> Lifted:
    """Return ``sum_j b_j q_(order - j)`` over ``j`` from 1 to ``order``: what a quotient ``q = a / b`` subtracts."""
    if not frame.keeps(order):
        return None
    end = None if b[order] is None else b[order] * q[0]
    inner = None
    for j in range(1, order):
        if b[j] is not None and q[order - j] is not None:
            inner = accumulate(inner, b[j] * q[order - j])
    return end if inner is None else accumulate(end, frame.summed(inner, order))


def integrate(frame: Frame, z: Series, g: Series, order: int) -> Lifted:
    """Return the coefficient ``y_order`` of ``y' = g z'``: ``sum_j (j / order) z_j g_(order - j)``.

    Only coefficients of ``g`` below ``order`` are read.
    """
    if not frame.keeps(order):
        return None
    inner = None
    for j in range(1, order):
        if z[j] is not None and g[order - j] is not None:
            inner = accumulate(inner, z[j] * g[order - j] * (j / order))
    end = None if z[order] is None else z[order] * g[0]
    return end if inner is None else accumulate(end, frame.summed(inner, order))


def compose(frame: Frame, outer: Series, z: Series) -> list[Lifted]:
    """Return ``sum_m outer_m (z - z_0)^m``, where ``outer`` are the Taylor coefficients of a function at ``z_0``.

    The work per direction is in the powers alone; what depends on the primal multiplies their sum over directions.
    """
    powers = powers_of(frame, z)
    result: list[Lifted] = [outer[0]]
    for order in range(1, frame.order + 1):
        coefficient = None
        for m in range(1, min(order, frame.degree) + 1):
            if outer[m] is not None and powers[m][order] is not None:
                coefficient = accumulate(coefficient, operator.mul(outer[m], powers[m][order]))
        result.append(coefficient)
    return result


def powers_of(frame: Frame, z: Series) -> list[Series]:
    """Return the powers ``(z - z_0)^m`` up to the highest that is not zero; that of 0 is not to be read."""
    inner: list[Lifted] = [None, *z[1:]]
    powers: list[Series] = [inner, inner]
    for m in range(2, frame.degree + 1):
        power: list[Lifted] = [None] * m
        power += [convolve(frame, powers[m - 1], inner, order, first=1) for order in range(m, frame.order + 1)]
        powers.append(power)
    return powers
