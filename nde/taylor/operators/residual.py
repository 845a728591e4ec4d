"""Evaluates differential expressions: the derivatives that they name are planned together and come from a few jets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from nde.taylor.operators.checks import check_points
from nde.taylor.operators.curves import Curve, Form
from nde.taylor.operators.expression import (
    Apply,
    Constant,
    Coordinate,
    Derivative,
    Expression,
    Given,
    Power,
    Product,
    Sum,
)
from nde.taylor.operators.partials import chosen_way, evaluate_forms, straight_lines
from nde.taylor.operators.polarisation import Plan

__all__ = ["Unknown", "evaluate_expressions", "expression_plan", "unknowns"]

# (values of the forms, the function's value, the points) -> value
Evaluator = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
Linear = dict[tuple[int | None, tuple[int, ...]], Fraction]


class Unknown(Derivative):
    """What a differential equation determines.

    ``u = Unknown("xt")`` stands for a function of points ``(x, t)``, the last axis of the points that it is evaluated
    at; ``u.t + u * u.x - nu * u.xx`` is Burgers' residual.

    Args:
        coordinates: A name for each coordinate: the letters of a string, or a sequence of names.
        component: Which output of the network this is; None: the network has one output.

    Raises:
        ValueError: There is no coordinate, or a name occurs twice.
    """

    def __init__(self, coordinates: str | Sequence[str], component: int | None = None) -> None:
        names = tuple(coordinates)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"coordinates must be distinct names, at least one, but are {names}.")
        clashes = [name for name in names if len(name) == 1 and name in ("d",)]
        if clashes:
            raise ValueError(
                f"a coordinate cannot be called {clashes[0]!r}: u.{clashes[0]} is a method. Choose another name."
            )
        super().__init__(names, (0,) * len(names), component)

    def coordinate(self, name: str) -> Coordinate:
        """Return a coordinate as an expression.

        Raises:
            ValueError: There is none of this name.
        """
        if name not in self.coordinates:
            raise ValueError(f"{name!r} is not a coordinate; the coordinates are {self.coordinates}.")
        return Coordinate(self.coordinates, self.coordinates.index(name))

    def given(self, function: Callable[[Tensor], Tensor]) -> Given:
        """Return a known function of the points, ``(*S, d) -> (*S,)``, as an expression."""
        return Given(function, self.coordinates)


def unknowns(count: int, coordinates: str | Sequence[str]) -> tuple[Unknown, ...]:
    """Return the components of an unknown with ``count`` outputs, as many as there are names to unpack to.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, but is {count}.")
    return tuple(Unknown(coordinates, component) for component in range(count))


def evaluate_expressions(expressions: Sequence[Expression], f: Callable[[Any], Any], x: Tensor) -> tuple[Tensor, ...]:
    """Return the values of differential expressions at points, from one plan for the derivatives of all of them.

    Args:
        expressions: What to evaluate, at least one.
        f: The function that takes the place of the unknown: ``(*S, d) -> (*S,)`` or ``(*S, 1)``, with components
            ``(*S, C)``. Called once for each order that directions are carried to.
        x: Points, shape ``(*S, d)``, floating, ``d`` the number of coordinates.

    Returns:
        One tensor of shape ``S`` for each. Gradients flow to the parameters of ``f``, to ``x`` and to the tensors in
        the expressions.

    Raises:
        TypeError, ValueError: The points or the output of ``f`` do not fit the expressions.
    """
    check_points(f, x)
    for expression in expressions:
        if expression.coordinates and x.shape[-1] != len(expression.coordinates):
            raise ValueError(
                f"x must have the {len(expression.coordinates)} coordinates {expression.coordinates} on its last "
                f"axis, but has the shape {tuple(x.shape)}."
            )
    forms, way, evaluators = _compiled(tuple(expressions))
    value, values = evaluate_forms(f, x, forms, way)
    results = [evaluator(values, value, x) for evaluator in evaluators]
    # an expression of constants only is a number
    return tuple(torch.as_tensor(result, dtype=x.dtype, device=x.device).expand(x.shape[:-1]) for result in results)


def expression_plan(*expressions: Expression) -> Plan:
    """Return the directions and weights of straight lines by which the expressions can be evaluated.

    They are, where one curve that codes several variables does not carry fewer coefficients.

    The plan is made once and kept. Call this before `torch.compile`, which would trace the planner otherwise.

    Raises:
        ValueError: There is no derivative in them.
    """
    forms = _compiled(expressions)[0]
    if not forms:
        raise ValueError("there is no derivative in these expressions, so that nothing is planned.")
    return straight_lines(forms)


def _compiled(
    expressions: tuple[Expression, ...],
) -> tuple[tuple[Form, ...], Plan | Curve | None, tuple[Evaluator, ...]]:
    """Return the forms, the way to them, and how they are combined.

    They are kept on the first expression, because expressions never change.
    What is kept is not traced by `torch.compile`; call `expression_plan` once before compiling.
    """
    if not expressions:
        raise ValueError("expressions must hold at least one differential expression.")
    kept = expressions[0].__dict__.setdefault("_compiled", {})
    if expressions not in kept:
        slots: dict[Form, int] = {}
        evaluators = tuple(_build(expression, slots) for expression in expressions)
        forms = tuple(slots)
        kept[expressions] = (forms, chosen_way(forms) if forms else None, evaluators)
    return kept[expressions]


