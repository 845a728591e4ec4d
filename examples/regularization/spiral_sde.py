"""Experiment 3: a neural SDE whose means and variances are to match those of a spiral, as in Pal et al. (2021).

The set-ups ``short`` and ``full`` choose steps by the embedded error estimate. ``reference`` has the estimate of the
published experiments, and in it the kinetic energy as a penalty of its own, to see whether what that estimate's penalty
does is more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from examples.regularization.estimates import method_with_estimate
from examples.regularization.framework import Experiment, Loss, Metric, Prediction, Settings
from examples.spiral_model import START, Moments, Spiral, distance, truth
from nde.regularize import Penalty, Steer

__all__ = ["SpiralExperiment", "SpiralSettings"]

_SEEDS = {"train": 0, "test": 1}  # of the Brownian paths of predictions


@dataclass(frozen=True, kw_only=True)
class SpiralSettings(Settings):
    """Settings of the spiral.

    Attributes:
        method: Of the solver.
        estimate: ``"embedded"`` or ``"reference"``.
        tolerance: Relative and absolute.
        times: Number of times in [0, 1] at which moments are compared; a step ends on each of them.
        paths: Paths of an iteration, solved as one system.
        test_paths: Paths of a prediction.
        learning_rate: Of Adam, to zero along a cosine.
    """

    method: str
    estimate: str
    tolerance: float
    times: int
    paths: int
    test_paths: int
    learning_rate: float


class SpiralExperiment(Experiment):
    """See the module's docstring."""

    name = "spiral-sde"
    title = "A neural SDE of a spiral"
    metric = Metric("test loss", higher_is_better=False, form=".4f")
    other_solver: ClassVar[dict[str, Any]] = {"method": "sriw1"}
    settings_type = SpiralSettings

    def __init__(self, settings: SpiralSettings, data: Path | None = None) -> None:
        super().__init__(settings, data)
        self.settings = settings
        self.method = method_with_estimate(settings.method, settings.estimate)
        self.target = truth(settings.times)

    def build(self, seed: int, penalty: Penalty | None, steer: Steer | None) -> Spiral:
        """See `Experiment.build`."""
        settings = self.settings
        times = torch.linspace(0, 1, settings.times)
        return Spiral(seed, penalty, settings.tolerance, ts=times, method=self.method, steer=steer)

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """See `Experiment.optimiser`."""
        return torch.optim.Adam(model.parameters(), lr=self.settings.learning_rate)

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """See `Experiment.schedule`."""
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.settings.iterations)

    def loss(self, model: nn.Module, generator: torch.Generator, iteration: int) -> Loss:
        """See `Experiment.loss`."""
        output = model(self.settings.paths, int(torch.randint(2**62, (), generator=generator)))
        loss = distance(output.ys, self.target)
        return Loss(loss + output.penalty, loss.item(), output.stats.n_field_evals)

    def predict(self, model: nn.Module, part: str) -> Prediction:
        """See `Experiment.predict`: new paths, more of them for the test."""
        settings = self.settings
        output = model(settings.test_paths if part == "test" else settings.paths, _SEEDS[part])
        moved = output.y1.mean(0) - torch.tensor(START)  # all paths start from one point
        return Prediction(
            metric=distance(output.ys, self.target).item(),
            field_evals=output.stats.n_field_evals,
            steps=output.stats.n_steps,
            rejected=output.stats.n_rejected,
            displacement=moved.square().mean().sqrt().item(),
        )

    def baselines(self, seeds: int) -> dict[str, float]:
        """Return the loss of the initial point, and that of as many paths of the spiral itself, whose moments err."""
        still = torch.tensor(START).expand(self.settings.times, 2, 2)
        target, paths = self.target, self.settings.test_paths
        # of Gaussian paths: the variance of the mean, and that of the sample variance
        errors = target.variance / paths + 2 * target.variance.square() / (paths - 1)
        return {
            "no motion": distance(still.transpose(1, 2), Moments(*target)).item(),
            "the spiral": errors.mean().item(),
        }
