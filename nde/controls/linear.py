"""Paths of straight pieces."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nde.controls.checks import check_series
from nde.controls.missing import fill_forward, fill_linearly
from nde.controls.path import ControlPath

__all__ = ["LinearPath", "RectilinearPath", "rectilinear_points"]


class LinearPath(ControlPath):
    """Straight lines through the observations; the coefficients are the values at the knots.

    Missing values are interpolated between the known ones, constant before the first and behind the last of them; a
    channel without any value is zero. The derivative jumps at the knots.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Missing values are NaN.
        times: Times of the observations, shape ``(length,)``, increasing; None for ``0, 1, ..., length - 1``.

    Raises:
        TypeError: An argument is no tensor of floating point.
        ValueError: The shapes do not fit, or the times do not increase.
    """

    derivative_jumps: ClassVar[bool] = True

    @classmethod
    def _fit(cls, x: Tensor, times: Tensor) -> Tensor:
        return fill_linearly(x, times)

    @classmethod
    def _tables(cls, coefficients: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        slopes = coefficients.diff(dim=-2) / times.diff().unsqueeze(-1).to(coefficients.dtype)
        return coefficients, slopes

    def steeper(self, skipped: Tensor) -> Self:
        """Return a path whose slopes make up for times that an integration leaves out: its increments stay the same.

        Args:
            skipped: How much is left out of each piece, shape ``(length - 1,)``.
        """
        values, slopes = self.tables
        lengths = self.times.detach().diff().to(skipped)
        # of pieces that nothing is left of, no slope can make up for anything
        factors = lengths / (lengths - torch.minimum(skipped, lengths / 2))
        return self.from_tables((values, slopes * factors.unsqueeze(-1).to(slopes)), self.times)

    def evaluate(self, t: Any) -> Tensor:
        """See `ControlPath.evaluate`."""
        index, s = self.piece(t)
        values, slopes = self.tables
        return self._rows(values, index) + s * self._rows(slopes, index)

    def derivative(self, t: Any) -> Tensor:
        """See `ControlPath.derivative`."""
        index, _ = self.piece(t)
        return self._rows(self.tables[1], index)


class RectilinearPath(LinearPath):
    """Time and data move by turns, so that the path up to an observation is known when it is made.

    Between two observations the channel of times moves first, with all others held, then the others jump to what was
    observed. The jump takes no time, so that the path runs in a parameter of its own: ``length`` observations give
    ``2 length - 1`` knots, and observation ``i`` is knot ``2 i``. Missing values repeat the last known one.

    Kidger, Morrill, Foster, Lyons (2020), Neural controlled differential equations for irregular time series; Morrill,
    Kidger, Yang, Lyons (2021), On the choice of interpolation scheme for neural CDEs, section 3.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Missing values are NaN.
        times: Parameter of the knots, shape ``(2 length - 1,)``, increasing; None for ``0, 1, ..., 2 length - 2``.
        time_channel: Which channel is the time. It must have no missing value.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The shapes do not fit, the parameter does not increase, or ``x`` lacks a time or a first value.
    """

    def __init__(self, x: Tensor, times: Any = None, *, time_channel: int = 0) -> None:
        x, _ = check_series(x)
        if isinstance(time_channel, bool) or not isinstance(time_channel, int):
            raise TypeError(f"time_channel must be an integer, but is {time_channel!r}.")
        if not 0 <= time_channel < x.shape[-1]:
            raise ValueError(
                f"time_channel must be one of the {x.shape[-1]} channels, counted from 0, but is {time_channel}."
            )
        if bool(x[..., time_channel].isnan().any()):
            raise ValueError(
                "x must have no missing value in its time_channel. Repeat the last time where a series has ended."
            )
        if bool(x[..., 0, :].isnan().any()):
            raise ValueError(
                "x must have a first value in every channel: what comes later must not be known before. Fill in zero "
                "or the mean of the channel."
            )
        super().__init__(rectilinear_points(x, time_channel), times)


def rectilinear_points(x: Tensor, time_channel: int) -> Tensor:
    """Return the corners of a rectilinear path, shape ``(batch..., 2 length - 1, channels)``.

    Args:
        x: Data, shape ``(batch..., length, channels)``; missing values repeat the last known one, where there is one.
        time_channel: Which channel is the time.
    """
    doubled = fill_forward(x).repeat_interleave(2, -2)
    held, ahead = doubled[..., :-1, :], doubled[..., 1:, :]
    is_time = torch.arange(x.shape[-1], device=x.device) == time_channel
    return torch.where(is_time, ahead, held)
