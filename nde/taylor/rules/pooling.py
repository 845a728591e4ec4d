"""Pooling by the element that is largest at the primal, and by powers; averages are in `linear`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from nde.taylor.frame import Frame
from nde.taylor.jet_type import plain_of
from nde.taylor.registry import RULES, functions_named, rule_for

__all__: list[str] = []


def _register_maximum(name: str, spatial: int) -> None:
    indexed = getattr(functional, f"{name}_with_indices")

    def pooled(frame: Frame, input: Any, *args: Any, return_indices: bool = False, **kwargs: Any) -> tuple[Any, Any]:
        _, where = indexed(plain_of(input), *args, **kwargs)
        picked = torch.gather(torch.flatten(input, -spatial), -1, torch.flatten(where, -spatial))
        return torch.reshape(picked, tuple(where.shape)), where

    def value(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
        return pooled(frame, input, *args, **kwargs)[0]

    alone, both = functions_named(name), functions_named(f"{name}_with_indices")
    if name == "adaptive_max_pool1d":
        both.append(torch.adaptive_max_pool1d)
    for function in alone:
        RULES[function] = value
    for function in both:
        RULES[function] = pooled


for _spatial in (1, 2, 3):
    _register_maximum(f"max_pool{_spatial}d", _spatial)
    _register_maximum(f"adaptive_max_pool{_spatial}d", _spatial)


def _register_power(spatial: int) -> None:
    average = getattr(functional, f"avg_pool{spatial}d")

    @rule_for(f"lp_pool{spatial}d")
    def rule(
        frame: Frame, input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Any:
        size = math.prod(kernel_size) if isinstance(kernel_size, (tuple, list)) else kernel_size**spatial
        means = average(torch.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
        return torch.pow(torch.relu(means) * size, 1 / norm_type)


for _spatial in (1, 2, 3):
    _register_power(_spatial)
