"""Partial derivatives of any order at points: a plan's directions are pushed through the function and combined."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.taylor.evaluate import jet
from nde.taylor.lower_sets import grading, lower_set, lower_set_jet, order_of
from nde.taylor.operators.checks import check_output, check_points
from nde.taylor.operators.polarisation import MultiIndex, Plan, Target, plan

__all__ = ["Expansion", "chosen_way", "evaluate_targets", "linear_operator", "partial_derivatives"]

_HIGHEST = 64  # the order up to which a jet of several variables is coded; loops over orders get slow above


def partial_derivatives(
    f: Callable[[Any], Any], x: Tensor, derivatives: Sequence[str | MultiIndex], *, coordinates: str = ""
) -> tuple[Tensor, ...]:
    """Return partial derivatives of any orders, mixed ones included.

    They come from a jet of several variables that holds all derivatives below those that are wanted, or from few jets
    along straight lines (see `nde.taylor.operators.polarisation`): whichever carries fewer coefficients.

    Args:
        f: Function of points, ``(*S, d) -> (*S,)``, ``(*S, 1)`` or ``(*S, C)``; called once for each jet.
        x: Points, shape ``(*S, d)``, floating.
        derivatives: Each a string of coordinates (``"xxy"``) or a multi-index (``(2, 1)``). The empty string is ``f``
            itself.
        coordinates: The letters of the coordinates, in the order of the last axis of ``x``; only for strings.

    Returns:
        One tensor of the shape of ``f(x)`` for each.

    Raises:
        ValueError: A letter is unknown, or the number of coordinates is not ``d``.
        TypeError: ``x`` is not floating.
    """
    check_points(f, x)
    indices = [_multi_index(derivative, coordinates, x.shape[-1]) for derivative in derivatives]
    targets = [Target.of({index: 1}) for index in dict.fromkeys(indices) if any(index)]
    value, values = evaluate_targets(f, x, targets)
    found = {target.terms[0][0]: result for target, result in zip(targets, values, strict=True)}
    return tuple(found.get(index, value) for index in indices)


def linear_operator(
    f: Callable[[Any], Any],
    x: Tensor,
    terms: Mapping[str | MultiIndex, int | Fraction],
    *,
    coordinates: str = "",
) -> Tensor:
    """Return a linear combination of partial derivatives with rational coefficients.

    It is planned as one: along straight lines it takes at most as many as its derivatives by themselves, often fewer.

    Args:
        f, x, coordinates: See `partial_derivatives`.
        terms: The coefficient of each derivative, an integer or a fraction; for others multiply afterwards.

    Returns:
        Shape of ``f(x)``.

    Raises:
        TypeError: A coefficient is not rational; ``x`` is not floating.
        ValueError: As for `partial_derivatives`.
    """
    check_points(f, x)
    by_order: dict[int, dict[MultiIndex, Fraction]] = {}
    for derivative, coefficient in terms.items():
        if isinstance(coefficient, bool) or not isinstance(coefficient, (int, Fraction)):
            raise TypeError(
                f"the coefficient of {derivative!r} must be an integer or a fractions.Fraction, but is "
                f"{coefficient!r}. Use partial_derivatives and multiply."
            )
        index = _multi_index(derivative, coordinates, x.shape[-1])
        group = by_order.setdefault(sum(index), {})
        group[index] = group.get(index, Fraction(0)) + coefficient
    factor = sum(by_order.pop(0, {}).values(), Fraction(0))
    value, values = evaluate_targets(f, x, [Target.of(dict(group)) for group in by_order.values()])
    parts = [value * float(factor)] if factor or not values else []
    parts += values
    return sum(parts[1:], parts[0])


class Expansion(NamedTuple):
    """A jet of several variables that holds all targets.

    Attributes:
        orders: The order of each variable, see `nde.taylor.lower_sets.grading`.
        kept: The orders that are carried.
        degree: The highest order of a derivative.
        terms: For each target the orders that it reads, and their factors.
    """

    orders: tuple[int, ...]
    kept: frozenset[int]
    degree: int
    terms: tuple[tuple[tuple[int, float], ...], ...]


@functools.lru_cache(maxsize=256)
def chosen_way(targets: tuple[Target, ...]) -> Plan | Expansion:
    """Return what carries fewer coefficients: a jet of several variables, or jets along straight lines."""
    planned = plan(targets)
    indices = lower_set(index for target in targets for index, _ in target.terms)
    orders = grading(indices, _HIGHEST) if len(indices) <= _carried(targets, planned) else None
    if orders is None:
        return planned
    terms = tuple(
        tuple(
            (order_of(index, orders), float(factor * math.prod(map(math.factorial, index))))
            for index, factor in target.terms
        )
        for target in targets
    )
    return Expansion(orders, frozenset(order_of(index, orders) for index in indices), max(map(sum, indices)), terms)


def _carried(targets: Sequence[Target], planned: Plan) -> int:
    """Return how many coefficients the jets of a plan carry, one jet for each order, with its collapsed sums."""
    total = 0
    for order in set(planned.orders):
        members = planned.orders.count(order)
        sums = sum(target.order == order for target in targets)
        total += 1 + (order - 1) * members + min(members, sums)
    return total


def evaluate_targets(
    f: Callable[[Any], Any], x: Tensor, targets: Sequence[Target], way: Plan | Expansion | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return ``f(x)`` and the value of each target, all of the shape of ``f(x)``; the way to them may be given."""
    if not targets:
        return f(x), []
    if way is None:
        way = chosen_way(tuple(targets))
    if isinstance(way, Expansion):
        return _evaluate_expansion(f, x, way)
    totals: list[Any] = [None] * len(targets)
    value: Any = None
    for order in sorted(set(way.orders), reverse=True):
        members = [v for v, highest in enumerate(way.orders) if highest == order]
        value = _evaluate_group(f, x, targets, way, order, members, totals)
    return value, totals


