"""Distances of vectors; those of points that coincide are constant, as to automatic differentiation in torch."""

from __future__ import annotations

import math
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, VARIABLE_FUNCTIONS, rule_for

__all__: list[str] = []


def _length(difference: Any, p: float) -> Any:
    """Return the norm along the last axis, with derivatives of zero where the difference is zero."""
    if p == math.inf:
        return torch.amax(torch.abs(difference), -1)
    if p == 1:
        return torch.sum(torch.abs(difference), -1)
    total = torch.sum(torch.square(difference) if p == 2 else torch.pow(torch.abs(difference), p), -1)
    apart = total > 0
    safe = torch.where(apart, total, 1.0)
    return torch.where(apart, torch.sqrt(safe) if p == 2 else torch.pow(safe, 1 / p), 0.0)


def _cdist(frame: Frame, x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    if p <= 0:
        raise NotImplementedError(f"torch.cdist of jets needs p > 0, but p is {p}.")
    return _length(torch.unsqueeze(x1, -2) - torch.unsqueeze(x2, -3), p)


for _function in (torch.cdist, VARIABLE_FUNCTIONS.cdist):
    RULES[_function] = _cdist


@rule_for("pairwise_distance")
def _pairwise_distance(frame: Frame, x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    length = _length(x1 - x2 + eps, p)
    return torch.unsqueeze(length, -1) if keepdim else length


@rule_for("pdist")
def _pdist(frame: Frame, input: Any, p: float = 2.0) -> Any:
    first, second = torch.triu_indices(input.shape[0], input.shape[0], 1, device=input.device)
    return _length(input[first] - input[second], p)


@rule_for("dist")
def _dist(frame: Frame, input: Any, other: Any, p: float = 2) -> Any:
    return torch.norm(input - other, p)
