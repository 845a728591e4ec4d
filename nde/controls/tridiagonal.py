"""Tridiagonal systems with a dominant diagonal, all at once and without a loop over their rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["solve_dominant"]


def solve_dominant(lower: Tensor, diagonal: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Solve ``lower[i] x[i - 1] + diagonal[i] x[i] + upper[i] x[i + 1] = right[i]`` along axis -2.

    By cyclic reduction of all rows at once (Hockney, Jesshope, 1981, Parallel computers): a step takes the neighbours
    out of every row, which couples it to rows twice as far away. Where ``|lower| + |upper| <= |diagonal| / 2``, as in
    the equations of splines, a step squares what couples the rows: after six of them it is below the rounding of
    float64, however long the system is. The work grows as its length, the number of operations does not.

    Args:
        lower, diagonal, upper, right: Shape ``(batch..., n, channels)``, or one that broadcasts to it;
            ``lower[0]`` and ``upper[n - 1]`` must be zero.
    """
    lower, upper, right = lower / diagonal, upper / diagonal, right / diagonal
    length, stride = right.shape[-2], 1
    # each step squares the coupling of at most 1/2; the last one needs no new coupling
    steps = min(math.ceil(math.log2(-math.log2(torch.finfo(right.dtype).eps))), math.ceil(math.log2(length)))
    for step in range(steps):
        before_upper, behind_lower = _from_before(upper, stride), _from_behind(lower, stride)
        scale = 1 / (1 - lower * before_upper - upper * behind_lower)
        right = scale * (right - lower * _from_before(right, stride) - upper * _from_behind(right, stride))
        if step + 1 < steps:
            lower = -scale * lower * _from_before(lower, stride)
            upper = -scale * upper * _from_behind(upper, stride)
        stride *= 2
    return right


def _from_before(x: Tensor, stride: int) -> Tensor:
    zeros = x.new_zeros(*x.shape[:-2], stride, x.shape[-1])
    return torch.cat([zeros, x[..., :-stride, :]], -2)


def _from_behind(x: Tensor, stride: int) -> Tensor:
    zeros = x.new_zeros(*x.shape[:-2], stride, x.shape[-1])
    return torch.cat([x[..., stride:, :], zeros], -2)
