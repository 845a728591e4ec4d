"""Sums of the stages of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["weighted_sum"]


def weighted_sum(weights: Sequence[float], stages: Mapping[int, Tensor] | Sequence[Tensor]) -> Tensor:
    """Return the weighted sum of stages; those whose weight is zero need not be there.

    Raises:
        ValueError: All weights are zero.
    """
    total: Tensor | None = None
    for index, weight in enumerate(weights):
        if not weight:
            continue
        stage = stages[index]
        if total is None:
            total = stage if weight == 1.0 else weight * stage
        else:
            total = torch.add(total, stage, alpha=weight)
    if total is None:
        raise ValueError(f"weights must not all be zero, but are {tuple(weights)}.")
    return total
