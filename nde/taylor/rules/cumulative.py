"""Running products and sums of exponentials, element after element; moments that come together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import rule_for

__all__: list[str] = []


def _running(function: Callable[[Any, Any], Any], input: Any, dim: int) -> Any:
    if input.ndim == 0:
        return input
    parts = list(torch.unbind(input, dim))
    for i in range(1, len(parts)):
        parts[i] = function(parts[i - 1], parts[i])
    return torch.stack(parts, dim)


@rule_for("cumprod")
def _cumprod(frame: Frame, input: Any, dim: int, *, dtype: Any = None) -> Any:
    return _running(torch.mul, input if dtype is None else input.to(dtype), dim)


@rule_for("logcumsumexp")
def _logcumsumexp(frame: Frame, input: Any, dim: int) -> Any:
    return _running(torch.logaddexp, input, dim)


@rule_for("cumulative_trapezoid")
def _cumulative_trapezoid(frame: Frame, y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
    count = y.shape[dim]
    total = torch.narrow(y, dim, 1, count - 1) + torch.narrow(y, dim, 0, count - 1)
    if x is None:
        return torch.cumsum(total * (0.5 * dx), dim)
    steps = torch.diff(x, dim=dim if x.ndim == y.ndim else -1)
    if x.ndim != y.ndim:
        shape = [1] * y.ndim
        shape[dim] = -1
        steps = torch.reshape(steps, shape)
    return torch.cumsum(total * steps * 0.5, dim)


@rule_for("var_mean")
def _var_mean(frame: Frame, input: Any, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> Any:
    return torch.var(input, dim, *args, keepdim=keepdim, **kwargs), torch.mean(input, dim, keepdim=keepdim)


@rule_for("std_mean")
def _std_mean(frame: Frame, input: Any, dim: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> Any:
    return torch.std(input, dim, *args, keepdim=keepdim, **kwargs), torch.mean(input, dim, keepdim=keepdim)


@rule_for("nansum")
def _nansum(frame: Frame, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return torch.sum(torch.where(torch.isnan(input), 0.0, input), dim, keepdim, dtype=dtype)


@rule_for("nanmean")
def _nanmean(frame: Frame, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    count = torch.sum(~torch.isnan(input), dim, keepdim)
    return torch.nansum(input, dim, keepdim, dtype=dtype) / count


@rule_for("cov")
def _cov(frame: Frame, input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    if fweights is not None or aweights is not None:
        raise NotImplementedError("torch.cov of a jet takes no weights: weigh the observations before.")
    rows = torch.reshape(input, (1, -1)) if input.ndim < 2 else input
    centred = rows - torch.mean(rows, 1, keepdim=True)
    covariance = torch.matmul(centred, torch.transpose(centred, 0, 1)) / (rows.shape[1] - correction)
    return covariance if input.ndim == 2 else torch.reshape(covariance, ())
