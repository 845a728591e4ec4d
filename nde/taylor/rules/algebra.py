"""Sums, products, quotients and the matrix products of layers."""

from __future__ import annotations

import operator
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.jet_type import Jet, belongs, series_of
from nde.taylor.registry import RULES, rule_for
from nde.taylor.series import accumulate, convolve, multilinear, tail

__all__ = ["aligned", "full_along", "rank_of"]


def rank_of(value: Any) -> int:
    """Return the number of axes of a tensor, a jet or a number."""
    return value.ndim if hasattr(value, "ndim") else 0


def aligned(frame: Frame, *values: Any) -> list[Any]:
    """Return the series of the arguments of a broadcasting operation, with as many axes as the result needs."""
    rank = max(rank_of(value) for value in values)
    result = []
    for value in values:
        series = series_of(frame, value)
        if belongs(frame, value):
            for _ in range(rank - value.ndim):
                series = [None if c is None else c.unsqueeze(1) for c in series]
        result.append(series)
    return result


def full_along(series: Any, *axes: int) -> Any:
    """Expand axes (counted from the end) along which a coefficient does not vary and an operation needs its size."""
    sizes = [(axis, series[0].shape[axis]) for axis in axes]
    return [series[0], *(c if c is None else _expanded(c, sizes) for c in series[1:])]


def _expanded(coefficient: Any, sizes: list[tuple[int, int]]) -> Any:
    if all(coefficient.shape[axis] == size for axis, size in sizes):
        return coefficient
    shape = list(coefficient.shape)
    for axis, size in sizes:
        shape[axis] = size
    return coefficient.expand(*shape)


@rule_for("add", "__add__", "__radd__")
def _add(frame: Frame, input: Any, other: Any, *, alpha: float = 1) -> Any:
    if alpha != 1:
        other = other * alpha
    left, right = aligned(frame, input, other)
    return Jet(frame, [left[0] + right[0], *map(accumulate, left[1:], right[1:])])


@rule_for("neg", "negative", "__neg__")
def _neg(frame: Frame, input: Any) -> Any:
    return Jet(frame, [None if c is None else -c for c in input.lifted])


@rule_for("positive", "__pos__")
def _positive(frame: Frame, input: Any) -> Any:
    return input


@rule_for("sub", "subtract", "__sub__")
def _sub(frame: Frame, input: Any, other: Any, *, alpha: float = 1) -> Any:
    if alpha != 1:
        other = other * alpha
    left, right = aligned(frame, input, other)
    lifted = [left[0] - right[0]]
    for p, q in zip(left[1:], right[1:], strict=True):
        if p is None or q is None:
            lifted.append(p if q is None else -q)
        else:
            lifted.append(p - q)
    return Jet(frame, lifted)


