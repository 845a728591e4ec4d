"""One run of the comparison: a model of a seed, trained on a problem and measured at every resolution."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from examples.common import write_json
from examples.operators.problems import PROBLEMS, OperatorProblem, Samples
from nde.operators import FNO, LocalNO, NeuralOperator
from nde.operators.train import RelativeL2, Supervised, Trainer

__all__ = ["MODELS", "Model", "Run", "Settings", "build", "load_trained", "run"]

DEPTH, RATE, BATCH = 4, 2e-3, 10


@dataclass(frozen=True)
class Settings:
    """What runs of one comparison share.

    Attributes:
        samples, test_samples: Numbers of inputs with their outputs.
        epochs: Of the training.
        width: Channels of LocalNO; those of FNO are chosen for as many parameters.
        modes: Waves along each axis of both.
    """

    samples: int = 280
    test_samples: int = 80
    epochs: int = 25
    width: int = 12
    modes: int = 4

    @property
    def folder(self) -> str:
        """Name of the folder for results with these settings."""
        return f"{self.samples}-samples-{self.epochs}-epochs-width-{self.width}-modes-{self.modes}"


@dataclass(frozen=True)
class Model:
    """A model that is compared.

    Attributes:
        build: From channels of inputs and outputs, the problem and the settings to the untrained model.
        epochs: Of its training, in multiples of the settings'.
        seeds: Its runs at most.
    """

    build: Callable[[int, int, OperatorProblem, Settings], NeuralOperator]
    epochs: int = 1
    seeds: int = sys.maxsize


def _local(inputs: int, outputs: int, problem: OperatorProblem, settings: Settings, **kernels: Any) -> NeuralOperator:
    return LocalNO(
        inputs,
        outputs,
        width=settings.width,
        modes=settings.modes,
        depth=DEPTH,
        grid=problem.grid,
        boundary=problem.boundary,
        **kernels,
    )


def _regularised(*where: Any) -> NeuralOperator:
    return _local(*where, radii=(1 / 16,), regularized=(1 / 16,))


def _fno(inputs: int, outputs: int, problem: OperatorProblem, settings: Settings) -> NeuralOperator:
    """Return the narrowest FNO with at least as many parameters as LocalNO has."""
    least, width = _size(_local(inputs, outputs, problem, settings)), settings.width
    while True:
        model = FNO(inputs, outputs, width=width, modes=settings.modes, depth=DEPTH, grid=problem.grid)
        if _size(model) >= least:
            return model
        width += 1


def _size(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# LocalNO takes about three times as long for an epoch: the second FNO is trained for as long
MODELS = {
    "FNO": Model(_fno),
    "FNO, three times the epochs": Model(_fno, epochs=3),
    "LocalNO": Model(_local),
    "LocalNO, regularised differential": Model(_regularised, seeds=1),
}


@dataclass(frozen=True)
class Run:
    """One of the runs.

    Attributes:
        problem: Name of the problem.
        model: Name of the model.
        seed: Of the parameters and the order of the samples.
        settings: What it shares with the others.
        output: Folder of all results.
    """

    problem: str
    model: str
    seed: int
    settings: Settings
    output: Path

    @property
    def path(self) -> Path:
        """File of the result, without its ending."""
        name = self.model.lower().replace(", ", "-").replace(" ", "-")
        return self.output / self.settings.folder / self.problem / f"{name}-seed{self.seed}"

    def result(self) -> dict[str, Any] | None:
        """Return what an earlier run found, or None."""
        try:
            found: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.get("settings") == asdict(self.settings) else None


def load(problem: OperatorProblem, settings: Settings, output: Path) -> Samples:
    """Draw the data of a problem, or read what an earlier run has drawn."""
    return problem.load(settings.samples, settings.test_samples, output / "data")


def build(run: Run, samples: Samples) -> NeuralOperator:
    """Return the untrained model of a run."""
    inputs, outputs = (field.shape[1] for field in samples.train.tensors)
    torch.manual_seed(run.seed)
    return MODELS[run.model].build(inputs, outputs, PROBLEMS[run.problem], run.settings)


def run(task: Run, progress: bool = False) -> dict[str, Any]:
    """Train and measure, or go on where an earlier run stopped; write and return the result."""
    known = task.result()
    if known is not None:
        return known
    torch.set_num_threads(1)
    problem = PROBLEMS[task.problem]
    samples = load(problem, task.settings, task.output)
    model = build(task, samples)
    task.path.parent.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(task, model, samples, progress)
    epochs = MODELS[task.model].epochs * task.settings.epochs
    start, before = time.process_time(), trainer.restore() and trainer.epoch
    trainer.fit(epochs)
    result = {
        "problem": task.problem,
        "model": task.model,
        "seed": task.seed,
        "settings": asdict(task.settings),
        "parameters": _size(model),
        "seconds": (time.process_time() - start) * epochs / max(epochs - int(before), 1),
        "train": trainer.evaluate(samples.train),
        "test": {str(factor): trainer.evaluate(data) for factor, data in samples.test.items()},
    }
    write_json(task.path.with_suffix(".json"), result)
    return result


def load_trained(task: Run, samples: Samples) -> NeuralOperator:
    """Return the model that a finished run has trained."""
    model = build(task, samples)
    _trainer(task, model, samples, progress=False).restore()
    return model.eval()


def _trainer(task: Run, model: NeuralOperator, samples: Samples, progress: bool) -> Trainer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
    trainer = Trainer(
        model,
        samples.train,
        optimizer,
        Supervised(RelativeL2(PROBLEMS[task.problem].grid)),
        batch_size=BATCH,
        seed=task.seed,
        checkpoint=task.path.with_suffix(".pt"),
        progress=progress,
    )
    epochs = MODELS[task.model].epochs * task.settings.epochs
    trainer.scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=epochs * trainer.steps_per_epoch
    )
    return trainer
