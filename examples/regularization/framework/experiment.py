"""What an experiment must provide; the package's docstring tells how the parts work together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from examples.regularization.framework.settings import Settings
from examples.regularization.framework.variants import Variant, variants
from nde.regularize import Penalty, Steer

__all__ = ["Experiment", "Loss", "Metric", "Prediction", "batch_of_epoch"]


@dataclass(frozen=True)
class Metric:
    """What is compared on the test data.

    Attributes:
        name: As the head of a column says it, such as ``"test accuracy"``.
        higher_is_better: Whether more is better.
        form: Format of a value, such as ``".1%"`` or ``".4f"``.
        baseline: Where zero means nothing, as for a log-likelihood, the name of the one of `Experiment.baselines` that
            relative differences are relative to the distance from.
    """

    name: str
    higher_is_better: bool
    form: str = ".4f"
    baseline: str | None = None


@dataclass(frozen=True)
class Loss:
    """The loss of one batch.

    Attributes:
        total: With the penalty; its gradient is taken.
        task: Without the penalty, a number, for the progress bar and the history.
        field_evals: Evaluations of the field in the solve, ``solution.stats.n_field_evals``.
    """

    total: Tensor
    task: float
    field_evals: float


@dataclass(frozen=True)
class Prediction:
    """What a model makes of data.

    Attributes:
        metric: Its value.
        field_evals: Evaluations of the field, ``solution.stats.n_field_evals``.
        steps: Attempted steps.
        rejected: Those of them that were rejected.
        displacement: Root mean square of how far the flow carries its states, ``y1 - y0``, to see a flow that has
            collapsed. Where a collapsed flow moves all states alike, take the mean over the samples away before the
            mean square.
    """

    metric: float
    field_evals: float
    steps: float
    rejected: float
    displacement: float


class Experiment(ABC):
    """An experiment: data, models, losses and predictions.

    Args:
        settings: Everything that the outcome depends on.
        data: Folder with files of data, for set-ups that need them; None where none was given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    metric: ClassVar[Metric]
    other_solver: ClassVar[dict[str, Any]] = {"method": "dopri5"}
    version: ClassVar[int] = 1
    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: Settings, data: Path | None = None) -> None:
        self.common_settings = settings

    def variants(self) -> list[Variant]:
        """Return the methods and weights to compare; ``none`` first."""
        return variants(self.common_settings)

    @abstractmethod
    def build(self, seed: int, penalty: Penalty | None, steer: Steer | None) -> nn.Module:
        """Return the untrained model."""

    @abstractmethod
    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of a model."""

    def schedule(self, optimiser: torch.optim.Optimizer) -> LRScheduler | None:
        """Return what changes the learning rate at each iteration; None to leave it."""
        return None

    @abstractmethod
    def loss(self, model: nn.Module, generator: torch.Generator, iteration: int) -> Loss:
        """Return the loss of one batch; the model is in training mode."""

    @abstractmethod
    def predict(self, model: nn.Module, part: str) -> Prediction:
        """Return a prediction of ``"train"`` or ``"test"`` data; the model is in evaluation mode."""

    def baselines(self, seeds: int) -> dict[str, float]:
        """Return names and metrics of what has no flow."""
        return {}


def batch_of_epoch(samples: int, batch: int, seed: int, iteration: int) -> Tensor:
    """Return the indices of an iteration's batch, where every epoch goes through all samples in an order of its own.

    The last batch of an epoch may be smaller.

    Args:
        samples: Number of samples.
        batch: Size of a batch.
        seed: Of the orders.
        iteration: Counted from 0.
    """
    per_epoch = -(-samples // batch)
    epoch, position = divmod(iteration, per_epoch)
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    return order[position * batch : (position + 1) * batch]
