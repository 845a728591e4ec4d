"""Arithmetic of a step's size, which is a host number for all samples or a column with one for each.

Methods write their steps with these few functions, so that one step serves both. A host number takes the fused
operation; a column takes a product and a sum of its own, which round alike whatever the number of rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.brownian.chen import root
from nde.solvers.method import Scalar
from nde.solvers.transforms import may_move

__all__ = ["Size", "as_tensor", "filled", "length_of", "plus", "root_of", "size_of", "wide"]

Size = float | Tensor  # a column, or a 0-d tensor where the size is differentiated, has the state's dtype


def size_of(h: Scalar, y: Tensor) -> Size:
    """Return a signed size for arithmetic with the state: a number, or a tensor of its dtype.

    Args:
        h: A number, a 0-d tensor, or a column of shape ``(rows, 1)`` in float64.
        y: The state.
    """
    if not isinstance(h, Tensor):
        return float(h)
    return float(h) if h.dim() == 0 and not may_move(h) else h.to(y.dtype)


def length_of(size: Size) -> Size:
    """Return a size without its sign; at least the smallest number, so that a step of no length divides by no zero."""
    if isinstance(size, Tensor):
        return size.abs().clamp_min(torch.finfo(size.dtype).tiny)
    return abs(size)


def root_of(length: Size) -> Size:
    """Return the square root of a length."""
    if isinstance(length, Tensor):
        return length.sqrt() if may_move(length) else root(length)
    return math.sqrt(length)


def plus(y: Tensor, slope: Tensor, size: Size) -> Tensor:
    """Return ``y + size * slope``."""
    if isinstance(size, Tensor):
        return y + size * slope
    return torch.add(y, slope, alpha=size)


def wide(size: Size, like: Tensor) -> Size:
    """Return a size that goes with a tensor of any rank, whose first axis is that of the rows."""
    if isinstance(size, Tensor) and size.dim() and like.dim() > 2:
        return size.reshape(-1, *(1,) * (like.dim() - 1))
    return size


def as_tensor(size: Size, like: Tensor) -> Tensor:
    """Return a size as a tensor of another one's dtype and device, that goes with it."""
    return size if isinstance(size, Tensor) else torch.scalar_tensor(size, dtype=like.dtype, device=like.device)


def filled(like: Tensor, size: Size) -> Tensor:
    """Return a tensor of the shape of another one, with a size in every entry."""
    size = wide(size, like)
    return size.expand_as(like) if isinstance(size, Tensor) else torch.full_like(like, size)
