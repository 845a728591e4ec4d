"""One training job, which can be interrupted at any time and goes on where it stopped.

A job keeps two files: a checkpoint, which holds the trained model in the end, and, once finished, its figures as JSON.
Both are written under another name and then moved, so that what is found is always whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples.common import Stopped, load_checkpoint, save_checkpoint, write_json
from examples.digits_model import (
    BATCH,
    CONFIGS,
    LEARNING_RATE,
    MOMENTUM,
    SETUP,
    Classifier,
    Config,
    Digits,
    accuracy,
)
from nde import SolverError

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """A configuration to be trained with one seed.

    Attributes:
        name: Name of the configuration.
        seed: Of the initial weights and of the order of the batches.
        epochs: Passes through the training set.
        folder: Where the two files are.
    """

    name: str
    seed: int
    epochs: int
    folder: Path

    @property
    def config(self) -> Config:
        return CONFIGS[self.name]

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.config.slug}-seed{self.seed}-{self.epochs}epochs.pt"

    @property
    def result(self) -> Path:
        return self.checkpoint.with_suffix(".json")

    def settings(self) -> dict[str, str]:
        """Return everything that the outcome depends on; files that were made with other settings are not used."""
        penalty = self.config.penalty(self.epochs)
        return {**SETUP, "penalty": repr(penalty), "seed": str(self.seed),
                "epochs": str(self.epochs), "torch": str(torch.__version__)}  # fmt: skip

    def classifier(self) -> Classifier:
        """Return the untrained model."""
        return Classifier(self.seed, self.config.penalty(self.epochs))

    def trained(self) -> Classifier:
        """Return the trained model of a finished job, in evaluation mode."""
        model = self.classifier()
        model.load_state_dict(torch.load(self.checkpoint, weights_only=True)["model"])
        return model.eval()

    def state(self) -> dict[str, Any] | None:
        """Return what an earlier run has left behind."""
        return load_checkpoint(self.checkpoint, self.settings())

    def finished(self) -> dict[str, Any] | None:
        """Return the figures of the job if it was finished earlier."""
        try:
            figures: dict[str, Any] = json.loads(self.result.read_text())
        except (OSError, ValueError):
            return None
        return figures if figures.get("settings") == self.settings() and self.state() is not None else None

    def epochs_done(self) -> int:
        """Return how many epochs an interrupted run has left behind."""
        state = self.state()
        return 0 if state is None else len(state["history"])

    def train(
        self,
        data: Digits,
        report: Callable[[dict[str, float]], None] = lambda entry: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Train, from the checkpoint if there is one, and return the figures.

        Args:
            data: The digits.
            report: Is called with the figures of each epoch.
            stop: Is asked before each batch whether to stop.

        Raises:
            Stopped: ``stop`` said so.
        """
        run = _Run(self)
        while len(run.history) < self.epochs and run.failure is None:
            entry = run.epoch(data, stop)
            run.save()
            if entry is not None:
                report(entry)
        figures = {
            "settings": self.settings(),
            "name": self.name,
            "seed": self.seed,
            "failure": run.failure,
            "history": run.history,
            "train_seconds": run.seconds,
            "train_cpu_seconds": run.cpu_seconds,
            "train_field_evals": run.field_evals,
        }
        write_json(self.result, figures)
        return figures


class _Run:
    """The state of a training run: everything that is saved."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = job.classifier()
        self.optimiser = torch.optim.SGD(self.model.flow.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.shuffler = torch.Generator().manual_seed(job.seed)
        self.history: list[dict[str, float]] = []
        self.seconds = self.cpu_seconds = 0.0
        self.field_evals = 0
        self.failure: str | None = None
        state = job.state()
        if state is not None:
            self.model.load_state_dict(state["model"])  # the penalty's place in its schedule is part of it
            self.optimiser.load_state_dict(state["optimiser"])
            self.shuffler.set_state(state["shuffler"])
            self.history = state["history"]
            self.seconds, self.cpu_seconds, self.field_evals = state["seconds"], state["cpu_seconds"], state["evals"]
            self.failure = state["failure"]

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shuffler": self.shuffler.get_state(),
            "history": self.history,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "evals": self.field_evals,
            "failure": self.failure,
        }
        save_checkpoint(self.job.checkpoint, self.job.settings(), state)

    def epoch(self, data: Digits, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Train for one epoch and return its figures, or None if a solve failed; evaluating is not timed."""
        started, cpu_started = time.perf_counter(), time.process_time()
        order = torch.randperm(len(data.train_x), generator=self.shuffler)
        self.model.train()
        losses, evals = [], []
        for batch in order.split(BATCH):
            if stop():
                raise Stopped
            try:
                logits, output = self.model(data.train_x[batch])
            except SolverError as error:
                self.failure = f"epoch {len(self.history) + 1}: {error}"
                return None
            loss = nn.functional.cross_entropy(logits, data.train_y[batch])
            self.optimiser.zero_grad()
            (loss + output.penalty).backward()
            self.optimiser.step()
            losses.append(loss.item())
            if len(batch) == BATCH:
                evals.append(output.stats.n_field_evals)
            self.field_evals += output.stats.n_field_evals
        penalty = self.model.flow.regularizer
        if penalty is not None:
            penalty.step()
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.process_time() - cpu_started
        self.model.eval()
        with torch.no_grad():
            logits, output = self.model(data.test_x)
        entry = {
            "loss": sum(losses) / len(losses),
            "train_batch_evals": sum(evals) / len(evals),
            "test_accuracy": accuracy(logits, data.test_y),
            "test_evals": float(output.stats.n_field_evals),
        }
        self.history.append(entry)
        return entry
