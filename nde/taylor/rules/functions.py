"""Elementwise functions, each by the recurrence of its differential equation.

Griewank and Walther, Evaluating Derivatives (2008), section 13.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from nde.taylor.frame import Lifted
from nde.taylor.jet_type import Jet
from nde.taylor.rules.elementwise import compose_derivative, elementwise
from nde.taylor.series import accumulate, convolve, integrate, tail

__all__: list[str] = []


@elementwise("exp")
def _exp(input: Any) -> Any:
    y: list[Lifted] = [torch.exp(input.lifted[0])]
    for k in range(1, input.order + 1):
        y.append(integrate(input.frame, input.lifted, y, k))
    return Jet(input.frame, y)


@elementwise("tanh")
def _tanh(input: Any) -> Any:
    return _riccati(input, torch.tanh(input.lifted[0]), 1.0, 0.0, -1.0)


@elementwise("tan")
def _tan(input: Any) -> Any:
    return _riccati(input, torch.tan(input.lifted[0]), 1.0, 0.0, 1.0)


@elementwise("sigmoid", "expit")
def _sigmoid(input: Any) -> Any:
    return _riccati(input, torch.sigmoid(input.lifted[0]), 0.0, 1.0, -1.0)


def _riccati(input: Any, y0: Any, constant: float, linear: float, quadratic: float) -> Any:
    """Solve ``y' = (constant + linear y + quadratic y^2) z'``."""
    frame = input.frame
    y: list[Lifted] = [y0]
    slope: list[Lifted] = []
    for k in range(1, frame.order + 1):
        value = convolve(frame, y, y, k - 1)
        if value is not None:
            value = value if quadratic == 1.0 else -value
        if linear and y[k - 1] is not None:
            value = accumulate(y[k - 1], value)
        slope.append(value + constant if k == 1 and constant else value)
        y.append(integrate(frame, input.lifted, slope, k))
    return Jet(frame, y)


def _coupled(input: Any, first: Any, second: Any, sign: int) -> tuple[Any, Any]:
    """Solve ``s' = c z'``, ``c' = sign s z'``."""
    frame, z = input.frame, input.lifted
    s: list[Lifted] = [first]
    c: list[Lifted] = [second]
    for k in range(1, frame.order + 1):
        rate = integrate(frame, z, s, k)
        s.append(integrate(frame, z, c, k))
        c.append(rate if rate is None or sign > 0 else -rate)
    return Jet(frame, s), Jet(frame, c)


def _circular(input: Any) -> tuple[Any, Any]:
    return _coupled(input, torch.sin(input.lifted[0]), torch.cos(input.lifted[0]), -1)


def _hyperbolic(input: Any) -> tuple[Any, Any]:
    return _coupled(input, torch.sinh(input.lifted[0]), torch.cosh(input.lifted[0]), 1)


elementwise("sin")(lambda input: _circular(input)[0])
elementwise("cos")(lambda input: _circular(input)[1])
elementwise("sinh")(lambda input: _hyperbolic(input)[0])
elementwise("cosh")(lambda input: _hyperbolic(input)[1])


@elementwise("sqrt")
def _sqrt(input: Any) -> Any:
    frame, z = input.frame, input.lifted
    y: list[Lifted] = [torch.sqrt(z[0])]
    half = 0.5 / y[0]
    for k in range(1, frame.order + 1):
        known = [*y, None]
        rest = convolve(frame, known, known, k, first=1)
        total = z[k] if rest is None else accumulate(-rest, z[k])
        y.append(None if total is None else total * half)
    return Jet(frame, y)


@elementwise("reciprocal")
def _reciprocal(input: Any) -> Any:
    frame, z = input.frame, input.lifted
    y: list[Lifted] = [1 / z[0]]
    for k in range(1, frame.order + 1):
        rest = tail(frame, z, y, k)
        y.append(None if rest is None else -(rest * y[0]))
    return Jet(frame, y)


@elementwise("expm1")
def _expm1(input: Any) -> Any:
    return Jet(input.frame, [torch.expm1(input.lifted[0]), *_exp(input).lifted[1:]])


def _by_derivative(names: tuple[str, ...], function: Callable[..., Any], derivative: Callable[..., Any]) -> Any:
    return elementwise(*names)(compose_derivative(function, derivative))


_by_derivative(("log",), torch.log, torch.reciprocal)
_by_derivative(("log1p",), torch.log1p, lambda z: 1 / (1 + z))
_by_derivative(("log2",), torch.log2, lambda z: 1 / (math.log(2) * z))
_by_derivative(("log10",), torch.log10, lambda z: 1 / (math.log(10) * z))
_by_derivative(("atan", "arctan"), torch.atan, lambda z: 1 / (1 + z * z))
_by_derivative(("asin", "arcsin"), torch.asin, lambda z: torch.rsqrt(1 - z * z))
_by_derivative(("acos", "arccos"), torch.acos, lambda z: -torch.rsqrt(1 - z * z))
_by_derivative(("asinh", "arcsinh"), torch.asinh, lambda z: torch.rsqrt(1 + z * z))
_by_derivative(("acosh", "arccosh"), torch.acosh, lambda z: torch.rsqrt(z - 1) * torch.rsqrt(z + 1))
_by_derivative(("atanh", "arctanh"), torch.atanh, lambda z: 1 / (1 - z * z))
_by_derivative(("erf",), torch.erf, lambda z: 2 / math.sqrt(math.pi) * torch.exp(-z * z))
_by_derivative(("erfc",), torch.erfc, lambda z: -2 / math.sqrt(math.pi) * torch.exp(-z * z))
_by_derivative(
    ("erfinv",), torch.erfinv, lambda z: math.sqrt(math.pi) / 2 * torch.exp(torch.erfinv(z) * torch.erfinv(z))
)
_by_derivative(("lgamma", "gammaln"), torch.lgamma, torch.digamma)
_by_derivative(("digamma", "psi"), torch.digamma, lambda z: torch.special.polygamma(1, z))


@elementwise("rsqrt")
def _rsqrt(input: Any) -> Any:
    return _reciprocal(_sqrt(input))


@elementwise("exp2")
def _exp2(input: Any) -> Any:
    return torch.exp(input * math.log(2))
