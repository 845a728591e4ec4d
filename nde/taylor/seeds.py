"""Seeds of a jet: how directions are given, checked and lifted; lazy coordinate directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["OneHot", "Seed", "lifted_seeds"]


class OneHot:
    """Coordinate directions ``e_j`` of the last axis, one for each index, shared by all points.

    Args:
        indices: Shape ``(V,)``, integers in ``0 .. d - 1``.
    """

    def __init__(self, indices: Tensor) -> None:
        self.indices = indices


Seed = Tensor | OneHot


def lifted_seeds(
    x: Any, seeds: list[Any], order: int, collapse: bool, weights: Tensor | None
) -> tuple[list[Any], int | None]:
    """Return the coefficients of the curve with their leading axis, and the number of directions (None: no such axis)."""
    directions = None
    lifted = [x.unsqueeze(0)]
    for k, seed in enumerate(seeds, start=1):
        if seed is None:
            lifted.append(None)
            continue
        if isinstance(seed, OneHot):
            count = seed.indices.shape[0]
            dense = torch.nn.functional.one_hot(seed.indices, x.shape[-1]).to(x.dtype)
            seed = dense.reshape(count, *[1] * (x.ndim - 1), x.shape[-1])
        if seed.ndim == x.ndim:
            lifted.append(seed.unsqueeze(0))
        else:
            lifted.append(seed)
            if not (collapse and k == order):
                directions = seed.shape[0]
    return lifted + [None] * (order - len(seeds)), directions
