"""Sums of the stages of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

__all__ = ["weighted_sum"]


def weighted_sum(weights: tuple[float, ...], stages: Mapping[int, Tensor] | Sequence[Tensor]) -> Tensor:
    """Return the weighted sum of stages; those whose weight is zero need not be there.

    Raises:
        ValueError: All weights are zero.
    """
    (first, weight), *rest = _terms(weights)
    total = stages[first] if weight == 1.0 else weight * stages[first]
    for index, weight in rest:
        total = torch.add(total, stages[index], alpha=weight)
    return total


@cache
def _terms(weights: tuple[float, ...]) -> list[tuple[int, float]]:
    """Return the weights that are not zero, each with its place."""
    terms = [(index, weight) for index, weight in enumerate(weights) if weight]
    if not terms:
        raise ValueError(f"weights must not all be zero, but are {weights}.")
    return terms
