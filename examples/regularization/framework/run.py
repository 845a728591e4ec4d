"""One run, an experiment with a variant and a seed, which can be interrupted at any time and goes on where it stopped.

A run keeps two files: a checkpoint, which holds the trained model in the end, and, once finished, its figures as JSON.
Both are written under another name and then moved, so that what is found is always whole.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples.common import Stopped, load_checkpoint, save_checkpoint, write_json
from examples.regularization.framework.experiment import Experiment
from examples.regularization.framework.measure import measure
from examples.regularization.framework.settings import Settings
from examples.regularization.framework.variants import Variant
from nde import SolverError

__all__ = ["Run"]

_SAVE_EVERY = 10.0  # seconds
# what says which runs there are, not how one of them goes
_OTHER_RUNS = ("seeds", "weights", "options", "left_out")


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        name: Of the experiment.
        version: Of the experiment.
        settings: Of the experiment.
        variant: Method and weight.
        seed: Of initial weights, batches and everything else that is drawn.
        folder: Where the two files are.
    """

    name: str
    version: int
    settings: Settings
    variant: Variant
    seed: int
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """File of the state."""
        return self.folder / f"{self.variant.slug}-seed{self.seed}.pt"

    @property
    def result(self) -> Path:
        """File of the figures."""
        return self.checkpoint.with_suffix(".json")

    def identity(self) -> dict[str, str]:
        """Return everything that the outcome depends on; files that were made with something else are not used."""
        settings = {key: item for key, item in dataclasses.asdict(self.settings).items() if key not in _OTHER_RUNS}
        return {
            "experiment": f"{self.name}, version {self.version}",
            "settings": json.dumps(settings, sort_keys=True),
            "variant": repr(self.variant),
            "seed": str(self.seed),
            "torch": str(torch.__version__),
        }

    def finished(self) -> dict[str, Any] | None:
        """Return the figures of the run if it was finished earlier."""
        try:
            figures: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return figures if isinstance(figures, dict) and figures.get("identity") == self.identity() else None

    def iterations_done(self) -> int:
        """Return how many iterations an interrupted run has left behind."""
        state = load_checkpoint(self.checkpoint, self.identity())
        return 0 if state is None else len(state["losses"])

    def train(
        self,
        experiment: Experiment,
        report: Callable[[int, float], None] = lambda done, evaluations: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Train, from the checkpoint if there is one, and return the figures.

        Args:
            experiment: The experiment, with the settings of this run.
            report: Is called after each iteration with their number so far and the evaluations of the last one.
            stop: Is asked before each iteration whether to stop.

        Raises:
            Stopped: ``stop`` said so. Everything is saved.
        """
        with torch.random.fork_rng(devices=[]):
            training = _Training(self, experiment)
            saved = time.monotonic()
            while training.failure is None and len(training.losses) < self.settings.iterations:
                if stop():
                    training.save()
                    raise Stopped
                training.iteration()
                report(len(training.losses), training.evaluations[-1] if training.evaluations else 0.0)
                if time.monotonic() - saved > _SAVE_EVERY:
                    training.save()
                    saved = time.monotonic()
            training.save()
            figures = {
                "identity": self.identity(),
                "method": self.variant.method,
                "label": self.variant.label,
                "strength": self.variant.strength,
                "seed": self.seed,
                "failure": training.failure,
                "train_seconds": training.seconds,
                "losses": training.losses,
                "evaluations": training.evaluations,
            }
            if training.failure is None:
                try:
                    figures |= measure(experiment, training.model)
                except SolverError as error:
                    figures["failure"] = f"after training: {error}"
        write_json(self.result, figures)
        return figures


class _Training:
    """The state of a run in training: everything that is saved."""

    def __init__(self, run: Run, experiment: Experiment) -> None:
        self.run = run
        self.experiment = experiment
        torch.manual_seed(run.seed)
        self.penalty, steer = run.variant.make(run.seed, run.settings.iterations)
        self.model: nn.Module = experiment.build(run.seed, self.penalty, steer)
        self.optimiser = experiment.optimiser(self.model)
        self.schedule = experiment.schedule(self.optimiser)
        self.generator = torch.Generator().manual_seed(run.seed)
        self.losses: list[float] = []
        self.evaluations: list[float] = []
        self.seconds = 0.0  # of this process' processor time
        self.failure: str | None = None
        self._resume()

    def _resume(self) -> None:
        state = load_checkpoint(self.run.checkpoint, self.run.identity())
        if state is None:
            return
        self.model.load_state_dict(state["model"])  # the places of penalties in their schedules are part of it
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["global_generator"])
        self.losses, self.evaluations = state["losses"], state["evaluations"]
        self.seconds, self.failure = state["seconds"], state["failure"]

    def save(self) -> None:
        """Save the state."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "global_generator": torch.get_rng_state(),
            "losses": self.losses,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "failure": self.failure,
        }
        save_checkpoint(self.run.checkpoint, self.run.identity(), state)

    def iteration(self) -> None:
        """Train for one iteration; a failure is kept, not raised, and ends the run."""
        number = len(self.losses)
        self.model.train()
        started = time.process_time()
        try:
            loss = self.experiment.loss(self.model, self.generator, number)
        except SolverError as error:
            self.failure = f"iteration {number + 1}: {error}"
            return
        self.optimiser.zero_grad()
        loss.total.backward()
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.penalty is not None:
            self.penalty.step()
        self.seconds += time.process_time() - started
        if not math.isfinite(loss.task):
            self.failure = f"iteration {number + 1}: the loss is {loss.task}"
            return
        self.losses.append(loss.task)
        self.evaluations.append(float(loss.field_evals))
