"""Missing values, marked as NaN, of all series and channels at once.

A series is known where it is not NaN. For every place the nearest known places before and behind it follow from running
maxima and minima of indices; nothing here loops.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["extended", "fill_forward", "fill_linearly", "place_before"]


def place_before(known: Tensor, dim: int = -2) -> Tensor:
    """Return, for every place, the last known place up to it; -1 where there is none."""
    places = _places(known, dim).expand(known.shape)
    return torch.where(known, places, torch.full_like(places, -1)).cummax(dim).values


def fill_forward(x: Tensor, dim: int = -2) -> Tensor:
    """Return data with each missing value replaced by the last one known before it.

    Args:
        x: Data of any shape.
        dim: Axis of time.

    Returns:
        The same shape; missing values before the first known one are left.
    """
    return x.gather(dim, place_before(~x.isnan(), dim).clamp_min(0))


def extended(x: Tensor) -> Tensor:
    """Return series that are known at both ends: the first and last known values go on to the ends.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Channels without any value become zero.
    """
    known = ~x.isnan()
    if bool(known.all()):
        return x
    before, behind = place_before(known), _place_behind(known)
    last = before[..., -1:, :]
    ahead = torch.where(before < 0, behind, torch.where(behind == x.shape[-2], last, _places(x, -2)))
    nothing = last < 0
    return torch.where(nothing, torch.zeros_like(x), x.gather(-2, torch.where(nothing, 0, ahead)))


def fill_linearly(x: Tensor, times: Tensor) -> Tensor:
    """Return data with missing values interpolated linearly, and constant before the first and behind the last known.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Channels without any value become zero.
        times: Times, shape ``(length,)``.
    """
    x = extended(x)
    known = ~x.isnan()
    if bool(known.all()):
        return x
    before, behind = place_before(known), _place_behind(known)
    t0, t1 = times[before], times[behind]
    # where a value is known the interval has no length, and any other denominator does
    share = (times.unsqueeze(-1) - t0) / torch.where(known, torch.ones_like(t0), t1 - t0)
    x0, x1 = x.gather(-2, before), x.gather(-2, behind)
    return torch.where(known, x0, x0 + share.to(x.dtype) * (x1 - x0))


def _places(like: Tensor, dim: int) -> Tensor:
    shape = [1] * like.dim()
    shape[dim] = -1
    return torch.arange(like.shape[dim], device=like.device).reshape(shape)


def _place_behind(known: Tensor) -> Tensor:
    """Return, for every place, the first known place from it on; the length where there is none."""
    length = known.shape[-2]
    return length - 1 - place_before(known.flip(-2)).flip(-2)
