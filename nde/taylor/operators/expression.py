"""A small algebra of differential expressions: ``u.t + u * u.x - nu * u.xx`` is data, differentiable by symbols.

Nothing is evaluated here; `nde.taylor.operators.residual` plans and evaluates what is written.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Apply",
    "Constant",
    "Coordinate",
    "Derivative",
    "Expression",
    "Given",
    "Power",
    "Product",
    "Sum",
    "as_expression",
]

Factor = float | Fraction | Tensor


class Expression:
    """A term of a differential equation.

    Expressions are added, multiplied, divided and raised to constant powers, with each other, numbers and tensors;
    functions of PyTorch apply to them (``torch.sin(u)``). ``expression.xxt`` or ``expression.d("x", "x", "t")``
    differentiates, by the product and the chain rule. ``expression(f, x)`` evaluates, see
    `nde.taylor.operators.residual`.

    Attributes:
        coordinates: Names of the coordinates, in the order of the last axis of ``x``; empty where it depends on none.
    """

    coordinates: tuple[str, ...] = ()

    def differentiated(self, coordinate: str) -> Expression:
        """Return the partial derivative with respect to one coordinate."""
        raise NotImplementedError

    def d(self, *names: str) -> Expression:
        """Return the partial derivative with respect to the coordinates of these names, one after the other.

        Raises:
            ValueError: A name is not that of a coordinate.
        """
        result = self
        for name in names:
            if name not in self.coordinates:
                raise ValueError(
                    f"{name!r} is not a coordinate of this expression; its coordinates are {self.coordinates}."
                )
            result = result.differentiated(name)
        return result

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_") or not name or any(letter not in self.coordinates for letter in name):
            known = ", ".join(self.coordinates) or "none"
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}. Derivatives are written with the letters of the "
                f"coordinates (here: {known}), as u.xxt; for names of several letters write u.d('x1', 'x1')."
            )
        return self.d(*name)

    def __call__(self, f: Callable[[Any], Any], x: Tensor) -> Tensor:
        """Evaluate at points: see `nde.taylor.operators.evaluate_expressions`."""
        from nde.taylor.operators.residual import evaluate_expressions  # it stands above this file

        return evaluate_expressions((self,), f, x)[0]

    def __add__(self, other: Any) -> Expression:
        return Sum((self, as_expression(other)))

    def __radd__(self, other: Any) -> Expression:
        return Sum((as_expression(other), self))

    def __sub__(self, other: Any) -> Expression:
        return Sum((self, -as_expression(other)))

    def __rsub__(self, other: Any) -> Expression:
        return Sum((as_expression(other), -self))

    def __mul__(self, other: Any) -> Expression:
        return Product((self, as_expression(other)))

    def __rmul__(self, other: Any) -> Expression:
        return Product((as_expression(other), self))

    def __truediv__(self, other: Any) -> Expression:
        if isinstance(other, numbers.Rational):
            return Product((Constant(1 / _fraction(other)), self))
        return Product((self, Power(as_expression(other), -1)))

    def __rtruediv__(self, other: Any) -> Expression:
        return Product((as_expression(other), Power(self, -1)))

    def __pow__(self, exponent: float) -> Expression:
        return Power(self, exponent)

    def __neg__(self) -> Expression:
        return Product((Constant(Fraction(-1)), self))

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Expression:
        arithmetic = _ARITHMETIC.get(getattr(func, "__name__", ""))
        if arithmetic is not None and len(args) == 2 and not kwargs:
            return arithmetic(as_expression(args[0]), args[1])
        return Apply(func, tuple(as_expression(arg) for arg in args), kwargs or {})


class Derivative(Expression):
    """A partial derivative of one component of the unknown; the multi-index of zeros is the unknown itself."""

    def __init__(self, coordinates: tuple[str, ...], index: tuple[int, ...], component: int | None) -> None:
        self.coordinates = coordinates
        self.index = index
        self.component = component

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        at = self.coordinates.index(coordinate)
        index = (*self.index[:at], self.index[at] + 1, *self.index[at + 1 :])
        return Derivative(self.coordinates, index, self.component)


class Coordinate(Expression):
    """One coordinate of the points."""

    def __init__(self, coordinates: tuple[str, ...], position: int) -> None:
        self.coordinates = coordinates
        self.position = position

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        return Constant(Fraction(int(self.coordinates.index(coordinate) == self.position)))


class Given(Expression):
    """A known function of the points, of shape ``(*S, d) -> (*S,)``: a source term or a coefficient."""

    def __init__(self, function: Callable[[Tensor], Tensor], coordinates: tuple[str, ...]) -> None:
        self.function = function
        self.coordinates = coordinates

    def differentiated(self, coordinate: str) -> Expression:
        """Raise: a known function has no symbolic derivative."""
        raise NotImplementedError(
            f"the derivative with respect to {coordinate!r} of a given function is not known. Write the function with "
            "coordinates (u.coordinate('x')) and torch.sin, torch.exp, ..., or give its derivative as a function of "
            "its own."
        )


class Constant(Expression):
    """A number, or a tensor that does not depend on the points: a coefficient that may be trained."""

    def __init__(self, value: Factor) -> None:
        self.value = value

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        return Constant(Fraction(0))


class _Compound(Expression):
    def __init__(self, parts: Sequence[Expression]) -> None:
        self.parts = tuple(parts)
        self.coordinates = _common_coordinates(self.parts)


class Sum(_Compound):
    """A sum."""

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        return Sum(tuple(part.differentiated(coordinate) for part in self.parts if not isinstance(part, Constant)))


class Product(_Compound):
    """A product."""

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        terms = [
            Product((*self.parts[:k], part.differentiated(coordinate), *self.parts[k + 1 :]))
            for k, part in enumerate(self.parts)
            if not isinstance(part, Constant)
        ]
        return terms[0] if len(terms) == 1 else Sum(terms)


class Power(_Compound):
    """A constant power."""

    def __init__(self, base: Expression, exponent: float) -> None:
        if not isinstance(exponent, (int, float, Fraction)):
            raise TypeError(
                f"the exponent must be a number, but is a {type(exponent).__name__}. Write torch.exp(b * torch.log(a))."
            )
        super().__init__((base,))
        self.exponent = exponent

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        (base,) = self.parts
        outer: Expression = Constant(self.exponent)
        if self.exponent != 1:
            outer = Product((outer, Power(base, self.exponent - 1)))
        return Product((outer, base.differentiated(coordinate)))


class Apply(_Compound):
    """A function of PyTorch of expressions."""

    def __init__(self, function: Callable[..., Tensor], parts: Sequence[Expression], options: dict[str, Any]) -> None:
        super().__init__(parts)
        self.function = function
        self.options = options

    def differentiated(self, coordinate: str) -> Expression:
        """See `Expression.differentiated`."""
        rule = _CHAIN.get(self.function)
        if rule is None or len(self.parts) != 1 or self.options:
            name = getattr(self.function, "__name__", str(self.function))
            known = ", ".join(sorted(function.__name__ for function in _CHAIN))
            raise NotImplementedError(f"the symbolic derivative of {name} is not known; those of {known} are.")
        return rule(self.parts[0]) * self.parts[0].differentiated(coordinate)


def as_expression(value: Any) -> Expression:
    """Return a number or tensor as an expression.

    Raises:
        TypeError: It is neither, nor an expression.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, numbers.Rational):
        return Constant(_fraction(value))
    if isinstance(value, (float, Tensor)):
        return Constant(value)
    raise TypeError(
        f"a differential expression is made of expressions, numbers and tensors, but met a {type(value).__name__}. "
        "Wrap a function of the points: u.given(function)."
    )


