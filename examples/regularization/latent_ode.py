"""Experiment 2: a latent ODE that fills the gaps of irregular series, generated ones or those of PhysioNet 2012.

As in Rubanova, Chen, Duvenaud (2019), Kelly, Bettencourt, Johnson, Duvenaud (2020), and Pal et al. (2021, 2023).

The metric is the mean squared error of the predictions, from the posterior's mean, where there are observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import nde
from examples.regularization.framework import (
    Experiment,
    Loss,
    Metric,
    Prediction,
    Settings,
    SettingsError,
    batch_of_epoch,
)
from examples.regularization.physionet import load_physionet
from examples.regularization.series import Series, SplitSeries, generate_series
from nde.models import GRUDEncoder
from nde.regularize import Penalty, Steer

__all__ = ["LatentODEExperiment", "LatentODESettings"]


@dataclass(frozen=True, kw_only=True)
class LatentODESettings(Settings):
    """Settings of the latent ODE.

    Attributes:
        data: ``"generated"``, or ``"physionet"``, from files.
        train_samples, test_samples: Numbers of generated series.
        latent: Length of the latent state.
        width, depth: Of the field's hidden layers.
        encoder: Length of the encoder's recurrent state.
        noise_std: Standard deviation of the observations' errors that the likelihood assumes.
        tolerance: Relative and absolute.
        batch: Series of an iteration.
        learning_rate: Of Adamax.
        decay: The learning rate is divided by ``1 + decay * iteration``.
        kl_rest: The divergence weighs ``1 - kl_rest ** iteration``.
        max_steps: A run whose solve takes more has failed.
    """

    data: str
    train_samples: int
    test_samples: int
    latent: int
    width: int
    depth: int
    encoder: int
    noise_std: float
    tolerance: float
    batch: int
    learning_rate: float
    decay: float
    kl_rest: float
    max_steps: int


class LatentODEExperiment(Experiment):
    """See the module's docstring."""

    name = "latent-ode"
    title = "A latent ODE of irregular series"
    metric = Metric("test mean squared error", higher_is_better=False, form=".5f")
    settings_type = LatentODESettings

    def __init__(self, settings: LatentODESettings, data: Path | None = None) -> None:
        super().__init__(settings, data)
        if settings.data not in ("generated", "physionet"):
            raise SettingsError(f"data must be one of generated, physionet, but is {settings.data!r}.")
        self.settings = settings
        self.series = _load(settings, data)
        train = self.series.train
        observed = train.mask.sum((0, 1)).clamp_min(1)
        self.means = train.values.sum((0, 1)) / observed  # values are zero where there is no observation

    def build(self, seed: int, penalty: Penalty | None, steer: Steer | None) -> nde.LatentODE:
        """See `Experiment.build`."""
        settings, channels = self.settings, len(self.means)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = GRUDEncoder(channels, settings.latent, settings.encoder, self.means)
            field = _field(settings.latent, settings.width, settings.depth)
            decoder = nn.Linear(settings.latent, channels)
        model = nde.LatentODE(
            field=field,
            encoder=encoder,
            decoder=decoder,
            latent_size=settings.latent,
            noise_std=settings.noise_std,
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
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.Adamax(trained, lr=self.settings.learning_rate)

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """See `Experiment.schedule`."""
        decay = self.settings.decay
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda iteration: 1 / (1 + decay * iteration))

    def loss(self, model: nn.Module, generator: torch.Generator, iteration: int) -> Loss:
        """See `Experiment.loss`: likelihood and divergence are per observation and per entry of the latent state."""
        settings, train = self.settings, self.series.train
        batch = batch_of_epoch(train.values.shape[1], settings.batch, generator.initial_seed(), iteration)
        series = train.part(batch)
        output = model(*series, seed=int(torch.randint(2**62, (), generator=generator)))
        likelihood = output.log_likelihood(series.values, series.mask) / series.mask.sum((0, 2))
        kl_weight = 1 - settings.kl_rest**iteration
        loss = (kl_weight * output.kl / settings.latent - likelihood).mean()
        return Loss(loss + output.penalty, loss.item(), output.stats.n_field_evals)

    def predict(self, model: nn.Module, part: str) -> Prediction:
        """See `Experiment.predict`; of the training data, the first batch."""
        series = self.series.test
        if part == "train":
            series = self.series.train.part(torch.arange(self.settings.batch))
        output = model(*series, draw=False)
        moved = output.latents[-1] - output.latents[0]
        return Prediction(
            metric=_squared_error(output.mean, series),
            field_evals=output.stats.n_field_evals,
            steps=output.stats.n_steps,
            rejected=output.stats.n_rejected,
            displacement=(moved - moved.mean(0)).square().mean().sqrt().item(),
        )

    def baselines(self, seeds: int) -> dict[str, float]:
        """Return the error of the channels' means, and that of each series' own means."""
        test = self.series.test
        own = test.values.sum(0) / test.mask.sum(0).clamp_min(1)
        own = torch.where(test.mask.any(0), own, self.means)
        return {
            "mean of each channel": _squared_error(self.means, test),
            "mean of each series and channel": _squared_error(own, test),
        }


def _squared_error(predicted: Tensor, series: Series) -> float:
    """Return the mean squared error of predictions that broadcast to the values of series, where they are observed."""
    return (predicted - series.values).square()[series.mask].mean().item()


def _field(size: int, width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in [size, *[width] * (depth - 1)]:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
    return _Autonomous(nn.Sequential(*layers, nn.Linear(width, size)))


class _Autonomous(nn.Module):
    """A network of the state as a field."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        value: Tensor = self.net(z)
        return value


def _load(settings: LatentODESettings, data: Path | None) -> SplitSeries:
    if settings.data == "generated":
        return generate_series(settings.train_samples, settings.test_samples)
    if data is None:
        raise SettingsError(
            "the set-up needs the files of PhysioNet 2012: give the folder that holds them, --data DIR."
        )
    return load_physionet(data)
