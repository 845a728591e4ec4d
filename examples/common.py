"""What the examples share: options, files that are never seen half written, interruption, training, plots' style."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

__all__ = [
    "PLOT_STYLE",
    "Interrupts",
    "Stopped",
    "Training",
    "interrupt",
    "load_checkpoint",
    "make_folder",
    "positive",
    "save_checkpoint",
    "write_json",
]

PLOT_STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

_SAVE_EVERY = 20  # iterations


class Stopped(Exception):
    """Training was asked to stop; what was done is saved."""


def positive(text: str) -> int:
    """Return a positive whole number, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but is {text!r}")
    return number


def make_folder(parser: argparse.ArgumentParser, folder: Path) -> None:
    """Make the folder of the results, or end with an explanation."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --output: cannot make the folder {folder}: {error.strerror}. Name another one.")


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt; a handler that makes a signal do what Ctrl-C does."""
    raise KeyboardInterrupt


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def save_checkpoint(path: Path, settings: dict[str, str], state: dict[str, Any]) -> None:
    """Write a checkpoint so that it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".pt.partial")
    torch.save({"settings": settings, **state}, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, settings: dict[str, str]) -> dict[str, Any] | None:
    """Return a checkpoint, if it is whole and was made with the same settings."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return state if state["settings"] == settings else None
    except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError):  # there is none, or it is damaged
        return None


class Interrupts:
    """Turns Ctrl-C and SIGTERM into a request that is looked at between iterations; a second one breaks off at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupts:
        self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@dataclass
class Training:
    """The training of one model in one process, which goes on where it was stopped.

    Attributes:
        model: The model, an ``nn.Module``.
        loss: From the model and a generator of random numbers to the loss and figures to keep of the iteration.
        iterations: How many.
        checkpoint: File that holds the state.
        settings: Everything that the outcome depends on; a checkpoint made with other settings is not used.
        learning_rate: Of Adam; it falls to zero along a cosine.
        weight_decay: Of Adam.
        seed: Of the random numbers.
        history: Figures of the iterations so far.
        seconds: Time spent so far.
    """

    model: Any
    loss: Callable[[Any, torch.Generator], tuple[Tensor, dict[str, float]]]
    iterations: int
    checkpoint: Path
    settings: dict[str, str]
    learning_rate: float
    weight_decay: float = 0.0
    seed: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimiser, self.iterations)
        state = load_checkpoint(self.checkpoint, self.settings)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._schedule.load_state_dict(state["schedule"])
            self._generator.set_state(state["generator"])
            self.history, self.seconds = state["history"], state["seconds"]

    def run(self, label: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end.

        Args:
            label: What the progress bar says.
            stop: Is asked before each iteration whether to stop.

        Raises:
            Stopped: ``stop`` said so. Everything is saved.
        """
        done = len(self.history)
        if done == self.iterations:
            return
        bar = tqdm(
            total=self.iterations,
            initial=done,
            desc=label,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15,
        )
        with bar:
            self.model.train()
            while len(self.history) < self.iterations:
                if stop():
                    self.save()
                    raise Stopped
                entry = self._iteration()
                bar.set_postfix({name: f"{value:.3g}" for name, value in entry.items()}, refresh=False)
                bar.update()
                if len(self.history) % _SAVE_EVERY == 0:
                    self.save()
        self.save()

    def save(self) -> None:
        """Save the state."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "history": self.history,
            "seconds": self.seconds,
        }
        save_checkpoint(self.checkpoint, self.settings, state)

    def _iteration(self) -> dict[str, float]:
        started = time.perf_counter()
        loss, entry = self.loss(self.model, self._generator)
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self.seconds += time.perf_counter() - started
        self.history.append(entry)
        return entry
