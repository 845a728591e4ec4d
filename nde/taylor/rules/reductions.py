"""Sums and what is made of them; the maximum by the element that is largest at the primal."""

from __future__ import annotations

import math
from typing import Any

import torch

from nde.taylor.frame import Frame, Lifted
from nde.taylor.registry import RULES, rule_for
from nde.taylor.rules.linear import each, last_axes
from nde.taylor.rules.ordering import Picked

__all__: list[str] = []


def _axes(dim: Any, rank: int) -> tuple[int, ...]:
    axes = last_axes(dim, rank)
    return axes if isinstance(axes, tuple) else (axes,)


@rule_for("sum")
def _sum(
    frame: Frame, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None
) -> Any:
    dim = axis if dim is None else dim
    if dtype is not None:
        return _sum(frame, input.to(dtype), dim, keepdim)
    if input.ndim == 0:
        return input
    axes = _axes(dim, input.ndim)
    shape = input.lifted[0].shape

    def summed(c: Lifted) -> Lifted:
        total = c.sum(axes, keepdim=keepdim)
        repeats = math.prod([shape[axis] for axis in axes if c.shape[axis] == 1])
        return total if repeats == 1 else total * repeats

    return each(input, summed)


@rule_for("mean")
def _mean(frame: Frame, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    count = math.prod([input.shape[axis] for axis in _axes(dim, input.ndim)]) if input.ndim else 1
    return _sum(frame, input, dim, keepdim, dtype=dtype) * (1 / count)


@rule_for("var")
def _var(
    frame: Frame,
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    count = math.prod([input.shape[axis] for axis in _axes(dim, input.ndim)])
    centred = input - _mean(frame, input, dim, True)
    return _sum(frame, torch.square(centred), dim, keepdim) * (1 / (count - correction))


@rule_for("std")
def _std(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
    return torch.sqrt(_var(frame, input, *args, **kwargs))


@rule_for("norm", "vector_norm")
def _norm(frame: Frame, input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if p in ("fro", None):
        p = 2
    if isinstance(p, str) or p == -math.inf or p == 0:
        raise NotImplementedError(f"torch.norm of a jet needs a finite p > 0 or inf, but p is {p!r}.")
    if p == math.inf:
        return _amax(frame, torch.abs(input), _axes(dim, input.ndim), keepdim)
    if p == 1:
        return _sum(frame, torch.abs(input), dim, keepdim, dtype=dtype)
    if p == 2:
        return torch.sqrt(_sum(frame, torch.square(input), dim, keepdim, dtype=dtype))
    return torch.pow(_sum(frame, torch.pow(torch.abs(input), p), dim, keepdim, dtype=dtype), 1 / p)


def _vector_norm(
    frame: Frame, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    return _norm(frame, x, ord, dim, keepdim, dtype)


RULES[torch.linalg.vector_norm] = _vector_norm


def _linalg_norm(
    frame: Frame, A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    if ord is not None and (isinstance(dim, (tuple, list)) or (dim is None and A.ndim == 2)):
        return _matrix_norm(frame, A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return _norm(frame, A, 2 if ord is None else ord, dim, keepdim, dtype)


def _matrix_norm(
    frame: Frame, A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """Return the norm of the entries, or the largest or smallest sum of the sizes of a row or a column."""
    if ord == "fro":
        return _norm(frame, A, 2, dim, keepdim, dtype)
    if ord not in (1, -1, math.inf, -math.inf):
        raise NotImplementedError(
            f"the norm of a matrix that varies is 'fro', 1, -1, inf or -inf, but ord is {ord!r}, which needs singular "
            "values."
        )
    rows, columns = last_axes(tuple(dim), A.ndim)
    summed, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = _sum(frame, torch.abs(A), summed, True, dtype=dtype)
    extreme = _amax(frame, sums, other, True) if ord > 0 else _amin(frame, sums, other, True)
    return extreme if keepdim else torch.squeeze(extreme, (rows, columns))


RULES[torch.linalg.norm] = _linalg_norm
RULES[torch.linalg.matrix_norm] = _matrix_norm


@rule_for("amax")
def _amax(frame: Frame, input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    return _extreme(frame, input, dim, keepdim, torch.argmax)


@rule_for("amin")
def _amin(frame: Frame, input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    return _extreme(frame, input, dim, keepdim, torch.argmin)


def _extreme(frame: Frame, input: Any, dim: Any, keepdim: bool, argument: Any) -> Any:
    axes = sorted(_axes(dim, input.ndim))
    for axis in axes:  # one after the other, each kept, so that the others keep their places
        where = argument(input, axis, True)
        input = torch.gather(input, axis, where)
    return input if keepdim else torch.squeeze(input, tuple(axes))


@rule_for("max")
def _max(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
    return _max_or_min(frame, input, torch.maximum, torch.argmax, *args, **kwargs)


@rule_for("min")
def _min(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
    return _max_or_min(frame, input, torch.minimum, torch.argmin, *args, **kwargs)


def _max_or_min(frame: Frame, input: Any, of_two: Any, argument: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is None:
        return _extreme(frame, input, None, False, argument)
    if not isinstance(dim, int):
        return of_two(input, dim)
    return Picked(_extreme(frame, input, dim, keepdim, argument), argument(input, dim, keepdim))


@rule_for("logsumexp")
def _logsumexp(frame: Frame, input: Any, dim: Any, keepdim: bool = False) -> Any:
    axes = _axes(dim, input.ndim)
    # The shift is by the curve of the largest element, not by its value alone: where it outweighs the others, the
    # coefficients of its exponential would be large and cancel in the logarithm.
    top = _amax(frame, input, axes, True)
    result = torch.log(_sum(frame, torch.exp(input - top), axes, True)) + top
    return result if keepdim else torch.squeeze(result, axes)


@rule_for("softmax")
def _softmax(frame: Frame, input: Any, dim: int, _stacklevel: int = 3, dtype: Any = None) -> Any:
    input = input if dtype is None else input.to(dtype)
    exponential = torch.exp(input - _amax(frame, input, dim, True))  # by the curve of the largest, as in logsumexp
    return exponential / _sum(frame, exponential, dim, True)


@rule_for("log_softmax")
def _log_softmax(frame: Frame, input: Any, dim: int, _stacklevel: int = 3, dtype: Any = None) -> Any:
    input = input if dtype is None else input.to(dtype)
    return input - _logsumexp(frame, input, dim, True)


@rule_for("softmin")
def _softmin(frame: Frame, input: Any, dim: int, _stacklevel: int = 3, dtype: Any = None) -> Any:
    return _softmax(frame, -input, dim, dtype=dtype)


@rule_for("prod")
def _prod(frame: Frame, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    input = input if dtype is None else input.to(dtype)
    if dim is None:
        input, dim = input.reshape(-1), 0
    result = None
    for factor in input.unbind(dim):
        result = factor if result is None else result * factor
    if result is None:
        raise ValueError("torch.prod of a jet needs at least one element along dim.")
    return result.unsqueeze(dim) if keepdim else result
