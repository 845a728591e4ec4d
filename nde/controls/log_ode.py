"""A series as the log-signatures of its windows: the control of the log-ODE method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nde.controls.checks import check_series, check_times
from nde.controls.log_signature import log_signature
from nde.controls.missing import fill_linearly
from nde.controls.path import ControlPath

__all__ = ["LogSignaturePath", "windowed_increments"]


class LogSignaturePath(ControlPath):
    """A series summed up over windows by the log-signature of the straight lines through it.

    On each window, `nde.solve_cde` follows the flow of the field that the log-signature makes of ``field`` and its
    commutators (the log-ODE method), so that steps may be as long as a window holds many observations. With windows of
    length ``h``, the error is of the order ``h ** depth`` for smooth data: depth 1 sees the increments alone (it is the
    equation driven by straight lines between the ends of windows), depth 2 the areas that pairs of channels sweep, and
    so on. The field must be differentiable ``depth - 1`` times by `torch.func.jvp`, and vectorisable by
    `torch.func.vmap`; one evaluation costs about ``channels ** (depth - 1)`` of it. It should depend on time as on a
    channel of the data, if at all: what else it does with ``t`` is followed to the first order alone.

    Missing values are filled in as `LinearPath` does. Everything is differentiable in data, times and windows.

    Morrill, Salvi, Kidger, Foster (2021), Neural rough differential equations for long time series; Lyons, Caruana,
    Levy (2007), Differential equations driven by rough paths.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Missing values are NaN.
        times: Times of the observations, shape ``(length,)``, increasing; None for ``0, 1, ..., length - 1``.
        depth: Depth of the log-signatures; 2 or 3 is usual.
        windows: How many of the pieces between two observations there are in a window, the last one with what is left;
            or the times at which windows begin and end, increasing from the first to the last of ``times``, between
            observations if need be.

    Attributes:
        times: Ends of the windows, shape ``(windows + 1,)``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The shapes do not fit, the times do not increase, or the windows do not cover them.
    """

    derivative_jumps: ClassVar[bool] = True
    _fewer: ClassVar[int] = 1

    def __init__(self, x: Tensor, times: Any = None, *, depth: int = 2, windows: Any = 1) -> None:
        x, times = check_series(x, times)
        knots = _knots(windows, times)
        increments, values = windowed_increments(fill_linearly(x, times), times, knots)
        levels = log_signature(increments, depth)
        self._set(self._tables(torch.cat([values[..., :-1, :], *levels], -1), knots, x.shape[-1]), knots)

    @classmethod
    def from_coefficients(cls, coefficients: Tensor, times: Any = None, *, channels: int | None = None) -> Self:
        """Return the path with given coefficients.

        Args:
            coefficients: What `coefficients` of such a path holds, or a batch or a part of it.
            times: Ends of its windows; None for ``0, 1, ...``.
            channels: Channels of the data, which the width of the coefficients does not determine.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The shapes do not fit, or the times do not increase.
        """
        if not isinstance(coefficients, Tensor) or not coefficients.is_floating_point():
            raise TypeError(f"coefficients must be a tensor of floating point, but is a {type(coefficients).__name__}.")
        if isinstance(channels, bool) or not isinstance(channels, int):
            raise TypeError(f"channels must be an integer, the number of those of the data, but is {channels!r}.")
        shape = tuple(coefficients.shape)
        if len(shape) < 2 or channels < 1 or shape[-1] not in _widths(channels, shape[-1]):
            raise ValueError(
                f"coefficients of a {cls.__name__} must have the shape (batch..., windows, channels + channels + "
                f"channels^2 + ...) with channels={channels}, but have {shape}."
            )
        knots = check_times(times, shape[-2] + 1, coefficients)
        return cls.from_tables(cls._tables(coefficients, knots, channels), knots)

    @classmethod
    def _fit(cls, x: Tensor, times: Tensor) -> Tensor:
        raise NotImplementedError("windows are made when the path is")

    @classmethod
    def _tables(cls, coefficients: Tensor, times: Tensor, channels: int = 0) -> tuple[Tensor, ...]:
        """Return the coefficients, and the log-signatures over the lengths of their windows."""
        lengths = times.diff().unsqueeze(-1).to(coefficients.dtype)
        return coefficients, coefficients[..., channels:] / lengths

    @property
    def channels(self) -> int:
        """Number of channels of the data."""
        coefficients, rates = self.tables
        return coefficients.shape[-1] - rates.shape[-1]

    @property
    def depth(self) -> int:
        """Depth of the log-signatures."""
        return _widths(self.channels, self.coefficients.shape[-1]).index(self.coefficients.shape[-1]) + 1

    def steeper(self, skipped: Tensor) -> Self:
        """See `LinearPath.steeper`."""
        coefficients, rates = self.tables
        lengths = self.times.detach().diff().to(skipped)
        factors = lengths / (lengths - torch.minimum(skipped, lengths / 2))
        return self.from_tables((coefficients, rates * factors.unsqueeze(-1).to(rates)), self.times)

    def evaluate(self, t: Any) -> Tensor:
        """Return the straight lines between the values at the ends of windows; see `ControlPath.evaluate`."""
        index, s = self.piece(t)
        coefficients, rates = self.tables
        channels = self.channels
        return self._rows(coefficients[..., :channels], index) + s * self._rows(rates[..., :channels], index)

    def derivative(self, t: Any) -> Tensor:
        """Return the log-signature of the window over its length.

        Args:
            t: As for `ControlPath.evaluate`.

        Returns:
            Shape ``(..., width)`` in place of ``(..., channels)``: the levels, joined, of ``channels``,
            ``channels ** 2``, ... entries.
        """
        index, _ = self.piece(t)
        return self._rows(self.tables[1], index)


def windowed_increments(x: Tensor, times: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """Return the increments of straight lines through a series within windows, and their values at the windows' ends.

    Args:
        x: Data without missing values, shape ``(batch..., length, channels)``.
        times: Their times, shape ``(length,)``.
        knots: Ends of the windows, shape ``(windows + 1,)``, from the first to the last of ``times``.

    Returns:
        Increments, shape ``(batch..., windows, pieces, channels)``, zero behind the last piece of a window; and values,
        shape ``(batch..., windows + 1, channels)``.
    """
    known, ends = times.detach().contiguous(), knots.detach().contiguous()
    before = (torch.searchsorted(known, ends, right=True) - 1).clamp(0, len(times) - 2)
    share = ((knots - times[before]) / (times[before + 1] - times[before])).unsqueeze(-1).to(x.dtype)
    low, high = x.index_select(-2, before), x.index_select(-2, before + 1)
    # exact at observations, where the windows begin and end as a rule
    values = torch.where(share == 1, high, low + share * (high - low))
    inside = ~torch.isin(known, ends)
    every = torch.cat([ends, known[inside]])
    order = every.argsort()
    points = torch.cat([values, x[..., inside, :]], -2).index_select(-2, order)
    window = torch.searchsorted(ends, every[order][:-1], right=True) - 1
    counts = torch.bincount(window, minlength=len(knots) - 1)
    number = torch.arange(len(window), device=x.device) - (counts.cumsum(0) - counts)[window]
    pieces = int(counts.max())
    increments = points.diff(dim=-2)
    padded = increments.new_zeros(*x.shape[:-2], (len(knots) - 1) * pieces, x.shape[-1])
    padded = padded.index_copy(-2, window * pieces + number, increments)
    return padded.unflatten(-2, (len(knots) - 1, pieces)), values


def _widths(channels: int, most: int) -> list[int]:
    """Return the widths of a row of coefficients for each depth, up to a width."""
    widths, width, size = [], channels, channels
    while width + size <= most:
        width += size
        size *= channels
        widths.append(width)
    return widths


def _knots(windows: Any, times: Tensor) -> Tensor:
    """Return the ends of the windows."""
    if isinstance(windows, bool) or not isinstance(windows, (int, Tensor, Sequence)):
        raise TypeError(f"windows must be an integer or a sequence of times, but is {windows!r}.")
    if isinstance(windows, int):
        if windows < 1:
            raise ValueError(f"windows must be at least 1, the number of pieces in each, but is {windows}.")
        last = len(times) - 1
        places = torch.arange(0, last + windows, windows, device=times.device).clamp(max=last)
        return times[places]
    knots = check_times(windows, len(windows), times).to(times.dtype)
    if len(knots) < 2 or float(knots[0].detach()) != float(times[0].detach()) or knots[-1] != times[-1]:
        raise ValueError(
            f"windows must go from the first to the last of times, {float(times[0].detach()):.10g} and "
            f"{float(times[-1].detach()):.10g}, but is {windows!r}."
        )
    return knots
