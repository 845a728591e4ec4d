"""Taylor coefficients in several variables at once, for a set of multi-indices and no others.

The coefficients of the multi-indices of a lower set (with an index, all that are smaller) are closed under truncated
products. Each variable ``x_i`` is given a whole number ``w_i``, so that ``x^a`` becomes ``t^(a . w)``, and a jet of one
variable that drops all other orders computes with them: where no two sums of multi-indices in the set meet in one
order, its rules hold as they are, because ``t d/dt`` becomes the derivation ``sum_i w_i x_i d/dx_i``.

Griewank and Walther, Evaluating Derivatives (2008), section 13.3, for tensors of several variables; the coding is
Kronecker's substitution.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from nde.taylor.evaluate import evaluated
from nde.taylor.jet_type import Jet

__all__ = ["grading", "lower_set", "lower_set_jet", "order_of"]

MultiIndex = tuple[int, ...]


def lower_set(indices: Iterable[MultiIndex]) -> frozenset[MultiIndex]:
    """Return the smallest set that has, with the given multi-indices, all that are smaller in every entry."""
    return frozenset(
        smaller for index in indices for smaller in itertools.product(*(range(count + 1) for count in index))
    )


@functools.lru_cache(maxsize=256)
def grading(indices: frozenset[MultiIndex], highest: int) -> tuple[int, ...] | None:
    """Return an order for each variable by which the sums of two multi-indices of a lower set can be told apart.

    A sum of two that is in the set has an order of its own, which no other sum has.

    Args:
        indices: The lower set.
        highest: The largest order that a multi-index may come to.

    Returns:
        One order for each variable, or None where there are none within ``highest``; 0 for variables not in the set.
    """
    variables = len(next(iter(indices)))
    used = sorted((v for v in range(variables) if _height(indices, v)), key=lambda v: _height(indices, v))
    orders = [0] * variables
    for position in range(len(used) - 1, -1, -1):  # the variable of the highest powers gets the lowest order
        chosen = used[position:]
        part = [index for index in indices if all(index[v] == 0 for v in used[:position])]
        limit = highest // _height(indices, used[position])
        for candidate in range(1, limit + 1):
            orders[used[position]] = candidate
            if _told_apart(part, tuple(orders[v] if v in chosen else 0 for v in range(variables))):
                break
        else:
            return None
    return tuple(orders)


def _height(indices: Iterable[MultiIndex], variable: int) -> int:
    return max(index[variable] for index in indices)


def _told_apart(indices: list[MultiIndex], orders: tuple[int, ...]) -> bool:
    place = {order_of(index, orders): index for index in indices}
    if len(place) < len(indices):
        return False
    for (m, a), (n, b) in itertools.combinations_with_replacement(place.items(), 2):
        meant = place.get(m + n)
        if meant is not None and meant != tuple(p + q for p, q in zip(a, b, strict=True)):
            return False
    return True


def order_of(index: MultiIndex, orders: tuple[int, ...]) -> int:
    """Return the order that stands for a multi-index."""
    return sum(a * w for a, w in zip(index, orders, strict=True))


def lower_set_jet(
    f: Callable[[Any], Any], x: Tensor, terms: Iterable[tuple[int, int, float]], kept: frozenset[int], degree: int
) -> Jet:
    """Return the jet of a function along a curve in which several variables are coded as orders.

    Along ``x_i + s_i t^(n_i)``, where the ``n_i`` are the grading of a lower set, its coefficient of order ``a . n`` is
    ``s^a / a! d^a f(x)`` for the multi-indices ``a`` of the set.

    Args:
        f: Function of points.
        x: Shape ``(*S, d)``; one variable for each entry of the last axis.
        terms: Of the curve: ``(variable, order, scale)``, where several may be of one order.
        kept: The orders that are carried.
        degree: The largest sum of the entries of a multi-index that is carried.
    """
    vectors: dict[int, list[float]] = {}
    for variable, order, scale in terms:
        vectors.setdefault(order, [0.0] * x.shape[-1])[variable] += scale
    seeds: list[Any] = [None] * max(kept)
    for order, vector in vectors.items():
        seeds[order - 1] = x.new_tensor(vector).reshape([1] * (x.ndim - 1) + [-1])
    return evaluated(f, x, seeds, max(kept), kept=kept, degree=degree)
