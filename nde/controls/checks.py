"""Checks of data and times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["check_series", "check_times"]


def check_series(x: Any, times: Any = None) -> tuple[Tensor, Tensor]:
    """Return data and its times.

    Args:
        x: Data, shape ``(batch..., length, channels)``.
        times: Times, shape ``(length,)``; None for ``0, 1, ..., length - 1``.

    Raises:
        TypeError: One of them is no tensor of floating point.
        ValueError: Their shapes do not fit, or the times do not increase.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"x must be a tensor of floating point, but is {_kind(x)}. Try x.float().")
    if x.dim() < 2:
        raise ValueError(f"x must have the shape (batch..., length, channels), but has {tuple(x.shape)}.")
    length = x.shape[-2]
    if length < 2:
        raise ValueError(f"x must hold at least 2 observations, but has the shape {tuple(x.shape)}: {length} of them.")
    return x, check_times(times, length, x)


def check_times(times: Any, length: int, like: Tensor) -> Tensor:
    """Return times on the device of ``like``.

    Args:
        times: Times, shape ``(length,)``; None for ``0, 1, ..., length - 1`` in the dtype of ``like``.
        length: How many there must be.
        like: A tensor.

    Raises:
        TypeError: They are no real numbers.
        ValueError: They are not ``length`` finite, strictly increasing numbers.
    """
    if times is None:
        # in double precision where the dtype cannot count so far
        dtype = like.dtype if length * torch.finfo(like.dtype).eps < 1 else torch.float64
        return torch.arange(length, dtype=dtype, device=like.device)
    try:
        times = times if isinstance(times, Tensor) else torch.as_tensor(times, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"times must be a tensor or a sequence of numbers, but is {_kind(times)}.") from None
    if times.is_complex() or times.dtype == torch.bool:
        raise TypeError(f"times must hold real numbers, but has the dtype {times.dtype}.")
    if times.shape != (length,):
        raise ValueError(f"times must have the shape ({length},), one for each knot, but has {tuple(times.shape)}.")
    times = (times if times.is_floating_point() else times.to(torch.float64)).to(like.device)
    known = times.detach()
    if not bool(torch.isfinite(known).all()):
        raise ValueError("times must be finite. Leave out what was not observed, or mark it as NaN in x.")
    behind = torch.nonzero(known[1:] <= known[:-1])
    if len(behind):
        index = int(behind[0])
        raise ValueError(
            f"times must be strictly increasing, but times[{index}] = {float(known[index]):.10g} and "
            f"times[{index + 1}] = {float(known[index + 1]):.10g}. Sort them, and remove repeated ones."
        )
    return times


def _kind(value: Any) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
