"""Irregular series as the experiments take them, and generated ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Series", "SplitSeries", "generate_series"]

CHANNELS = 8
TIMES = 49
OSCILLATORS = 3
NOISE = 0.01
MISSING = (0.7, 0.8)
FREQUENCIES = (0.5, 3.0)
CHIRP = 1.0  # largest change of a frequency over the span
DAMPING = 2.0


class Series(NamedTuple):
    """Series at common times, of which each sees a part.

    Attributes:
        ts: Shape ``(T,)``, from 0 to 1.
        values: Shape ``(T, n, channels)``; zero where nothing was observed.
        mask: Of the same shape, boolean: where something was.
    """

    ts: Tensor
    values: Tensor
    mask: Tensor

    def part(self, chosen: Tensor) -> Series:
        """Return some of the series, by their numbers."""
        return Series(self.ts, self.values[:, chosen], self.mask[:, chosen])


class SplitSeries(NamedTuple):
    """Series to train on and series to test on."""

    train: Series
    test: Series


def generate_series(
    train: int = 1024, test: int = 256, seed: int = 0, dtype: torch.dtype = torch.float64
) -> SplitSeries:
    """Return series of eight channels, read off three oscillators each, with most of the values missing.

    The oscillators of a series have frequencies, their changes in time, dampings and phases of its own; the linear
    read-out is one for all. There are 49 times, as in the hourly PhysioNet series; of each series 70 to 80 % of the
    values are missing, and the others have errors of standard deviation 0.01.

    Args:
        train, test: Numbers of series.
        seed: Of all that is random.
        dtype: Of the values.
    """
    generator = torch.Generator().manual_seed(seed)
    count = train + test

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    read_out = torch.randn(OSCILLATORS, CHANNELS, generator=generator, dtype=torch.float64) / math.sqrt(OSCILLATORS)
    ts = torch.linspace(0, 1, TIMES, dtype=torch.float64)
    t = ts[:, None, None]
    frequency, chirp = uniform(*FREQUENCIES, count, OSCILLATORS), uniform(-CHIRP, CHIRP, count, OSCILLATORS)
    damping, phase = uniform(0, DAMPING, count, OSCILLATORS), uniform(0, 2 * math.pi, count, OSCILLATORS)
    waves = (-damping * t).exp() * torch.cos(2 * math.pi * (frequency + chirp * t / 2) * t + phase)
    values = waves @ read_out
    values = values + NOISE * torch.randn(values.shape, generator=generator, dtype=torch.float64)
    mask = uniform(0, 1, *values.shape) >= uniform(*MISSING, count, 1)
    mask[0, :, 0] |= ~mask.any(0).any(-1)  # there is no series without any observation
    whole = Series(ts.to(dtype), torch.where(mask, values, 0.0).to(dtype), mask)
    numbers = torch.arange(count)
    return SplitSeries(whole.part(numbers[:train]), whole.part(numbers[train:]))
