"""Partial derivatives of any order at points: a plan's directions are pushed through the function and combined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from nde.taylor.evaluate import jet
from nde.taylor.lower_sets import lower_set_jet
from nde.taylor.operators.checks import check_output, check_points
from nde.taylor.operators.curves import Curve, Form, cheapest_curve
from nde.taylor.operators.polarisation import MultiIndex, Plan, Target, plan

__all__ = ["chosen_way", "evaluate_forms", "linear_operator", "partial_derivatives", "straight_lines"]


def partial_derivatives(
    f: Callable[[Any], Any], x: Tensor, derivatives: Sequence[str | MultiIndex], *, coordinates: str = ""
) -> tuple[Tensor, ...]:
    """Return partial derivatives of any orders, mixed ones included.

    They come from one curve that codes several variables (see `nde.taylor.operators.curves`), or from few jets along
    straight lines (see `nde.taylor.operators.polarisation`): whichever carries fewer coefficients.

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
    wanted = [index for index in dict.fromkeys(indices) if any(index)]
    value, values = evaluate_forms(f, x, [((index, Fraction(1)),) for index in wanted])
    found = dict(zip(wanted, values, strict=True))
    return tuple(found.get(index, value) for index in indices)


def linear_operator(
    f: Callable[[Any], Any],
    x: Tensor,
    terms: Mapping[str | MultiIndex, int | Fraction],
    *,
    coordinates: str = "",
) -> Tensor:
    """Return a linear combination of partial derivatives with rational coefficients.

    It is planned as one, which takes at most as many coefficients as its derivatives by themselves, often fewer.

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
    factors: dict[MultiIndex, Fraction] = {}
    for derivative, coefficient in terms.items():
        if isinstance(coefficient, bool) or not isinstance(coefficient, (int, Fraction)):
            raise TypeError(
                f"the coefficient of {derivative!r} must be an integer or a fractions.Fraction, but is "
                f"{coefficient!r}. Use partial_derivatives and multiply."
            )
        index = _multi_index(derivative, coordinates, x.shape[-1])
        factors[index] = factors.get(index, Fraction(0)) + coefficient
    factor = factors.pop((0,) * x.shape[-1], Fraction(0))
    form = tuple(sorted((index, value) for index, value in factors.items() if value))
    value, values = evaluate_forms(f, x, [form] if form else [])
    parts = [value * float(factor)] if factor or not values else []
    return _total(parts + values)


def chosen_way(forms: tuple[Form, ...]) -> Plan | Curve:
    """Return what carries fewer coefficients: one curve that codes several variables, or straight lines."""
    planned = straight_lines(forms)
    curve = cheapest_curve(forms, _carried(_targets(forms), planned))
    return planned if curve is None else curve


def straight_lines(forms: Iterable[Form]) -> Plan:
    """Return the plan of jets along straight lines that hold the forms."""
    return plan(tuple(_targets(forms)))


def _targets(forms: Iterable[Form]) -> list[Target]:
    """Return the parts of one order that the forms are made of, each once."""
    return list(dict.fromkeys(part for form in forms for part in _parts(form)))


def _parts(form: Form) -> list[Target]:
    by_order: dict[int, dict[MultiIndex, Fraction | int]] = {}
    for index, factor in form:
        by_order.setdefault(sum(index), {})[index] = factor
    return [Target.of(terms) for terms in by_order.values()]


def _carried(targets: Sequence[Target], planned: Plan) -> int:
    """Return how many coefficients the jets of a plan carry, one jet for each order, with its collapsed sums."""
    total = 0
    for order in set(planned.orders):
        members = planned.orders.count(order)
        sums = sum(target.order == order for target in targets)
        total += 1 + (order - 1) * members + min(members, sums)
    return total


def evaluate_forms(
    f: Callable[[Any], Any], x: Tensor, forms: Sequence[Form], way: Plan | Curve | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return ``f(x)`` and the value of each form, all of the shape of ``f(x)``; the way to them may be given."""
    if not forms:
        return f(x), []
    if way is None:
        way = chosen_way(tuple(forms))
    if isinstance(way, Curve):
        return _evaluate_curve(f, x, way)
    targets = _targets(forms)
    totals: list[Any] = [None] * len(targets)
    value: Any = None
    for order in sorted(set(way.orders), reverse=True):
        members = [v for v, highest in enumerate(way.orders) if highest == order]
        value = _evaluate_group(f, x, targets, way, order, members, totals)
    found = dict(zip(targets, totals, strict=True))
    return value, [_total([found[part] for part in _parts(form)]) for form in forms]


def _evaluate_curve(f: Callable[[Any], Any], x: Tensor, way: Curve) -> tuple[Tensor, list[Tensor]]:
    seeds = [(seed.coordinate, seed.order, float(seed.scale)) for seed in way.seeds]
    result = lower_set_jet(f, x, seeds, way.kept, way.degree)
    check_output(result, x)
    values = []
    for weights in way.weights:
        terms = [(result.coefficient(order), float(weight)) for order, weight in weights]
        values.append(_total([value if weight == 1.0 else value * weight for value, weight in terms]))
    return result.primal, values


def _total(parts: list[Any]) -> Any:
    return sum(parts[1:], parts[0])


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
