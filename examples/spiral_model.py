"""The spiral: data, model and the penalties to compare.

The experiment of Pal, Ma, Shah, Rackauckas (2021), Opening the Blackbox, 4.3: a neural SDE whose means and variances at
thirty times are to match those of a cubic spiral with multiplicative noise, with and without a penalty on the error
that the solver estimates. Their solver's estimate is nearly the size of the drift, 4 h |f|, and asks for four times the
steps; that of this package is a difference of two solutions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

import nde
from nde.regularize import GlobalError, Penalty, Steer
from nde.solvers.sde import SDEMethod

__all__ = ["FULL", "PUBLISHED_TOLERANCE", "ROWS", "SETUP", "TOLERANCE", "Moments", "Row", "Spiral", "distance", "truth"]

START = (2.0, 0.0)
TIMES = torch.linspace(0, 1, 30)
SAMPLES = 100
HIDDEN = 50
METHOD = "sosri2"
TOLERANCE = 0.02
# At the published tolerance, steps from one of the thirty times to the next are accurate enough: nothing can be saved.
PUBLISHED_TOLERANCE = 0.3
MAX_STEPS = 5000

# Everything besides weight, tolerance, seed and iterations that a result depends on.
SETUP = {
    "version": "1",
    "data": "means and variances of 10000 paths at 30 times in [0, 1]",
    "model": f"drift x^3, 2 -> {HIDDEN} tanh -> 2; diffusion 2 -> 2, diagonal; {METHOD}, adjoint = discrete",
    "training": f"{SAMPLES} paths as one system, mean squared error of means plus that of variances",
}


class Moments(NamedTuple):
    """Means and variances at the times, shape ``(T, 2)`` each."""

    mean: Tensor
    variance: Tensor

    @staticmethod
    def of(paths: Tensor) -> Moments:
        return Moments(paths.mean(1), paths.var(1))


@dataclass(frozen=True)
class Row:
    """One way of training.

    Attributes:
        name: Row of the table.
        weight: Of the error estimates' sum, each times its step; 0 for none.
        tolerance: Relative and absolute.
    """

    name: str
    weight: float
    tolerance: float = TOLERANCE

    def penalty(self) -> Penalty | None:
        return GlobalError(self.weight, reduction="sum") if self.weight else None


ROWS = (Row("unregularised", 0.0), Row("GlobalError, 0.5", 0.5))
FULL = (
    *ROWS,
    Row("GlobalError, 0.2", 0.2),
    Row("GlobalError, 2", 2.0),
    Row("unregularised, tolerance 0.3", 0.0, PUBLISHED_TOLERANCE),
    Row("GlobalError, 0.2, tolerance 0.3", 0.2, PUBLISHED_TOLERANCE),
)


@functools.cache
def truth(times: int = len(TIMES)) -> Moments:
    """Return the moments to match, of paths with small steps, at a number of times in [0, 1]."""

    def drift(t: Tensor, y: Tensor) -> Tensor:
        one, two = (y**3).unbind(-1)
        return torch.stack([-0.1 * one + 2 * two, -2 * one - 0.1 * two], -1)

    start = torch.tensor(START, dtype=torch.float64).expand(10_000, 2)
    with torch.no_grad():
        paths = nde.solve_sde(
            drift,
            lambda t, y: 0.2 * y,
            start,
            torch.linspace(0, 1, times).double(),
            method=METHOD,
            controller=nde.FixedStep(1 / 290),
            seed=0,
        ).ys
    return Moments(*(part.float() for part in Moments.of(paths)))


class Spiral(nn.Module):
    """The neural SDE. Models of the same seed start from the same weights.

    Args:
        seed: Of the weights.
        penalty: On the cost of the solve.
        tolerance: Relative and absolute.
        ts: Output times.
        method: See `nde.solve_sde`.
        steer: Jitter of the output times.
    """

    def __init__(
        self,
        seed: int,
        penalty: Penalty | None = None,
        tolerance: float = TOLERANCE,
        *,
        ts: Tensor | Sequence[float] = TIMES,
        method: str | SDEMethod = METHOD,
        steer: Steer | None = None,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2))
            self.noise = nn.Linear(2, 2)
        self.sde = nde.NeuralSDE(
            lambda t, y: self.net(y**3),
            lambda t, y: self.noise(y),
            ts,
            method=method,
            rtol=tolerance,
            atol=tolerance,
            regularizer=penalty,
            steer=steer,
            max_steps=MAX_STEPS,
        )

    def forward(self, samples: int = SAMPLES, seed: int | None = None) -> nde.NeuralSDEOutput:
        """Solve for a number of paths."""
        return self.sde(torch.tensor(START).expand(samples, 2), seed=seed)

    def loss(self, target: Moments, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of new paths, and what they cost."""
        output = self(seed=int(torch.randint(2**62, (), generator=generator)))
        loss = distance(output.ys, target)
        return loss + output.penalty, {"loss": loss.item(), "evals": float(output.stats.n_field_evals)}


def distance(paths: Tensor, target: Moments) -> Tensor:
    """Return the mean squared error of the means plus that of the variances."""
    found = Moments.of(paths)
    return (found.mean - target.mean).square().mean() + (found.variance - target.variance).square().mean()