@rule_for("rsub", "__rsub__")
def _rsub(frame: Frame, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return _sub(frame, other, input, alpha=alpha)


@rule_for("mul", "multiply", "__mul__", "__rmul__")
def _mul(frame: Frame, input: Any, other: Any) -> Any:
    if input is other:
        return _square(frame, input)
    left, right = aligned(frame, input, other)
    return Jet(frame, multilinear(frame, (left, right), operator.mul))


@rule_for("square")
def _square(frame: Frame, input: Any) -> Any:
    return Jet(frame, [convolve(frame, input.lifted, input.lifted, k) for k in range(frame.order + 1)])


@rule_for("div", "divide", "true_divide", "__truediv__")
def _div(frame: Frame, input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        raise NotImplementedError("torch.div with rounding_mode is a step function: use the tensor jet.primal.")
    if not belongs(frame, other):
        whole = isinstance(other, torch.Tensor) and not (other.is_floating_point() or other.is_complex())
        return torch.mul(
            input, 1 / (other.to(input.dtype) if whole else other)
        )  # 1 / integers has torch's default dtype
    a, b = aligned(frame, input, other)
    inverse = 1 / b[0]
    quotient = [a[0] * inverse]
    for k in range(1, frame.order + 1):
        rest = tail(frame, b, quotient, k)
        total = a[k] if rest is None else accumulate(-rest, a[k])
        quotient.append(None if total is None else total * inverse)
    return Jet(frame, quotient)


@rule_for("__rtruediv__", "__rdiv__")
def _rdiv(frame: Frame, input: Any, other: Any) -> Any:
    return _div(frame, other, input)


@rule_for("addcmul")
def _addcmul(frame: Frame, input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return input + (tensor1 * tensor2) * value


@rule_for("addcdiv")
def _addcdiv(frame: Frame, input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return input + (tensor1 / tensor2) * value


@rule_for("lerp")
def _lerp(frame: Frame, input: Any, end: Any, weight: Any) -> Any:
    return input + (end - input) * weight


@rule_for("linear")
def _linear(frame: Frame, input: Any, weight: Any, bias: Any = None) -> Any:
    if belongs(frame, weight) or not belongs(frame, input):
        product = torch.matmul(input, weight.mT if weight.ndim > 1 else weight)
        return product if bias is None else product + bias
    linear = torch.nn.functional.linear
    z = full_along(input.lifted, -1)
    inner_bias = None if belongs(frame, bias) else bias
    carried = Jet(frame, [linear(z[0], weight, inner_bias), *(None if c is None else linear(c, weight) for c in z[1:])])
    return carried + bias if belongs(frame, bias) else carried


@rule_for("matmul", "mm", "mv", "bmm", "dot")
def _matmul(frame: Frame, input: Any, other: Any) -> Any:
    if input.ndim == 1 or other.ndim == 1:
        left = torch.unsqueeze(input, -2) if input.ndim == 1 else input
        right = torch.unsqueeze(other, -1) if other.ndim == 1 else other
        product = torch.matmul(left, right)
        product = torch.squeeze(product, -1) if other.ndim == 1 else product
        return torch.squeeze(product, -1 if other.ndim == 1 else -2) if input.ndim == 1 else product
    left, right = aligned(frame, input, other)
    left = full_along(left, -1) if belongs(frame, input) else left
    right = full_along(right, -2) if belongs(frame, other) else right
    return Jet(frame, multilinear(frame, (left, right), torch.matmul))


def _matmul_method(frame: Frame, input: Any, other: Any) -> Any:
    if torch.compiler.is_compiling() and not isinstance(input, Jet):
        raise TypeError(
            "torch.compile exchanges the sides of @ between a jet and a tensor. Write torch.matmul(a, b) for a @ b."
        )
    return torch.matmul(input, other)


RULES[torch.Tensor.matmul] = RULES[torch.Tensor.__matmul__] = _matmul_method


@rule_for("__rmatmul__")
def _rmatmul(frame: Frame, input: Any, other: Any) -> Any:
    return torch.matmul(other, input)


@rule_for("addmm", "baddbmm", "addmv")
def _addmm(frame: Frame, input: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return input * beta + torch.matmul(left, right) * alpha


@rule_for("addbmm")
def _addbmm(frame: Frame, input: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return input * beta + torch.sum(torch.matmul(left, right), 0) * alpha


@rule_for("outer", "ger")
def _outer(frame: Frame, input: Any, vec2: Any) -> Any:
    return torch.unsqueeze(input, -1) * torch.unsqueeze(vec2, -2)


def _cross(frame: Frame, input: Any, other: Any, *, dim: int = -1) -> Any:
    def turned(value: Any, by: int) -> Any:
        return torch.roll(value, by, dim)

    return turned(input, -1) * turned(other, -2) - turned(input, -2) * turned(other, -1)


RULES[torch.linalg.cross] = _cross


@rule_for("cross")
def _cross_of_first(frame: Frame, input: Any, other: Any, dim: int | None = None) -> Any:
    shape = torch.broadcast_shapes(tuple(input.shape), tuple(other.shape))
    axis = shape.index(3) - len(shape) if dim is None else dim  # the first axis of size 3, as torch finds it
    return _cross(frame, input, other, dim=axis)


@rule_for("addr")
def _addr(frame: Frame, input: Any, vec1: Any, vec2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return input * beta + torch.outer(vec1, vec2) * alpha


@rule_for("ldexp")
def _ldexp(frame: Frame, input: Any, other: Any) -> Any:
    return input * torch.exp2(other) if belongs(frame, other) else input * torch.pow(2.0, other)
