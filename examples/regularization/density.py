"""Experiment 5: continuous normalising flows of densities in the plane, as in FFJORD, RNODE and Pal et al. (2021).

Samples are shifted and scaled, by one number, to mean zero and variance one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import nde
from examples.regularization.densities import DENSITIES, entropy, sample
from examples.regularization.framework import (
    Experiment,
    Loss,
    Metric,
    Prediction,
    Settings,
    SettingsError,
    batch_of_epoch,
)
from nde.models import TimeConditionedField
from nde.regularize import Penalty, Steer

__all__ = ["DensityExperiment", "DensitySettings"]

_TRAIN, _TEST = 0, 1  # seeds of the samples
_ONE_GAUSSIAN = "one Gaussian"


@dataclass(frozen=True, kw_only=True)
class DensitySettings(Settings):
    """Settings of the flow.

    Attributes:
        density: One of `DENSITIES`.
        train_samples, test_samples: Numbers of samples.
        width, depth: Of the field's hidden layers.
        tolerance: Relative and absolute.
        batch: Samples of an iteration.
        learning_rate: Of Adam.
        weight_decay: Likewise.
        max_steps: A run whose solve takes more has failed.
    """

    density: str
    train_samples: int
    test_samples: int
    width: int
    depth: int
    tolerance: float
    batch: int
    learning_rate: float
    weight_decay: float
    max_steps: int


class DensityExperiment(Experiment):
    """See the module's docstring."""

    name = "density"
    title = "Continuous normalising flows in the plane"
    metric = Metric("test negative log-likelihood", higher_is_better=False, form=".3f", baseline=_ONE_GAUSSIAN)
    settings_type = DensitySettings

    def __init__(self, settings: DensitySettings, data: Path | None = None) -> None:
        super().__init__(settings, data)
        if settings.density not in DENSITIES:
            raise SettingsError(f"density must be one of {', '.join(DENSITIES)}, but is {settings.density!r}.")
        self.settings = settings
        train_x = sample(settings.density, settings.train_samples, _TRAIN)
        test_x = sample(settings.density, settings.test_samples, _TEST)
        self.mean, self.scale = train_x.mean(0), train_x.std()
        self.train_x, self.test_x = ((x - self.mean) / self.scale for x in (train_x, test_x))

    def build(self, seed: int, penalty: Penalty | None, steer: Steer | None) -> nde.ContinuousFlow:
        """See `Experiment.build`."""
        settings = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            field = TimeConditionedField(2, settings.width, settings.depth, activation=nn.Tanh)
        model = nde.ContinuousFlow(
            field,
            size=2,
            regularizer=penalty,
            steer=steer,
            method="tsit5",
            rtol=settings.tolerance,
            atol=settings.tolerance,
            max_steps=settings.max_steps,
        )
        return model.double()

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """See `Experiment.optimiser`."""
        settings = self.settings
        return torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """See `Experiment.schedule`: to zero along a cosine."""
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.settings.iterations)

    def loss(self, model: nn.Module, generator: torch.Generator, iteration: int) -> Loss:
        """See `Experiment.loss`."""
        batch = batch_of_epoch(len(self.train_x), self.settings.batch, generator.initial_seed(), iteration)
        output = model(self.train_x[batch])
        loss = -output.log_prob.mean()
        return Loss(loss + output.penalty, loss.item(), output.stats.n_field_evals)

    def predict(self, model: nn.Module, part: str) -> Prediction:
        """See `Experiment.predict`; of the training data, the first batch."""
        x = self.test_x if part == "test" else self.train_x[: self.settings.batch]
        output = model(x)
        moved = output.y1 - x
        return Prediction(
            metric=-output.log_prob.mean().item(),
            field_evals=output.stats.n_field_evals,
            steps=output.stats.n_steps,
            rejected=output.stats.n_rejected,
            displacement=(moved - moved.mean(0)).square().mean().sqrt().item(),
        )

    def baselines(self, seeds: int) -> dict[str, float]:
        """Return those of a single Gaussian, and of the density itself where it has a formula."""
        gaussian = torch.distributions.MultivariateNormal(self.train_x.mean(0), self.train_x.T.cov())
        found = {_ONE_GAUSSIAN: -gaussian.log_prob(self.test_x).mean().item()}
        exact = entropy(self.settings.density, self.test_x * self.scale + self.mean)
        return found if exact is None else {**found, "the density itself": exact - 2 * math.log(self.scale)}
