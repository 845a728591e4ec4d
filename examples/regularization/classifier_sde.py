"""Experiment 4: a classifier whose body is a neural SDE, as in Pal et al. (2021, 2023), on handwritten digits or MNIST.

A linear map makes a small state of the pixels, an SDE moves it along one path in training, and a linear read-out makes
logits of the end. Predictions are the means of the logits over several paths. In the default set-ups, both linear maps
keep their random initialisation, as in experiment 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nde
from examples.digits_model import accuracy
from examples.regularization.estimates import method_with_estimate
from examples.regularization.framework import (
    Experiment,
    Loss,
    Metric,
    Prediction,
    Settings,
    SettingsError,
    batch_of_epoch,
)
from examples.regularization.images import linear_accuracy, load_images
from nde.regularize import Penalty, Steer

__all__ = ["ClassifierSDEExperiment", "ClassifierSDESettings", "SDEClassifier"]

_SEEDS = {"train": 0, "test": 1}  # of the Brownian paths of predictions


@dataclass(frozen=True, kw_only=True)
class ClassifierSDESettings(Settings):
    """Settings of the classifier.

    Attributes:
        data: ``"digits"``, those of scikit-learn, or ``"mnist"``, from files.
        size: Length of the state.
        hidden: Width of the drift's hidden layer.
        ends: Whether the linear maps at both ends are ``"trained"``, or ``"frozen"`` at their random initialisation.
        method: Of the solver.
        estimate: ``"embedded"`` or ``"reference"``.
        tolerance: Relative and absolute.
        batch: Samples of an iteration, solved as one system.
        test_paths: Paths of each sample in a prediction.
        learning_rate: Of Adam.
        decay: The learning rate is divided by ``1 + decay * iteration``.
        max_steps: A run whose solve takes more has failed.
    """

    data: str
    size: int
    hidden: int
    ends: str
    method: str
    estimate: str
    tolerance: float
    batch: int
    test_paths: int
    learning_rate: float
    decay: float
    max_steps: int


class SDEClassifier(nn.Module):
    """Pixels, state, paths, read-out, logits.

    Args:
        pixels: Their number.
        size: Length of the state.
        hidden: Width of the drift's hidden layer.
        options: Arguments of `nde.NeuralSDE`.
    """

    def __init__(self, pixels: int, size: int, hidden: int, **options: Any) -> None:
        super().__init__()
        self.read_in = nn.Linear(pixels, size)
        self.drift = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, size))
        self.diffusion = nn.Linear(size, size)
        self.read_out = nn.Linear(size, 10)
        self.flow = nde.NeuralSDE(lambda t, y: self.drift(y), lambda t, y: self.diffusion(y), **options)

    def forward(self, x: Tensor, paths: int, seed: int) -> tuple[Tensor, nde.NeuralSDEOutput]:
        """Return the logits, their means over the paths of each sample, shape ``(n, 10)``, and what the flow returns.

        Args:
            x: Pixels, shape ``(n, pixels)``.
            paths: Of each sample.
            seed: Of all of them.
        """
        output = self.flow(self.read_in(x).repeat(paths, 1), seed=seed)
        logits = self.read_out(output.y1).unflatten(0, (paths, len(x)))
        return logits.mean(0), output


class ClassifierSDEExperiment(Experiment):
    """See the module's docstring."""

    name = "classifier-sde"
    title = "A classifier that is a neural SDE"
    metric = Metric("test accuracy", higher_is_better=True, form=".2%")
    other_solver: ClassVar[dict[str, Any]] = {"method": "sriw1"}
    settings_type = ClassifierSDESettings

    def __init__(self, settings: ClassifierSDESettings, data: Path | None = None) -> None:
        super().__init__(settings, data)
        if settings.ends not in ("trained", "frozen"):
            raise SettingsError(f"ends must be one of trained, frozen, but is {settings.ends!r}.")
        self.settings = settings
        self.method = method_with_estimate(settings.method, settings.estimate)
        self.images = load_images(settings.data, torch.float32, data)

    def build(self, seed: int, penalty: Penalty | None, steer: Steer | None) -> SDEClassifier:
        """See `Experiment.build`."""
        settings = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SDEClassifier(
                self.images.train_x.shape[1],
                settings.size,
                settings.hidden,
                method=self.method,
                rtol=settings.tolerance,
                atol=settings.tolerance,
                regularizer=penalty,
                steer=steer,
                max_steps=settings.max_steps,
            )
        for end in (model.read_in, model.read_out):
            end.requires_grad_(settings.ends == "trained")
        return model

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """See `Experiment.optimiser`."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=self.settings.learning_rate)

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """See `Experiment.schedule`."""
        decay = self.settings.decay
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda iteration: 1 / (1 + decay * iteration))

    def loss(self, model: nn.Module, generator: torch.Generator, iteration: int) -> Loss:
        """See `Experiment.loss`."""
        images, settings = self.images, self.settings
        batch = batch_of_epoch(len(images.train_x), settings.batch, generator.initial_seed(), iteration)
        logits, output = model(images.train_x[batch], 1, int(torch.randint(2**62, (), generator=generator)))
        loss = nn.functional.cross_entropy(logits, images.train_y[batch])
        return Loss(loss + output.penalty, loss.item(), output.stats.n_field_evals)

    def predict(self, model: nn.Module, part: str) -> Prediction:
        """See `Experiment.predict`; of the training data, the first batch along one path each."""
        images, settings = self.images, self.settings
        x, classes, paths = images.test_x, images.test_y, settings.test_paths
        if part == "train":
            x, classes, paths = images.train_x[: settings.batch], images.train_y[: settings.batch], 1
        logits, output = model(x, paths, _SEEDS[part])
        moved = output.y1 - output.solution.ys[0]
        return Prediction(
            metric=accuracy(logits, classes),
            field_evals=output.stats.n_field_evals,
            steps=output.stats.n_steps,
            rejected=output.stats.n_rejected,
            displacement=(moved - moved.mean(0)).square().mean().sqrt().item(),
        )

    def baselines(self, seeds: int) -> dict[str, float]:
        """Return the accuracies of what has no flow: the random maps (their mean), and a trained linear one."""
        images, random = self.images, []
        with torch.no_grad():
            for seed in range(seeds):
                model = self.build(seed, None, None)
                random.append(accuracy(model.read_out(model.read_in(images.test_x)), images.test_y))
        return {"random linear maps": sum(random) / len(random), "trained linear read-out": linear_accuracy(images)}
