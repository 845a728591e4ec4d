"""Normalisation layers from means, products and reciprocal roots; dropout as a constant mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, rule_for

__all__: list[str] = []


def _standardized(input: Any, axes: tuple[int, ...], eps: float) -> Any:
    centred = input - torch.mean(input, axes, keepdim=True)
    return centred * torch.rsqrt(torch.mean(torch.square(centred), axes, keepdim=True) + eps)


def _affine(value: Any, weight: Any, bias: Any) -> Any:
    value = value if weight is None else value * weight
    return value if bias is None else value + bias


def _per_channel(parameter: Any, rank: int) -> Any:
    return None if parameter is None else torch.reshape(parameter, (-1, *[1] * (rank - 2)))


@rule_for("layer_norm")
def _layer_norm(
    frame: Frame,
    input: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *args: Any,
) -> Any:
    return _affine(_standardized(input, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


@rule_for("rms_norm")
def _rms_norm(
    frame: Frame, input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    floor = torch.finfo(input.dtype).eps if eps is None else eps
    return _affine(input * torch.rsqrt(torch.mean(torch.square(input), axes, keepdim=True) + floor), weight, None)


@rule_for("group_norm")
def _group_norm(
    frame: Frame, input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *args: Any
) -> Any:
    grouped = torch.reshape(input, (input.shape[0], num_groups, -1))
    normalized = torch.reshape(_standardized(grouped, (-1,), eps), input.shape)
    return _affine(normalized, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))


@rule_for("batch_norm")
def _batch_norm(
    frame: Frame,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *args: Any,
) -> Any:
    if training:
        raise ValueError(
            "batch_norm in training mode couples the points of a batch, so a derivative at one point would depend on "
            "the others, and it would change its running statistics. Call .eval() on the module, or use layer norm."
        )
    rank = input.ndim
    scale = torch.rsqrt(running_var + eps)
    normalized = (input - _per_channel(running_mean, rank)) * _per_channel(scale, rank)
    return _affine(normalized, _per_channel(weight, rank), _per_channel(bias, rank))


@rule_for("instance_norm")
def _instance_norm(
    frame: Frame,
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *args: Any,
) -> Any:
    if not use_input_stats:
        return _batch_norm(frame, input, running_mean, running_var, weight, bias, False, momentum, eps)
    if running_mean is not None:
        raise ValueError("instance_norm with running statistics would change them. Call .eval() on the module.")
    normalized = _standardized(input, tuple(range(2 - input.ndim, 0)), eps)
    return _affine(normalized, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))


# torch and torch.nn.functional order the arguments differently
RULES[torch.batch_norm] = lambda frame, input, weight, bias, mean, variance, *rest: _batch_norm(
    frame, input, mean, variance, weight, bias, *rest
)
RULES[torch.instance_norm] = lambda frame, input, weight, bias, mean, variance, *rest: _instance_norm(
    frame, input, mean, variance, weight, bias, *rest
)


@rule_for("normalize")
def _normalize(frame: Frame, input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    return input / torch.clamp_min(torch.norm(input, p, dim, True), eps)


@rule_for("cosine_similarity")
def _cosine_similarity(frame: Frame, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    lengths = torch.clamp_min(torch.norm(x1, 2, dim), eps) * torch.clamp_min(torch.norm(x2, 2, dim), eps)
    return torch.sum(x1 * x2, dim) / lengths


@rule_for("local_response_norm")
def _local_response_norm(
    frame: Frame, input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    channels = torch.movedim(torch.square(input), 1, -1)
    padded = torch.nn.functional.pad(channels, (size // 2, (size - 1) // 2))
    sums = torch.movedim(torch.sum(padded.unfold(-1, size, 1), -1), -1, 1)
    return input * torch.pow(sums * (alpha / size) + k, -beta)


@rule_for("alpha_dropout", "feature_alpha_dropout")
def _alpha_dropout(frame: Frame, input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    if training and p > 0:
        raise NotImplementedError("alpha dropout in training mode has no rule. Call .eval() on the module.")
    return input


@rule_for("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")
def _dropout(frame: Frame, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if not training or p == 0:
        return input
    # one mask for the value and every derivative, as of one function
    return input * torch.nn.functional.dropout(torch.ones_like(input), p, True)
