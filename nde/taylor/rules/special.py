"""Special functions and others that are compositions of elementary ones."""

from __future__ import annotations

import math
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, rule_for
from nde.taylor.rules.elementwise import compose_derivative, elementwise

__all__: list[str] = []


def _density(z: Any) -> Any:
    """Return the density of the normal law."""
    return torch.exp(-0.5 * z * z) * (1 / math.sqrt(2 * math.pi))


elementwise("ndtr")(compose_derivative(torch.special.ndtr, _density))
elementwise("ndtri")(
    compose_derivative(
        torch.special.ndtri,
        lambda z: torch.exp(0.5 * torch.special.ndtri(z) * torch.special.ndtri(z)) * math.sqrt(2 * math.pi),
    )
)
elementwise("log_ndtr")(
    compose_derivative(
        torch.special.log_ndtr,
        # the quotient of the density and the distribution, which both underflow far on the left
        lambda z: torch.exp(-0.5 * z * z - torch.special.log_ndtr(z)) * (1 / math.sqrt(2 * math.pi)),
    )
)
elementwise("erfcx")(
    compose_derivative(torch.special.erfcx, lambda z: 2 * z * torch.special.erfcx(z) - 2 / math.sqrt(math.pi))
)


@elementwise("logit")
def _logit(input: Any, eps: float | None = None) -> Any:
    z = input if eps is None else torch.clamp(input, eps, 1 - eps)
    return torch.log(z) - torch.log1p(-z)


@elementwise("entr")
def _entr(input: Any) -> Any:
    return -input * torch.log(input)


@elementwise("deg2rad")
def _deg2rad(input: Any) -> Any:
    return input * (math.pi / 180)


@elementwise("rad2deg")
def _rad2deg(input: Any) -> Any:
    return input * (180 / math.pi)


@elementwise("sinc")
def _sinc(input: Any) -> Any:
    z = input * math.pi
    near = torch.abs(z) < 1.5
    # the series of sin z / z, whose terms beyond z^26 are below rounding there, with derivatives to high order
    square = torch.where(near, z, 0.0) * torch.where(near, z, 0.0)
    series = 1 - square / (27 * 26)
    for n in range(24, 0, -2):
        series = 1 - square * series / (n * (n + 1))
    far = torch.where(near, 1.5, z)
    return torch.where(near, series, torch.sin(far) / far)


@rule_for("multigammaln", "mvlgamma")
def _mvlgamma(frame: Frame, input: Any, p: int) -> Any:
    total = p * (p - 1) / 4 * math.log(math.pi)
    return sum((torch.lgamma(input - 0.5 * j) for j in range(p)), total)


@rule_for("xlogy")
def _xlogy(frame: Frame, input: Any, other: Any) -> Any:
    return input * torch.log(other)


RULES[torch.special.xlog1py] = lambda frame, input, other: input * torch.log1p(other)


@rule_for("glu")
def _glu(frame: Frame, input: Any, dim: int = -1) -> Any:
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)


@rule_for("trapezoid", "trapz")
def _trapezoid(frame: Frame, y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
    count = y.shape[dim]
    total = y.narrow(dim, 1, count - 1) + y.narrow(dim, 0, count - 1)
    steps = dx if x is None else (x.diff(dim=dim) if x.ndim == y.ndim else _along(x.diff(), dim, y.ndim))
    return (total * steps).sum(dim) * 0.5


def _along(steps: Any, dim: int, rank: int) -> Any:
    shape = [1] * rank
    shape[dim] = -1
    return steps.reshape(shape)