def _evaluate_expansion(f: Callable[[Any], Any], x: Tensor, way: Expansion) -> tuple[Tensor, list[Tensor]]:
    result = lower_set_jet(f, x, way.orders, way.kept, way.degree)
    check_output(result, x)
    totals = []
    for terms in way.terms:
        total: Any = None
        for order, factor in terms:
            term = result.coefficient(order)
            term = term if factor == 1.0 else term * factor
            total = term if total is None else total + term
        totals.append(total)
    return result.primal, totals


def _evaluate_group(
    f: Callable[[Any], Any],
    x: Tensor,
    targets: Sequence[Target],
    planned: Plan,
    order: int,
    members: list[int],
    totals: list[Any],
) -> Tensor:
    """Push the directions that are carried to one order, and add what they hold of each target."""
    vectors = torch.tensor([planned.directions[v] for v in members], dtype=x.dtype, device=x.device)
    seeds = vectors.reshape(len(members), *[1] * (x.ndim - 1), x.shape[-1])

    def rows(of_order: int) -> tuple[list[int], Tensor]:
        chosen = [
            k
            for k, target in enumerate(targets)
            if target.order == of_order and any(planned.weights[k][v] for v in members)
        ]
        weights = [[float(planned.weights[k][v]) for v in members] for k in chosen]
        return chosen, torch.tensor(weights, dtype=x.dtype, device=x.device)

    top, top_weights = rows(order)
    collapsed = order > 1 and len(top) < len(members)
    result = jet(f, x, seeds, order=order, collapse=collapsed, weights=top_weights if collapsed else None)
    check_output(result, x)
    for k in range(1, order + 1):
        chosen, weights = (top, top_weights) if k == order else rows(k)
        if not chosen:
            continue
        coefficient = result.coefficient(k)
        sums = coefficient if collapsed and k == order else torch.tensordot(weights, coefficient, dims=([1], [0]))
        for position, target in enumerate(chosen):
            totals[target] = sums[position] if totals[target] is None else totals[target] + sums[position]
    return result.primal


def _multi_index(derivative: str | MultiIndex, coordinates: str, dimension: int) -> MultiIndex:
    if isinstance(derivative, str):
        if len(set(coordinates)) != dimension or len(coordinates) != dimension:
            raise ValueError(
                f"coordinates must name the {dimension} coordinates of x, each with one letter of its own, but is "
                f"{coordinates!r}."
            )
        unknown = [letter for letter in derivative if letter not in coordinates]
        if unknown:
            raise ValueError(
                f"derivative {derivative!r} has the letter {unknown[0]!r}, which is none of the coordinates "
                f"{coordinates!r}."
            )
        return tuple(derivative.count(letter) for letter in coordinates)
    index = tuple(derivative)
    if len(index) != dimension or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in index):
        raise ValueError(
            f"a multi-index must have {dimension} entries of at least 0, one for each coordinate of x, but is {index}."
        )
    return index
