"""Irregular series: values at times that may differ between samples, and a mask that says what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Series", "check_series", "check_series_times", "masked_gaussian_log_likelihood"]


class Series(NamedTuple):
    """A batch of series, checked.

    Attributes:
        times: Shape ``(T, batch)``, not decreasing; behind a sample's last time, that time again.
        values: Shape ``(T, batch, channels)``, zero where nothing was observed.
        mask: Of the same shape and dtype: 1 where there is an observation, 0 elsewhere.
    """

    times: Tensor
    values: Tensor
    mask: Tensor


def check_series(ts: Any, observations: Any, mask: Any, channels: int | None = None) -> Series:
    """Return a batch of series.

    Args:
        ts: Times, shape ``(T,)`` for all samples or ``(T, batch)``, not decreasing; NaN behind a sample's last one.
        observations: Shape ``(T, batch, channels)``.
        mask: Of the same shape, or ``(T, batch)`` for all channels: true where there is an observation. None for
            everything that is not NaN.
        channels: How many there must be; None for any number.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A shape is wrong, times decrease, or an observation or its time is not finite.
    """
    if not isinstance(observations, Tensor) or not observations.is_floating_point():
        raise TypeError(f"observations must be a floating point tensor, but is {observations!r}.")
    if observations.ndim != 3 or (channels is not None and observations.shape[-1] != channels):
        wanted = "(T, batch, channels)" if channels is None else f"(T, batch, {channels})"
        raise ValueError(f"observations must have shape {wanted}, but has shape {tuple(observations.shape)}.")
    seen = observed(observations, mask)
    values = torch.where(seen, observations, 0.0)
    if not bool(values.isfinite().all()):
        raise ValueError("observations must be finite where mask is set, but is not. Clear the mask there.")
    times = check_series_times(ts, "ts", observations.shape[1]).to(observations)
    if times.shape[0] != observations.shape[0]:
        raise ValueError(f"ts must have one time per row of observations, {len(observations)}, but has {len(times)}.")
    if bool((times.isnan().unsqueeze(-1) & seen).any()):
        raise ValueError("ts must not be NaN where there is an observation, but is.")
    return Series(padded(times), values, seen.to(observations.dtype))


def observed(observations: Tensor, mask: Any) -> Tensor:
    """Return where there are observations, of their shape; see `check_series` for the mask."""
    if mask is None:
        return ~observations.isnan()
    if not isinstance(mask, Tensor) or mask.shape not in (observations.shape, observations.shape[:-1]):
        given = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else f"type {type(mask).__name__}"
        raise ValueError(
            f"mask must be a tensor of the shape of observations, {tuple(observations.shape)}, or without its last "
            f"axis, but has {given}."
        )
    if mask.dtype is not torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("mask must hold nothing but 0 and 1 or be boolean, but holds other numbers.")
    found = mask.to(device=observations.device, dtype=torch.bool)
    return (found if found.ndim == observations.ndim else found.unsqueeze(-1)).expand(observations.shape)


def check_series_times(ts: Tensor | Sequence[float] | Any, name: str, batch: int) -> Tensor:
    """Return times of shape ``(T, batch)`` (a view where all samples share them), with their NaN behind the last ones.

    Raises:
        TypeError: They are no numbers.
        ValueError: Their shape is wrong, they decrease, or one is infinite.
    """
    try:
        times = ts.detach() if isinstance(ts, Tensor) else torch.tensor(ts, dtype=torch.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a tensor or a sequence of numbers, but is {ts!r}.") from None
    if times.ndim not in (1, 2) or times.shape[0] == 0 or (times.ndim == 2 and times.shape[1] != batch):
        raise ValueError(f"{name} must have shape (T,) or (T, {batch}), but has shape {tuple(times.shape)}.")
    if bool(times.isinf().any()):
        raise ValueError(f"{name} must be finite, or NaN behind a sample's last time, but is infinite somewhere.")
    earlier, later = times[:-1], times[1:]
    if bool((later < earlier).any()) or bool((earlier.isnan() & ~later.isnan()).any()):
        raise ValueError(f"{name} must not decrease, and may be NaN behind a sample's last time alone.")
    return times if times.ndim == 2 else times.unsqueeze(-1).expand(-1, batch)


def padded(times: Tensor) -> Tensor:
    """Return times with a sample's last one in place of each NaN behind it; zeros for a sample without any."""
    last = times.nan_to_num(nan=-torch.inf).cummax(0).values
    return torch.where(last.isinf(), 0.0, last)


def masked_gaussian_log_likelihood(mean: Tensor, std: Tensor, observations: Tensor, mask: Tensor | None) -> Tensor:
    """Return the log-density of what was observed under independent normal errors, shape ``(batch,)``.

    Args:
        mean: Shape ``(T, batch, channels)``.
        std: Standard deviation of the errors, of a shape that broadcasts to that of ``mean``.
        observations: Shape ``(T, batch, channels)``.
        mask: See `check_series`.

    Raises:
        ValueError: A shape is wrong.
    """
    if observations.shape != mean.shape:
        raise ValueError(
            f"observations must have the shape of the predictions, {tuple(mean.shape)}, but has shape "
            f"{tuple(observations.shape)}."
        )
    seen = observed(observations, mask)
    # what was not observed may be NaN, and would make a gradient of zero NaN as well
    values = torch.where(seen, observations, mean.detach())
    density = torch.distributions.Normal(mean, std, validate_args=False).log_prob(values)
    return torch.where(seen, density, 0.0).sum((0, 2))
