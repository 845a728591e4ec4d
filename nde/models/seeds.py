"""Normal numbers that a seed repeats."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["standard_normal"]

_LARGEST_SEED = 2**63


def standard_normal(like: Tensor, shape: tuple[int, ...], seed: int | None) -> Tensor:
    """Return normal numbers of a shape, of the dtype and on the device of ``like``.

    Args:
        like: A tensor.
        shape: Shape of the result.
        seed: An integer of any size; None to draw from torch's global generator.
    """
    generator = None if seed is None else torch.Generator(like.device).manual_seed(seed % _LARGEST_SEED)
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
