"""Loss functions, which may be part of what is differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, Rule

__all__: list[str] = []


def _loss(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES[getattr(torch.nn.functional, name)] = rule  # torch has some of other arguments by the same names
        return rule

    return register


def _reduced(value: Any, reduction: str) -> Any:
    if reduction == "none":
        return value
    return torch.mean(value) if reduction == "mean" else torch.sum(value)


@_loss("mse_loss")
def _mse_loss(
    frame: Frame,
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    square = torch.square(input - target)
    if weight is None:
        return _reduced(square, reduction)
    total = square * weight
    return torch.sum(total) / torch.sum(weight) if reduction == "mean" else _reduced(total, reduction)


@_loss("l1_loss")
def _l1_loss(
    frame: Frame, input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    return _reduced(torch.abs(input - target), reduction)


@_loss("huber_loss")
def _huber_loss(
    frame: Frame, input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Any:
    distance = torch.abs(input - target)
    value = torch.where(distance <= delta, 0.5 * torch.square(distance), delta * (distance - 0.5 * delta))
    return _reduced(value if weight is None else value * weight, reduction)


@_loss("smooth_l1_loss")
def _smooth_l1_loss(
    frame: Frame,
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    distance = torch.abs(input - target)
    if beta == 0:
        return _reduced(distance, reduction)
    return _reduced(torch.where(distance < beta, torch.square(distance) / (2 * beta), distance - 0.5 * beta), reduction)


@_loss("gaussian_nll_loss")
def _gaussian_nll_loss(
    frame: Frame, input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    if not hasattr(var, "shape"):
        var = torch.full_like(input, var)
    elif tuple(var.shape) != tuple(input.shape) and tuple(var.shape) == tuple(input.shape)[:-1]:
        var = torch.unsqueeze(var, -1)
    var = torch.clamp_min(var, eps)
    value = 0.5 * (torch.log(var) + torch.square(input - target) / var)
    return _reduced(value + 0.5 * math.log(2 * math.pi) if full else value, reduction)


@_loss("binary_cross_entropy")
def _binary_cross_entropy(
    frame: Frame,
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    # torch bounds the logarithms from below by -100
    value = -(
        target * torch.clamp_min(torch.log(input), -100) + (1 - target) * torch.clamp_min(torch.log1p(-input), -100)
    )
    return _reduced(value if weight is None else value * weight, reduction)


@_loss("binary_cross_entropy_with_logits")
def _binary_cross_entropy_with_logits(
    frame: Frame,
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    miss = -torch.nn.functional.logsigmoid(input)
    factor = 1 + (0 if pos_weight is None else pos_weight - 1) * target
    value = (1 - target) * input + factor * miss
    return _reduced(value if weight is None else value * weight, reduction)


@_loss("kl_div")
def _kl_div(
    frame: Frame,
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    value = torch.exp(target) * (target - input) if log_target else torch.xlogy(target, target) - target * input
    return torch.sum(value) / input.shape[0] if reduction == "batchmean" else _reduced(value, reduction)