def _build(node: Expression, slots: dict[Form, int]) -> Evaluator:
    if isinstance(node, Sum):
        return _build_sum(node, slots)
    if isinstance(node, Derivative):
        return _build_derivative(node.component, {node.index: Fraction(1)}, slots)
    if isinstance(node, Constant):
        constant: Any = _plain(node.value)
        return lambda values, value, x: constant
    if isinstance(node, Coordinate):
        position = node.position
        return lambda values, value, x: x[..., position]
    if isinstance(node, Given):
        function = node.function
        return lambda values, value, x: _given_value(function, x)
    parts = [_build(part, slots) for part in node.parts]  # type: ignore[attr-defined]
    if isinstance(node, Product):
        return lambda values, value, x: _product([part(values, value, x) for part in parts])
    if isinstance(node, Power):
        exponent = _plain(node.exponent)
        return lambda values, value, x: parts[0](values, value, x) ** exponent
    if isinstance(node, Apply):
        applied, options = node.function, node.options
        return lambda values, value, x: applied(*(part(values, value, x) for part in parts), **options)
    raise TypeError(f"an expression of the type {type(node).__name__} cannot be evaluated.")


def _build_derivative(
    component: int | None, terms: dict[tuple[int, ...], Fraction], slots: dict[Form, int]
) -> Evaluator:
    if not any(any(index) for index in terms):
        factor = float(sum(terms.values()))
        return lambda values, value, x: (
            _component(value, x, component) * factor if factor != 1 else _component(value, x, component)
        )
    slot = slots.setdefault(tuple(sorted(terms.items())), len(slots))
    return lambda values, value, x: _component(values[slot], x, component)


def _build_sum(node: Sum, slots: dict[Form, int]) -> Evaluator:
    """Join the terms that are linear with numbers as coefficients: one form for each component."""
    linear: Linear = {}
    evaluators: list[Evaluator] = []
    for term in _flat_terms(node):
        form = _linear_form(term)
        if form is None:
            evaluators.append(_build(term, slots))
            continue
        for key, value in form.items():
            linear[key] = linear.get(key, Fraction(0)) + value
    grouped: dict[tuple[int | None, bool], dict[tuple[int, ...], Fraction]] = {}
    for (component, index), factor in linear.items():
        if factor:
            grouped.setdefault((component, any(index)), {})[index] = factor
    evaluators += [_build_derivative(component, terms, slots) for (component, _), terms in grouped.items()]
    if not evaluators:
        return lambda values, value, x: x.new_zeros(x.shape[:-1])

    def total(values: Sequence[Tensor], value: Tensor, x: Tensor) -> Tensor:
        result = evaluators[0](values, value, x)
        for evaluator in evaluators[1:]:
            result = result + evaluator(values, value, x)
        return result

    return total


def _flat_terms(node: Sum) -> list[Expression]:
    terms: list[Expression] = []
    for part in node.parts:
        terms += _flat_terms(part) if isinstance(part, Sum) else [part]
    return terms


def _linear_form(node: Expression) -> Linear | None:
    """Return the expression as a combination of derivatives with numbers as coefficients, where it is one."""
    if isinstance(node, Derivative):
        return {(node.component, node.index): Fraction(1)}
    if isinstance(node, Product):
        factor = Fraction(1)
        form: Linear | None = None
        for part in node.parts:
            value = part.value if isinstance(part, Constant) else None
            if isinstance(value, Fraction) or (isinstance(value, float) and math.isfinite(value)):
                factor *= Fraction(value)  # a float is a fraction, too
            elif form is None:
                form = _linear_form(part)
                if form is None:
                    return None
            else:
                return None
        return None if form is None else {key: value * factor for key, value in form.items()}
    if isinstance(node, Sum):
        total: Linear = {}
        for part in node.parts:
            form = _linear_form(part)
            if form is None:
                return None
            for key, value in form.items():
                total[key] = total.get(key, Fraction(0)) + value
        return total
    return None


def _plain(value: Any) -> Any:
    """Return a fraction as a float, which is what tensors take, and anything else as it is."""
    return float(value) if isinstance(value, Fraction) else value


def _product(factors: Sequence[Any]) -> Any:
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


def _component(value: Tensor, x: Tensor, component: int | None) -> Tensor:
    lead = x.shape[:-1]
    if component is None:
        if value.shape == lead:
            return value
        if value.shape == (*lead, 1):
            return value.squeeze(-1)
        raise ValueError(
            f"the unknown has one component, so that f must return the shape {tuple(lead)} or {(*lead, 1)} for points "
            f"of the shape {tuple(x.shape)}, but it returns {tuple(value.shape)}. For several outputs write u, v = "
            "unknowns(2, ...)."
        )
    if value.ndim != len(lead) + 1 or value.shape[-1] <= component:
        raise ValueError(
            f"f must return the shape {(*lead, 'C')} with C of at least {component + 1}, because component "
            f"{component} of the unknown is used, but it returns {tuple(value.shape)}."
        )
    return value[..., component]


def _given_value(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    value = function(x)
    if not isinstance(value, torch.Tensor) or value.shape not in (x.shape[:-1], torch.Size([])):
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(
            f"a given function must return the shape {tuple(x.shape[:-1])} for points of the shape {tuple(x.shape)}, "
            f"but returned {shape}; other shapes would broadcast to a residual of the wrong size."
        )
    return value