def _fraction(value: numbers.Rational) -> Fraction:
    return Fraction(int(value.numerator), int(value.denominator))


def _common_coordinates(parts: Sequence[Expression]) -> tuple[str, ...]:
    found = dict.fromkeys(part.coordinates for part in parts if part.coordinates)
    if len(found) > 1:
        raise ValueError(
            f"expressions over different coordinates meet: {', '.join(map(str, found))}. Make all with one Unknown."
        )
    return next(iter(found), ())


_ARITHMETIC: dict[str, Callable[[Any, Any], Expression]] = {
    **dict.fromkeys(("add", "__add__", "__radd__"), lambda a, b: a + b),
    **dict.fromkeys(("sub", "__sub__", "subtract"), lambda a, b: a - b),
    **dict.fromkeys(("rsub", "__rsub__"), lambda a, b: as_expression(b) - a),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "multiply"), lambda a, b: a * b),
    **dict.fromkeys(("div", "true_divide", "divide", "__truediv__"), lambda a, b: a / b),
    **dict.fromkeys(("__rtruediv__", "__rdiv__"), lambda a, b: as_expression(b) / a),
    **dict.fromkeys(("pow", "__pow__"), lambda a, b: a**b),
}

_CHAIN: dict[Callable[..., Any], Callable[[Any], Any]] = {
    torch.sin: torch.cos,
    torch.cos: lambda z: -torch.sin(z),
    torch.exp: torch.exp,
    torch.log: lambda z: 1 / z,
    torch.sqrt: lambda z: z ** (-1 / 2) / 2,
    torch.tanh: lambda z: 1 - torch.tanh(z) ** 2,
    torch.sinh: torch.cosh,
    torch.cosh: torch.sinh,
    torch.square: lambda z: 2 * z,
}
