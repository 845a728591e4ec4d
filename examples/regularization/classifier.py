"""Experiment 1: a classifier whose body is a neural ODE, as in Pal et al. (2021, 2023), on handwritten digits or MNIST.

The pixels are the state. The read-out of the default set-ups keeps its random initialisation, so that all the
classifying is left to the flow: with a trained one, a model whose flow has collapsed to a constant shift still looks
fine (the set-up ``trained-read-out`` shows it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import nde
from examples.digits_model import accuracy
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
from nde.solvers import IController, PIController

__all__ = ["Classifier", "ClassifierExperiment", "ClassifierSettings"]

_CONTROLLERS = {"i": IController, "pi": PIController}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(Settings):
    """Settings of the classifier.

    Attributes:
        data: ``"digits"``, those of scikit-learn, or ``"mnist"``, from files.
        hidden: Width of the field's hidden layer.
        read_out: ``"frozen"`` at its random initialisation, or ``"trained"``.
        dtype: ``"float64"`` or ``"float32"``, in which the error at tight tolerances is rounding noise.
        tolerance: Relative and absolute.
        controller: ``"pi"``, as in the papers, which keeps the error of a step at 0.17 of the tolerance, or ``"i"``,
            the default of nde, which keeps it at 0.59 with fewer steps.
        batch: Samples of an iteration.
        learning_rate: Of stochastic gradient descent.
        momentum: Of the same.
        decay: The learning rate is divided by ``1 + decay * iteration``.
        max_steps: A run whose solve takes more has failed.
    """

    data: str
    hidden: int
    read_out: str
    dtype: str
    tolerance: float
    controller: str
    batch: int
    learning_rate: float
    momentum: float
    decay: float
    max_steps: int


class _Field(nn.Module):
    """The vector field: two layers, each of which sees the time."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size + 1, hidden)
        self.outer = nn.Linear(hidden + 1, size)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        time = t.to(y.dtype).expand(*y.shape[:-1], 1)
        hidden = torch.tanh(self.inner(torch.cat([y, time], dim=-1)))
        return torch.tanh(self.outer(torch.cat([hidden, time], dim=-1)))


class Classifier(nn.Module):
    """Pixels, flow, read-out, logits.

    Args:
        field: The vector field.
        read_out: From the state at the end to the logits.
        options: Arguments of `nde.NeuralODE`.
    """

    def __init__(self, field: nn.Module, read_out: nn.Module, **options: Any) -> None:
        super().__init__()
        self.read_out = read_out
        self.flow = nde.NeuralODE(field, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, nde.NeuralODEOutput]:
        """Return the logits, shape ``(n, 10)``, and what the flow returns, for pixels ``(n, size)``."""
        output = self.flow(x)
        return self.read_out(output.y1), output


class ClassifierExperiment(Experiment):
    """See the module's docstring."""

    name = "classifier"
    title = "A classifier that is a neural ODE"
    metric = Metric("test accuracy", higher_is_better=True, form=".2%")
    settings_type = ClassifierSettings

    def __init__(self, settings: ClassifierSettings, data: Path | None = None) -> None:
        super().__init__(settings, data)
        for name, value, choices in (
            ("read_out", settings.read_out, ("frozen", "trained")),
            ("dtype", settings.dtype, _DTYPES),
            ("controller", settings.controller, _CONTROLLERS),
        ):
            if value not in choices:
                raise SettingsError(f"{name} must be one of {', '.join(choices)}, but is {value!r}.")
        self.settings = settings
        self.images = load_images(settings.data, _DTYPES[settings.dtype], data)

    def build(self, seed: int, penalty: Penalty | None, steer: Steer | None) -> Classifier:
        """See `Experiment.build`."""
        settings, size = self.settings, self.images.train_x.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            field, read_out = _Field(size, settings.hidden), nn.Linear(size, 10)
        if settings.read_out == "frozen":
            read_out.requires_grad_(False)
        model = Classifier(
            field,
            read_out,
            regularizer=penalty,
            steer=steer,
            method="tsit5",
            rtol=settings.tolerance,
            atol=settings.tolerance,
            controller=_CONTROLLERS[settings.controller](),
            max_steps=settings.max_steps,
        )
        return model.to(_DTYPES[settings.dtype])

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """See `Experiment.optimiser`."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=self.settings.learning_rate, momentum=self.settings.momentum)

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """See `Experiment.schedule`."""
        decay = self.settings.decay
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda iteration: 1 / (1 + decay * iteration))

    def loss(self, model: nn.Module, generator: torch.Generator, iteration: int) -> Loss:
        """See `Experiment.loss`."""
        images, settings = self.images, self.settings
        batch = batch_of_epoch(len(images.train_x), settings.batch, generator.initial_seed(), iteration)
        logits, output = model(images.train_x[batch])
        loss = nn.functional.cross_entropy(logits, images.train_y[batch])
        return Loss(loss + output.penalty, loss.item(), output.stats.n_field_evals)

    def predict(self, model: nn.Module, part: str) -> Prediction:
        """See `Experiment.predict`; of the training data, the first batch."""
        images = self.images
        x, classes = images.test_x, images.test_y
        if part == "train":
            x, classes = images.train_x[: self.settings.batch], images.train_y[: self.settings.batch]
        logits, output = model(x)
        moved = output.y1 - x
        return Prediction(
            metric=accuracy(logits, classes),
            field_evals=output.stats.n_field_evals,
            steps=output.stats.n_steps,
            rejected=output.stats.n_rejected,
            displacement=(moved - moved.mean(0)).square().mean().sqrt().item(),
        )

    def baselines(self, seeds: int) -> dict[str, float]:
        """Return the accuracies of what has no flow: random read-outs (their mean), and a trained linear one."""
        images = self.images
        with torch.no_grad():
            random = [
                accuracy(self.build(seed, None, None).read_out(images.test_x), images.test_y) for seed in range(seeds)
            ]
        return {
            "random read-out": sum(random) / len(random),
            "trained linear read-out": linear_accuracy(images),
        }
