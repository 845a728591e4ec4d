"""Data, model, baselines and scores of the sunspot forecasts.

The state of the SDE has the series itself as its first coordinate and three more that stand for its memory; an affine
encoder makes these of the last nine years. Solved many times over from there, it gives paths of the years to come, and
their quantiles the bands. It is trained on the continuous ranked probability score of its paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from statsmodels.datasets import sunspots
from torch import Tensor, nn

import nde

__all__ = [
    "BANDS",
    "BASELINE_ORDERS",
    "HORIZON",
    "SETUP",
    "Forecaster",
    "Sunspots",
    "Windows",
    "autoregression",
    "climatology",
    "load_sunspots",
    "scores",
]

HISTORY, HORIZON = 9, 11  # years
FIRST_HELD_OUT = 1944  # a fifth of the series
SIZE, WIDTH = 4, 16
STEP = 0.25  # years
BATCH, TRAINING_PATHS = 64, 16
BANDS = (0.5, 0.9)
BASELINE_ORDERS = range(1, 21)

# Sizes and the number of iterations were chosen on the years 1889 to 1943, with a model trained on those before.
SETUP = {
    "version": "1",
    "data": f"statsmodels sunspots, square roots; held out from {FIRST_HELD_OUT} on",
    "model": f"{SIZE} coordinates, {WIDTH} hidden units, diagonal noise, euler with steps of {STEP} years",
    "training": f"CRPS of {TRAINING_PATHS} paths over {HORIZON} years, batches of {BATCH}",
}


class Windows(NamedTuple):
    """Pieces of the series.

    Attributes:
        history: Shape ``(n, years)``.
        future: What came next, shape ``(n, HORIZON)``.
        last: Position in the series of the last year of each history, shape ``(n,)``.
    """

    history: Tensor
    future: Tensor
    last: Tensor


@dataclass(frozen=True)
class Sunspots:
    """The yearly mean numbers of sunspots, and the standardised square roots that models see.

    Attributes:
        years: Shape ``(n,)``.
        observed: Numbers, shape ``(n,)``.
        series: Standardised square roots, shape ``(n,)``.
        mean, std: Of the square roots of the years before ``split``.
        split: Position of the first year that is held out.
        train, test: All windows whose futures lie before ``split``, and from there on.
    """

    years: Tensor
    observed: Tensor
    series: Tensor
    mean: Tensor
    std: Tensor
    split: int
    train: Windows
    test: Windows

    def numbers(self, series: Tensor) -> Tensor:
        """Return numbers of sunspots for values of the standardised series."""
        return (series * self.std + self.mean).clamp(min=0).square()


def load_sunspots() -> Sunspots:
    """Return the series that comes with statsmodels: yearly means from 1700 to 2008."""
    table = sunspots.load_pandas().data
    years, observed = (torch.tensor(table[name].tolist()) for name in ("YEAR", "SUNACTIVITY"))
    split = int((years == FIRST_HELD_OUT).nonzero())
    roots = observed.sqrt()  # evens out the noise, which grows with the numbers
    mean, std = roots[:split].mean(), roots[:split].std()
    series = (roots - mean) / std
    train = windows(series, range(HISTORY, split - HORIZON + 1))
    test = windows(series, range(split, len(series) - HORIZON + 1))
    return Sunspots(years, observed, series, mean, std, split, train, test)


def windows(series: Tensor, starts: Sequence[int], history: int = HISTORY) -> Windows:
    """Return the windows whose futures begin at the given positions."""
    return Windows(
        torch.stack([series[start - history : start] for start in starts]),
        torch.stack([series[start : start + HORIZON] for start in starts]),
        torch.tensor([start - 1 for start in starts]),
    )


class Forecaster(nn.Module):
    """An encoder and a neural SDE whose first coordinate is the series."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Linear(HISTORY, SIZE - 1)
        self.linear = nn.Linear(SIZE, SIZE)
        self.bend, self.noise = _silent_net(), _silent_net()  # it begins as a linear equation with constant noise
        nn.init.normal_(self.linear.weight, std=0.1)
        self.sde = nde.NeuralSDE(
            lambda t, y: self.linear(y) + self.bend(y),
            lambda t, y: nn.functional.softplus(self.noise(y) - 1),
            tuple(float(year) for year in range(HORIZON + 1)),
            method="euler",
            controller=nde.FixedStep(STEP),
        )

    def forward(self, windows: Windows, paths: int, seed: int | None = None) -> Tensor:
        """Return paths of the series, shape ``(n, paths, HORIZON)``."""
        state = torch.cat([windows.history[:, -1:], self.memory(windows.history)], 1)
        ys = self.sde(state.repeat_interleave(paths, 0), seed=seed).ys
        return ys[1:, :, 0].unflatten(1, (-1, paths)).permute(1, 2, 0)

    def loss(self, train: Windows, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the score of paths for a random batch."""
        chosen = torch.randperm(len(train.history), generator=generator)[:BATCH]
        seed = int(torch.randint(2**62, (), generator=generator))
        batch = Windows(*(part[chosen] for part in train))
        score = crps(self(batch, TRAINING_PATHS, seed), batch.future).mean()
        return score, {"crps": score.item()}


def _silent_net() -> nn.Sequential:
    """Return a network that is zero at first."""
    last = nn.Linear(WIDTH, SIZE)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(SIZE, WIDTH), nn.Tanh(), last)


def crps(paths: Tensor, future: Tensor) -> Tensor:
    """Return the continuous ranked probability score, unbiased in the number of paths, shape ``(n, HORIZON)``.

    ``E |X - y| - E |X - X'| / 2`` (Gneiting, Raftery 2007; fair version of Ferro 2014).
    """
    count = paths.shape[1]
    ranked = paths.sort(1).values
    # a path exceeds as many others as its rank says, and falls short of the rest
    weights = 2 * torch.arange(count, dtype=paths.dtype) - count + 1
    between = (ranked * weights.unsqueeze(-1)).sum(1) / (count * (count - 1))
    return (paths - future.unsqueeze(1)).abs().mean(1) - between


def scores(paths: Tensor, future: Tensor) -> dict[str, Any]:
    """Return how often the bands contain the future, and the score, over all and for each year ahead."""
    found: dict[str, Any] = {}
    for band in BANDS:
        low, high = (torch.quantile(paths, (1 + side * band) / 2, dim=1) for side in (-1, 1))
        inside = ((future >= low) & (future <= high)).float()
        found[f"in_{band * 100:.0f}"] = inside.mean().item()
        found[f"in_{band * 100:.0f}_ahead"] = inside.mean(0).tolist()
    score = crps(paths, future)
    return {**found, "crps": score.mean().item(), "crps_ahead": score.mean(0).tolist()}


def climatology(data: Sunspots) -> Tensor:
    """Return all years before the split as the forecast for every year, shape ``(n, years, HORIZON)``."""
    return data.series[: data.split].view(1, -1, 1).expand(len(data.test.future), -1, HORIZON)


def autoregression(data: Sunspots, orders: Sequence[int], paths: int) -> tuple[int, Tensor]:
    """Return the order of the best autoregression by Akaike's criterion, and its paths.

    Least squares on the years before the split, with normal noise of the residuals' variance.
    """
    series, split, longest = data.series.double(), data.split, max(orders)
    fits = []
    for order in orders:
        rows = torch.stack([series[i - order : i] for i in range(longest, split)])
        design = torch.cat([rows, torch.ones(len(rows), 1).double()], 1)
        solution = torch.linalg.lstsq(design, series[longest:split].unsqueeze(1)).solution[:, 0]
        squares = (series[longest:split] - design @ solution).square().sum()
        criterion = len(rows) * float(torch.log(squares / len(rows))) + 2 * (order + 1)
        fits.append((criterion, solution, (squares / (len(rows) - order - 1)).sqrt()))
    _, (*weights, constant), noise = min(fits, key=lambda fit: fit[0])
    order = len(weights)
    past = windows(series, [int(last) + 1 for last in data.test.last], order).history
    state = past.unsqueeze(1).expand(-1, paths, -1)
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(HORIZON):
        normal = torch.randn(state.shape[:2], dtype=state.dtype, generator=generator)
        found.append(state @ torch.stack(weights) + constant + noise * normal)
        state = torch.cat([state[..., 1:], found[-1].unsqueeze(-1)], -1)
    return order, torch.stack(found, -1).float()
