"""The planner: partial derivatives of any order from derivatives along few straight lines, with exact rational weights.

A jet along ``v`` holds ``D^k u[v, ..., v] / k!``, which is ``sum_(|a| = k) v^a d^a u / a!`` over the multi-indices
``a``. An operator ``sum_a c_a d^a`` of order ``k`` is therefore ``sum_v w_v`` times these coefficients exactly if
``sum_v w_v v^a = a! c_a`` for every ``a``: a form is decomposed into powers of linear forms. The planner looks for the
fewest directions; it is pure arithmetic and uses no jets. `nde.taylor.operators.partials` evaluates what it finds.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from nde.taylor.operators.rational import catalecticant_rank, dependent_rank, solve

__all__ = ["Direction", "MultiIndex", "Plan", "Target", "monomial_directions", "plan"]

MultiIndex = tuple[int, ...]
Direction = tuple[int, ...]
Weights = tuple[Fraction, ...]

_LARGEST_ENTRY = 3
_MOST_SETS = 60_000  # sets of directions that are tried for one size and one bound of the entries
_MOST_RANKED = 64  # sets among which that of the smallest weights is taken


class Target(NamedTuple):
    """An operator with constant coefficients, ``sum_a coefficient_a d^a``, where every ``|a|`` is ``order``."""

    order: int
    terms: tuple[tuple[MultiIndex, Fraction], ...]

    @classmethod
    def of(cls, terms: dict[MultiIndex, Fraction | int]) -> Target:
        """Make a target from multi-indices and coefficients.

        Raises:
            ValueError: There is no term, the orders differ, or the order is 0.
        """
        orders = {sum(index) for index in terms}
        if len(orders) != 1 or 0 in orders:
            raise ValueError(
                f"a target needs terms of one order of at least 1, but has the orders {sorted(orders)}. Make one "
                "target of each order."
            )
        return cls(orders.pop(), tuple(sorted((index, Fraction(value)) for index, value in terms.items())))


class Plan(NamedTuple):
    """Directions, how far each is carried, and how the targets follow from the Taylor coefficients.

    Attributes:
        directions: Integer vectors.
        orders: The highest order that is read along each direction.
        weights: For each target the weight of each direction's Taylor coefficient of the target's order.
    """

    directions: tuple[Direction, ...]
    orders: tuple[int, ...]
    weights: tuple[Weights, ...]

    @property
    def cost(self) -> int:
        """Number of coefficients above the primal that jets along these directions carry."""
        return sum(self.orders)


@functools.lru_cache(maxsize=256)
def plan(targets: tuple[Target, ...]) -> Plan:
    """Return few directions whose jets hold all targets.

    The highest order is planned first; its directions hold the coefficients of the lower orders too, so that a lower
    order adds a direction only where these do not suffice. The number that each order adds is the smallest possible
    with integer entries up to 3 where the sets of that size can be searched (two variables up to order 6 can), else
    that of the polarisation identity, thinned out.

    Raises:
        ValueError: There is no target, or multi-indices differ in length.
    """
    lengths = {len(index) for target in targets for index, _ in target.terms}
    if len(lengths) != 1:
        raise ValueError(
            f"targets must be over the same variables, but their multi-indices have the lengths {sorted(lengths)}."
        )
    directions: list[Direction] = []
    found: dict[int, Weights] = {}
    for order in sorted({target.order for target in targets}, reverse=True):
        members = [k for k, target in enumerate(targets) if target.order == order]
        directions, solved = _extended(directions, [targets[k] for k in members], order)
        found.update(zip(members, solved, strict=True))
    weights = [_padded(found[k], len(directions)) for k in range(len(targets))]
    orders = [
        max((target.order for target, row in zip(targets, weights, strict=True) if row[v]), default=0)
        for v in range(len(directions))
    ]
    kept = [v for v, order in enumerate(orders) if order]
    return Plan(
        tuple(directions[v] for v in kept),
        tuple(orders[v] for v in kept),
        tuple(tuple(row[v] for v in kept) for row in weights),
    )


def monomial_directions(index: MultiIndex) -> list[Direction]:
    """Return the directions of the polarisation identity of one partial derivative.

    ``k! 2^k x^a = sum_(0 <= b <= a) (-1)^|b| binom(a, b) ((a - 2 b) . x)^k``, where opposite directions count once.
    """
    ranges = [range(count + 1) for count in index]
    found: dict[Direction, None] = {}
    for chosen in itertools.product(*ranges):
        direction = _primitive([a - 2 * b for a, b in zip(index, chosen, strict=True)])
        if direction is not None:
            found[direction] = None
    return list(found)


def _padded(row: Weights, size: int) -> Weights:
    return row + (Fraction(0),) * (size - len(row))


def _primitive(vector: Sequence[int]) -> Direction | None:
    """Return the vector without a common divisor, its first entry that is not 0 positive; None for the zero vector."""
    divisor = math.gcd(*vector)
    if divisor == 0:
        return None
    first = next(entry for entry in vector if entry)
    return tuple(entry // divisor * (1 if first > 0 else -1) for entry in vector)


def _multi_indices(order: int, support: Sequence[int], variables: int) -> list[MultiIndex]:
    indices = []
    for chosen in itertools.combinations_with_replacement(support, order):
        counts = [0] * variables
        for variable in chosen:
            counts[variable] += 1
        indices.append(tuple(counts))
    return indices


def _column(direction: Direction, indices: Iterable[MultiIndex]) -> list[Fraction]:
    return [Fraction(math.prod(v**a for v, a in zip(direction, index, strict=True))) for index in indices]


def _right_side(target: Target, indices: Iterable[MultiIndex]) -> list[Fraction]:
    terms = dict(target.terms)
    return [terms.get(index, Fraction(0)) * math.prod(map(math.factorial, index)) for index in indices]


def _extended(present: list[Direction], targets: list[Target], order: int) -> tuple[list[Direction], list[Weights]]:
    """Return the directions with those added that the targets of one order need, and the weights of the targets."""
    variables = len(targets[0].terms[0][0])
    support = [v for v in range(variables) if any(index[v] for target in targets for index, _ in target.terms)]
    # a direction that is there may point out of the support and bring in derivatives that nobody asked for, which other
    # directions cancel: the system has the multi-indices of all its variables
    span = sorted({*support, *(v for direction in present for v in range(variables) if direction[v])})
    indices = _multi_indices(order, span, variables)
    sides = [_right_side(target, indices) for target in targets]

    def solved(directions: list[Direction]) -> list[Weights] | None:
        return solve([_column(direction, indices) for direction in directions], sides)

    weights = solved(present)
    if weights is not None:
        return present, weights
    identity = [v for target in targets for index, _ in target.terms for v in monomial_directions(index)]
    fallback = _thinned(present, identity, solved)
    columns = [_column(direction, indices) for direction in present]
    bounds = [catalecticant_rank(target.terms, order) - len(present) for target in targets]
    for size in range(max(1, dependent_rank(columns, sides), *bounds), len(fallback) + 1):
        best = _search(present, support, variables, size, indices, sides)
        if best is not None:
            return [*present, *best], solved([*present, *best]) or []
    return [*present, *fallback], solved([*present, *fallback]) or []


def _thinned(
    present: list[Direction], extra: list[Direction], solved: Callable[[list[Direction]], list[Weights] | None]
) -> list[Direction]:
    """Return the extra directions without those that can be left out, one after the other, longest first."""
    kept = [direction for direction in dict.fromkeys(extra) if direction not in present]
    for direction in sorted(kept, key=lambda v: -sum(map(abs, v))):
        shorter = [other for other in kept if other != direction]
        if solved([*present, *shorter]) is not None:
            kept = shorter
    return kept


def _candidates(support: Sequence[int], variables: int, largest: int) -> list[Direction]:
    found: dict[Direction, None] = {}
    for entries in itertools.product(range(-largest, largest + 1), repeat=len(support)):
        vector = [0] * variables
        for variable, entry in zip(support, entries, strict=True):
            vector[variable] = entry
        direction = _primitive(vector)
        if direction is not None:
            found[direction] = None
    return sorted(found, key=lambda v: (sum(map(abs, v)), v))


def _search(
    present: list[Direction],
    support: Sequence[int],
    variables: int,
    size: int,
    indices: list[MultiIndex],
    sides: list[list[Fraction]],
) -> list[Direction] | None:
    """Return ``size`` further directions that hold the targets and amplify rounding least, if there are any."""
    for largest in range(1, _LARGEST_ENTRY + 1):
        pool = [v for v in _candidates(support, variables, largest) if v not in present]
        if math.comb(len(pool), size) > _MOST_SETS:
            return None
        sets = _plausible_sets(present, pool, size, indices, sides)
        ranked: list[tuple[Fraction, list[Direction]]] = []
        for chosen in sets[:_MOST_RANKED]:
            directions = [pool[k] for k in chosen]
            weights = solve([_column(v, indices) for v in [*present, *directions]], sides)
            if weights is not None:
                ranked.append((_amplification([*present, *directions], weights, sum(indices[0])), directions))
        if ranked:
            return min(ranked, key=lambda item: item[0])[1]
    return None


def _amplification(directions: list[Direction], weights: list[Weights], order: int) -> Fraction:
    """Return how much rounding the combination adds, up to a factor: the weights times the size of the coefficients."""
    sizes = [sum(map(abs, direction)) ** order for direction in directions]
    return sum((abs(w) * size for row in weights for w, size in zip(row, sizes, strict=True)), Fraction(0))


def _plausible_sets(
    present: list[Direction], pool: list[Direction], size: int, indices: list[MultiIndex], sides: list[list[Fraction]]
) -> list[tuple[int, ...]]:
    """Return the sets whose span holds the targets up to rounding; exact arithmetic decides afterwards."""
    if len(pool) < size:
        return []
    targets = _normalised(np.array([[float(value) for value in side] for side in sides]).T)
    columns = np.array([[float(value) for value in _column(direction, indices)] for direction in pool]).T
    if present:
        known = np.array([[float(value) for value in _column(direction, indices)] for direction in present]).T
        left, values, _ = np.linalg.svd(known, full_matrices=False)
        basis = left[:, values > 1e-10 * values[0]]
        targets = targets - basis @ (basis.T @ targets)
        columns = columns - basis @ (basis.T @ columns)
    columns = _normalised(columns)
    sets = np.array(list(itertools.combinations(range(len(pool)), size)))
    accepted: list[tuple[int, ...]] = []
    for start in range(0, len(sets), 5000):
        batch = sets[start : start + 5000]
        orthogonal, _ = np.linalg.qr(columns.T[batch].transpose(0, 2, 1))
        rest = targets - orthogonal @ (orthogonal.transpose(0, 2, 1) @ targets)
        accepted.extend(map(tuple, batch[np.abs(rest).max((1, 2)) < 1e-9].tolist()))
    return accepted


def _normalised(columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    norms = np.linalg.norm(columns, axis=0)
    return columns / np.where(norms > 1e-12, norms, 1.0)
