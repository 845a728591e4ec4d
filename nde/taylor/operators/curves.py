"""The planner of one curve whose Taylor coefficients hold all derivatives that are wanted.

Along ``x(t) = x + sum_k s_k t^(n_k) e_(i_k)`` the coefficient of order ``n`` of ``u(x(t))`` is the sum of
``s^a / a! d^a u`` over the multi-indices ``a`` over the seeds with ``a . n = n``. Where all orders but a few are
dropped, these sums stay exact as long as no product of two that are carried leads into an order that it does not belong
to (see `nde.taylor.lower_sets`). Derivatives that are wanted only as a sum may then share an order, to which the
lengths ``s_k`` give the right shares: ``u_ty + u_xxxy`` costs one coefficient, and so does what lies below both,
``u_t`` with ``u_xxx``. A coordinate may have two seeds, of which one joins such a sum.

The planner looks for the fewest orders; it is exact arithmetic and uses no jets.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from nde.taylor.lower_sets import grading, lower_set
from nde.taylor.operators.rational import solve

__all__ = ["Curve", "Form", "Seed", "cheapest_curve"]

MultiIndex = tuple[int, ...]
Form = tuple[tuple[MultiIndex, Fraction], ...]  # a sum of derivatives with their factors
Place = tuple[int, int]  # (coordinate, order) of a seed


class Member(NamedTuple):
    """A term of the coefficient of one order: powers of the seeds, the derivative they stand for, and its ``a!``."""

    powers: MultiIndex
    derivative: MultiIndex
    factorial: int


Classes = dict[int, list[Member]]
Factors = dict[MultiIndex, Fraction]

_HIGHEST = 64  # the order up to which seeds are coded; loops over orders get slow above
_HIGHEST_SHARED = 10  # of a seed that is tried where orders are shared
_MOST_STRUCTURES = 5_000  # seeds that are tried
_MOST_WORK = 100_000  # pairs of orders that are looked at: about a second
_BASE = 1 << 8
_MOST_CHOICES = 64  # ways to spread the derivatives over two seeds of one coordinate
_LARGEST_SCALE = 1_000_000  # of a seed beside another, which rounding has to bear


class Seed(NamedTuple):
    """A term of the curve: ``scale t^order`` along one coordinate."""

    coordinate: int
    order: int
    scale: Fraction


class Curve(NamedTuple):
    """A curve, the orders that are carried along it, and what is read.

    Attributes:
        seeds: Its terms.
        kept: The orders that are carried, 0 among them.
        degree: The highest order of a derivative that is carried.
        weights: For each form the orders that it reads, and their weights.
    """

    seeds: tuple[Seed, ...]
    kept: frozenset[int]
    degree: int
    weights: tuple[tuple[tuple[int, Fraction], ...], ...]


@functools.lru_cache(maxsize=256)
def cheapest_curve(forms: tuple[Form, ...], most: int) -> Curve | None:
    """Return the curve with the fewest orders that holds the forms, or None where each needs more than ``most``.

    The smallest set that holds every derivative by itself is tried first; then orders are shared, where the number of
    curves that might do can be searched.
    """
    used = 1 + max(v for form in forms for index, _ in form for v, count in enumerate(index) if count)
    wanted = [{index[:used]: factor for index, factor in form} for form in forms]
    indices = frozenset(index for factors in wanted for index in factors)
    best = _apart(wanted, indices)
    if best is not None and len(best.kept) > most:
        best = None
    work = 0
    for places in _structures(indices) if any(len(factors) > 1 for factors in wanted) else ():
        bound = len(best.kept) if best is not None else most + 1
        for kept in _kept_orders(places, indices, bound):
            work += len(kept) ** 2
            found = _shared(wanted, places, kept)
            if found is not None:
                best = found
                break
        if work > _MOST_WORK:
            break
    return best


def _apart(forms: Sequence[Factors], indices: frozenset[MultiIndex]) -> Curve | None:
    """Return the curve that holds every derivative below those of the forms by itself."""
    lower = lower_set(indices)
    orders = grading(lower, _HIGHEST)
    if orders is None:
        return None
    places = [(v, order) for v, order in enumerate(orders) if order]
    classes = _classes(places, frozenset(_dot(index, orders) for index in lower))
    return None if classes is None else _solved(forms, places, classes, [Fraction(1)] * len(places))


def _structures(indices: frozenset[MultiIndex]) -> Iterator[tuple[Place, ...]]:
    """Yield what seeds a curve may have: one for each coordinate, and for at most one of them a second one."""
    height = {v: max(column) for v, column in enumerate(zip(*indices, strict=True)) if any(column)}
    used = sorted(height, key=lambda v: -height[v])
    count = _HIGHEST_SHARED ** (len(used) - 1)
    if count > _MOST_STRUCTURES:
        return
    tried = sorted(itertools.product(range(1, _HIGHEST_SHARED + 1), repeat=len(used) - 1), key=lambda w: (sum(w), w))
    single = [tuple(zip(used, (1, *others), strict=True)) for others in tried]
    yield from single
    if count * _HIGHEST_SHARED * len(used) > _MOST_STRUCTURES:
        return
    for places in single:
        below = sorted({order for base in _kept_orders(places, indices, _HIGHEST) for order in base})
        for v, first in places:
            for order in below:
                if order != first and 0 < order <= _HIGHEST_SHARED and sum(index[v] > 0 for index in indices) <= 6:
                    yield (*places, (v, order))


def _kept_orders(places: tuple[Place, ...], indices: frozenset[MultiIndex], bound: int) -> list[frozenset[int]]:
    """Return sets of fewer than ``bound`` orders that might do, from the ways to write the derivatives by the seeds.

    A second seed of a coordinate takes one of the derivatives in it, or none.
    """
    twice = len({v for v, _ in places}) < len(places)
    doubled = places[-1][0] if twice else None
    ways = []
    for index in sorted(indices):
        plain = tuple(0 if twice and k == len(places) - 1 else index[v] for k, (v, _) in enumerate(places))
        options = [plain]
        if doubled is not None and index[doubled]:
            first = next(k for k, (v, _) in enumerate(places) if v == doubled)
            options.append(tuple(count - (k == first) + (k == len(places) - 1) for k, count in enumerate(plain)))
        ways.append(options)
    if math.prod(map(len, ways)) > _MOST_CHOICES:
        return []
    orders = [order for _, order in places]
    below = {option: _orders_below(option, orders) for options in ways for option in options}
    found: dict[frozenset[int], None] = {}
    for chosen in itertools.product(*ways):
        kept = frozenset().union(*(below[option] for option in chosen))
        if len(kept) < bound and max(kept) <= _HIGHEST and not (twice and not any(option[-1] for option in chosen)):
            found[kept] = None
    return sorted(found, key=len)


def _orders_below(index: MultiIndex, orders: Sequence[int]) -> frozenset[int]:
    return frozenset(_dot(smaller, orders) for smaller in itertools.product(*(range(count + 1) for count in index)))


def _dot(index: Iterable[int], orders: Iterable[int]) -> int:
    return sum(a * w for a, w in zip(index, orders, strict=True))


def _classes(places: Sequence[Place], kept: frozenset[int]) -> Classes | None:
    """Return what each order sums, or None where dropped orders would be missing."""
    # a multi-index is coded as digits of one number: sums of two that are carried never reach the base
    orders = [order for _, order in places]
    units = [_BASE**k for k in range(len(orders))]
    found = {0: 0}
    edge = [0]
    while edge:
        code = edge.pop()
        for unit, order in zip(units, orders, strict=True):
            higher, place = code + unit, found[code] + order
            if place not in kept or higher in found:
                continue
            # where a smaller one is missing, this one is met again from it, if that is carried at all
            if all(higher - other in found for other in units if higher // other % _BASE):
                found[higher] = place
                edge.append(higher)
    members = list(found.items())
    for k, (one, m) in enumerate(members):
        for other, n in members[k:]:
            if m + n in kept and one + other not in found:
                return None
    classes: Classes = {}
    for code, order in members:
        classes.setdefault(order, []).append(_member(tuple(code // unit % _BASE for unit in units), places))
    return classes


def _member(powers: MultiIndex, places: Sequence[Place]) -> Member:
    counts = [0] * (1 + max(places)[0])  # nothing is differentiated in the coordinates after these
    for (v, _), count in zip(places, powers, strict=True):
        counts[v] += count
    return Member(powers, tuple(counts), math.prod(map(math.factorial, powers)))


def _shared(forms: Sequence[Factors], places: tuple[Place, ...], kept: frozenset[int]) -> Curve | None:
    """Return the curve where lengths of its seeds are found by which every form can be read."""
    classes = _classes(places, kept)
    if classes is None:
        return None
    choices = [[Fraction(1)] if k == 0 else _scales(forms, places, classes, k) for k in range(len(places))]
    if math.prod(map(len, choices)) > _MOST_CHOICES:
        return None
    for scales in itertools.product(*choices):
        found = _solved(forms, places, classes, scales)
        if found is not None:
            return found
    return None


def _scales(forms: Sequence[Factors], places: tuple[Place, ...], classes: Classes, seed: int) -> list[Fraction]:
    """Return lengths of a seed, beside others of length 1, by which an order sums two derivatives as a form does."""
    found = {Fraction(1): None}
    for members in classes.values():
        for one, other in itertools.product(members, repeat=2):
            if one.powers[seed] != 1 or other.powers[seed] or one.derivative == other.derivative:
                continue
            for factors in forms:
                if factors.get(one.derivative) and factors.get(other.derivative):
                    share = factors[one.derivative] * one.factorial
                    ratio = share / (factors[other.derivative] * other.factorial)
                    if 1 <= abs(ratio) * _LARGEST_SCALE <= _LARGEST_SCALE**2:
                        found[ratio] = None
    return list(found)


def _solved(
    forms: Sequence[Factors], places: Sequence[Place], classes: Classes, scales: Sequence[Fraction]
) -> Curve | None:
    """Return the curve with the weights by which the forms are read, or None where one cannot be."""
    if not _spanned(forms, _sums(classes, [float(scale) for scale in scales])):  # exact arithmetic is dear
        return None
    orders = sorted(order for order in classes if order)
    rows, columns = _table(forms, _sums(classes, scales), Fraction(0))
    weights = solve(columns, rows)
    if weights is None:
        return None
    return Curve(
        tuple(Seed(v, order, scale) for (v, order), scale in zip(places, scales, strict=True)),
        frozenset(classes),
        max(sum(member.powers) for members in classes.values() for member in members),
        tuple(tuple((order, w) for order, w in zip(orders, row, strict=True) if w) for row in weights),
    )


def _sums(classes: Classes, scales: Sequence[Any]) -> list[dict[Any, Any]]:
    """Return what derivatives the coefficient of each order above 0 sums, with their shares."""
    sums = []
    for order in sorted(order for order in classes if order):
        total: dict[MultiIndex, Any] = {}
        for powers, derivative, factorial in classes[order]:
            share = math.prod(s**a for s, a in zip(scales, powers, strict=True) if a)
            total[derivative] = total.get(derivative, 0) + share / factorial
        sums.append(total)
    return sums


def _table(forms: Sequence[Factors], sums: list[dict[Any, Any]], zero: Any) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the forms and the sums as vectors over the derivatives that occur."""
    rows = sorted({index for part in (*sums, *forms) for index in part})
    wanted, columns = ([[part.get(index, zero) for index in rows] for part in parts] for parts in (forms, sums))
    return wanted, columns


def _spanned(forms: Sequence[Factors], sums: list[dict[Any, Any]]) -> bool:
    """Return whether the forms are combinations of the sums up to rounding."""
    wanted, columns = (np.array(part, dtype=float).T for part in _table(forms, sums, 0.0))
    columns /= np.linalg.norm(columns, axis=0)
    wanted /= np.linalg.norm(wanted, axis=0)
    weights = np.linalg.lstsq(columns, wanted, rcond=1e-12)[0]
    return bool(np.abs(columns @ weights - wanted).max() < 1e-6)
