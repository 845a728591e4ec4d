"""Sums, products and the matrix products of layers."""

from __future__ import annotations

import operator
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.jet_type import Jet, series_of
from nde.taylor.registry import rule_for
from nde.taylor.series import accumulate, cauchy

__all__ = ["aligned"]


def aligned(frame: Frame, *values: Any) -> list[Any]:
    """Return the series of the arguments of a broadcasting operation, with as many axes as the result needs."""
    rank = max(value.ndim if hasattr(value, "ndim") else 0 for value in values)
    result = []
    for value in values:
        series = series_of(frame, value)
        if isinstance(value, Jet) and value.frame is frame:
            for _ in range(rank - value.ndim):
                series = [None if c is None else c.unsqueeze(1) for c in series]
        result.append(series)
    return result


@rule_for("add", "__add__", "__radd__")
def _add(frame: Frame, a: Any, b: Any, *, alpha: float = 1) -> Jet:
    if alpha != 1:
        b = b * alpha
    left, right = aligned(frame, a, b)
    first = left[0] + right[0]
    return Jet(frame, [first, *(accumulate(p, q) for p, q in zip(left[1:], right[1:], strict=True))])


@rule_for("neg", "negative", "__neg__")
def _neg(frame: Frame, a: Jet) -> Jet:
    return Jet(frame, [None if c is None else -c for c in a.lifted])


@rule_for("sub", "subtract", "__sub__")
def _sub(frame: Frame, a: Any, b: Any, *, alpha: float = 1) -> Jet:
    if alpha != 1:
        b = b * alpha
    left, right = aligned(frame, a, b)
    lifted = [left[0] - right[0]]
    for p, q in zip(left[1:], right[1:], strict=True):
        if p is None:
            lifted.append(None if q is None else -q)
        else:
            lifted.append(p if q is None else p - q)
    return Jet(frame, lifted)


@rule_for("rsub", "__rsub__")
def _rsub(frame: Frame, a: Any, b: Any, *, alpha: float = 1) -> Jet:
    return _sub(frame, b, a, alpha=alpha)


@rule_for("mul", "multiply", "__mul__", "__rmul__")
def _mul(frame: Frame, a: Any, b: Any) -> Jet:
    left, right = aligned(frame, a, b)
    return Jet(frame, cauchy(frame, left, right, operator.mul))


@rule_for("linear")
def _linear(frame: Frame, input: Any, weight: Any, bias: Any = None) -> Jet:
    if not isinstance(weight, Jet) and not isinstance(bias, Jet) and input.ndim > 0:
        linear = torch.nn.functional.linear
        return Jet(
            frame,
            [linear(input.lifted[0], weight, bias), *(c if c is None else linear(c, weight) for c in input.lifted[1:])],
        )
    product = torch.matmul(input, weight.mT if weight.ndim > 1 else weight)
    return product if bias is None else product + bias


@rule_for("matmul", "__matmul__", "mm", "mv", "bmm", "dot")
def _matmul(frame: Frame, a: Any, b: Any) -> Jet:
    if a.ndim == 1 or b.ndim == 1:
        left = a.unsqueeze(-2) if a.ndim == 1 else a
        right = b.unsqueeze(-1) if b.ndim == 1 else b
        product = torch.matmul(left, right)
        product = product.squeeze(-1) if b.ndim == 1 else product
        return product.squeeze(-1 if b.ndim == 1 else -2) if a.ndim == 1 else product
    left, right = aligned(frame, a, b)
    return Jet(frame, cauchy(frame, left, right, torch.matmul))


@rule_for("unsqueeze")
def _unsqueeze(frame: Frame, input: Jet, dim: int) -> Jet:
    dim = dim if dim < 0 else dim - input.ndim - 1
    return Jet(frame, [None if c is None else c.unsqueeze(dim) for c in input.lifted])


@rule_for("squeeze")
def _squeeze(frame: Frame, input: Jet, dim: int) -> Jet:
    dim = dim if dim < 0 else dim - input.ndim
    return Jet(frame, [None if c is None else c.squeeze(dim) for c in input.lifted])
