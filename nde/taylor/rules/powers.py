"""Powers: whole ones by repeated multiplication, so that they are right at zero; others by the binomial series."""

from __future__ import annotations

import math
from typing import Any

import torch

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet, belongs
from nde.taylor.registry import rule_for
from nde.taylor.rules.algebra import aligned
from nde.taylor.series import compose

__all__: list[str] = []


@rule_for("pow", "__pow__", "float_power")
def _pow(frame: Frame, input: Any, exponent: Any) -> Any:
    if belongs(frame, exponent):
        base: Any = input if isinstance(input, (torch.Tensor, Jet)) else _as_tensor(input, exponent)
        return torch.exp(exponent * torch.log(base))
    if isinstance(exponent, (int, float)):
        if float(exponent).is_integer():
            return _whole_power(input, int(exponent))
        if exponent == 0.5:
            return torch.sqrt(input)
        if exponent == -0.5:
            return torch.rsqrt(input)
        return Jet(frame, compose(frame, _binomial(input.lifted[0], exponent, frame.degree), input.lifted))
    exponent = exponent.to(input.dtype)
    (z, _) = aligned(frame, input, exponent)
    return Jet(frame, compose(frame, _binomial(z[0], exponent, frame.degree), z))


@rule_for("__rpow__")
def _rpow(frame: Frame, input: Any, exponent: Any) -> Any:
    return _pow(frame, exponent, input)


def _as_tensor(value: float, like: Any) -> torch.Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def _whole_power(input: Any, exponent: int) -> Any:
    if exponent < 0:
        return torch.reciprocal(_whole_power(input, -exponent))
    if exponent == 0:
        return torch.ones_like(input)
    result = None
    square = input
    while True:
        if exponent & 1:
            result = square if result is None else result * square
        exponent >>= 1
        if exponent == 0:
            return result
        square = torch.square(square)


def _binomial(z0: Any, exponent: Any, order: int) -> list[Lifted]:
    """Return the Taylor coefficients ``binom(r, m) z0^(r - m)``; zero where the binomial is, even at ``z0 = 0``."""
    series: list[Lifted] = [torch.pow(z0, exponent)]
    binomial = 1.0
    for m in range(1, order + 1):
        binomial = binomial * (exponent - (m - 1)) / m
        if isinstance(exponent, torch.Tensor):
            vanishes = binomial == 0
            reduced = torch.where(vanishes, 0.0, exponent - m)
            series.append(torch.where(vanishes, 0.0, binomial * torch.pow(z0, reduced)))
        else:
            series.append(binomial * torch.pow(z0, exponent - m))
    return series


@rule_for("hypot")
def _hypot(frame: Frame, input: Any, other: Any) -> Any:
    return torch.sqrt(torch.square(input) + torch.square(other))


@rule_for("atan2", "arctan2")
def _atan2(frame: Frame, input: Any, other: Any) -> Any:
    # rotated by the angle at the primal, so that the remaining angle is near zero, where atan(y / x) is smooth
    y0, x0 = (value.primal if belongs(frame, value) else value for value in (input, other))
    radius = torch.hypot(y0, x0)
    cosine, sine = x0 / radius, y0 / radius
    rest = torch.atan((cosine * input - sine * other) / (cosine * other + sine * input))
    return torch.atan2(y0, x0) + rest


@rule_for("logaddexp")
def _logaddexp(frame: Frame, input: Any, other: Any) -> Any:
    return other - torch.nn.functional.logsigmoid(other - input)


@rule_for("logaddexp2")
def _logaddexp2(frame: Frame, input: Any, other: Any) -> Any:
    return torch.logaddexp(input * math.log(2), other * math.log(2)) * (1 / math.log(2))


@rule_for("polygamma")
def _polygamma(frame: Frame, n: Any, input: Any) -> Any:
    if isinstance(n, Jet):  # Tensor.polygamma(n)
        n, input = input, n
    outer = []
    factorial = 1
    for m in range(frame.degree + 1):
        factorial *= max(m, 1)
        outer.append(torch.special.polygamma(n + m, input.lifted[0]) / factorial)
    return Jet(frame, compose(frame, outer, input.lifted))
