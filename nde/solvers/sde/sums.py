"""Sums of the stages of a step, and products of their matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

__all__ = ["matrix_product", "terms", "weighted_sum"]


def matrix_product(left: Tensor, right: Tensor) -> Tensor:
    """Return a product of matrices in the dtype that they have: autocast is for the user's functions."""
    device = left.device.type
    if not torch.is_autocast_enabled(device):
        return torch.matmul(left, right)
    with torch.autocast(device, enabled=False):
        return torch.matmul(left, right)


def weighted_sum(weights: tuple[float, ...], stages: Mapping[int, Tensor] | Sequence[Tensor]) -> Tensor:
    """Return the weighted sum of stages; those whose weight is zero need not be there.

    Raises:
        ValueError: All weights are zero.
    """
    found = terms(weights)
    if not found:
        raise ValueError(f"weights must not all be zero, but are {weights}.")
    (first, weight), *rest = found
    if weight != 1.0:
        total = stages[first] * weight
    elif rest:
        (index, weight), *rest = rest
        total = torch.add(stages[first], stages[index], alpha=weight)
    else:
        return stages[first]
    for index, weight in rest:
        total.add_(stages[index], alpha=weight)  # nobody else has it yet
    return total


@cache
def terms(weights: tuple[float, ...]) -> list[tuple[int, float]]:
    """Return the weights that are not zero, each with its place."""
    return [(index, weight) for index, weight in enumerate(weights) if weight]
