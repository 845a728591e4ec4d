"""Random numbers that a seed repeats."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rademacher", "standard_normal"]

_LARGEST_SEED = 2**63


def standard_normal(like: Tensor, shape: tuple[int, ...], seed: int | None) -> Tensor:
    """Return normal numbers of a shape, of the dtype and on the device of ``like``.

    Args:
        like: A tensor.
        shape: Shape of the result.
        seed: An integer of any size; None to draw from torch's global generator.
    """
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=_generator(like, seed))


def rademacher(like: Tensor, shape: tuple[int, ...], seed: int | None) -> Tensor:
    """Return numbers that are 1 or -1, each with probability 1/2; see `standard_normal` for the arguments."""
    bits = torch.randint(2, shape, device=like.device, generator=_generator(like, seed))
    return bits.to(like.dtype).mul_(2).sub_(1)


def _generator(like: Tensor, seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator(like.device).manual_seed(seed % _LARGEST_SEED)
