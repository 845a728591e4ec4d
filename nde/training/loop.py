"""A plain training loop: a bar with the evaluations in it, a history, checkpoints, exact resumption, a calm Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nde.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from nde.processes import Processes
from nde.training.monitor import SolverMonitor
from nde.training.sharded import load_whole_states, whole_states

__all__ = ["Loop", "LoopError"]

Batches = Callable[[int], Iterable[Any]]


class LoopError(RuntimeError):
    """A loss is not finite; the checkpoint, if there is one, holds the last good state."""


class Loop:
    """Trains a model over epochs of batches, and keeps what its solves cost.

    The same script runs in one process and under ``torchrun``; wrap the model in ``DistributedDataParallel`` or shard
    it before, and let ``batches`` be this process's part. One process shows the bar and writes the checkpoint.

    Args:
        model: The model; its penalties are the loss's business.
        optimizer: Over the model's parameters.
        loss: From the model and a batch to the loss, a 0-d tensor with its penalties in it.
        batches: From the number of an epoch to its batches: the same ones whenever it is asked for the same epoch.
        scheduler: Of the learning rate, it takes a step after each batch.
        checkpoint: File from which `run` goes on if it exists, and where it keeps its state.
        checkpoint_steps: After how many steps the state is written.
        clip: Largest norm of the gradient; None for any.
        after_step: Called with the loop after each step: to step a penalty's schedule or a budget, say.
        stateful: Further objects with ``state_dict`` and ``load_state_dict`` that belong to the run, by name.
        progress: Whether to show a bar (of tqdm, where it is installed).

    Attributes:
        history: One record for each step: ``loss`` and what `SolverMonitor.collect` returns.
        step: Number of steps taken.
        interrupted: Whether the last `run` was stopped by Ctrl-C or SIGTERM.

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[nn.Module, Any], Tensor],
        batches: Batches,
        *,
        scheduler: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_steps: int = 100,
        clip: float | None = None,
        after_step: Callable[[Loop], Any] | None = None,
        stateful: dict[str, Any] | None = None,
        progress: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, but is a {type(model).__name__}.")
        for name, function in (("loss", loss), ("batches", batches)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, but is a {type(function).__name__}.")
        if isinstance(checkpoint_steps, bool) or not isinstance(checkpoint_steps, int) or checkpoint_steps < 1:
            raise ValueError(f"checkpoint_steps must be an integer, 1 or more, but is {checkpoint_steps!r}.")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive, but is {clip}.")
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.history: list[dict[str, float]] = []
        self.step = self.epoch = 0
        self.interrupted = False
        self._step_in_epoch = 0
        self._loss, self._batches, self._after = loss, batches, after_step
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._every, self._clip, self._progress = checkpoint_steps, clip, progress
        self._stateful = {} if stateful is None else dict(stateful)
        self._processes = Processes()
        self._restored = False

    def run(self, epochs: int) -> list[dict[str, float]]:
        """Train until so many epochs are done, those of the checkpoint included, and return the history.

        Ctrl-C and SIGTERM end it after a whole step, with a checkpoint; ``interrupted`` is then set.

        Raises:
            LoopError: A loss is not finite.
            CheckpointError: The checkpoint cannot be read, or belongs to another training.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs must be an integer, 1 or more, but is {epochs!r}.")
        self.restore()
        self.interrupted = False
        with SolverMonitor(self.model) as monitor, _asked_to_stop() as asked, self._bar(epochs) as show:
            while self.epoch < epochs and not self.interrupted:
                for place, batch in enumerate(self._batches(self.epoch)):
                    if place < self._step_in_epoch:
                        continue  # done before the checkpoint
                    record = self._take(batch, monitor)
                    show(record)
                    if self._stop(asked):
                        self.interrupted = True
                        break
                    if self.step % self._every == 0:
                        self.save()
                else:
                    self.epoch, self._step_in_epoch = self.epoch + 1, 0
        self.save()
        return self.history

    def save(self) -> None:
        """Write the state to the checkpoint, if there is one; all processes call it."""
        if self._checkpoint is None:
            return
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        gathered = self._processes.gather(random)
        model, optimizer = whole_states(self.model, self.optimizer)
        if self._processes.first:
            state = {
                "model": model,
                "optimizer": optimizer,
                "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
                "stateful": {name: part.state_dict() for name, part in self._stateful.items()},
                "history": self.history,
                "place": [self.step, self.epoch, self._step_in_epoch],
                "random": gathered,
            }
            write_checkpoint(self._checkpoint, state)
        self._processes.wait()

    def restore(self) -> bool:
        """Go on from the checkpoint, once, if there is one; `run` does this on its own.

        Processes that were not there when it was written get random numbers of their own, unless all had the same ones;
        a warning says so wherever their number has changed.

        Returns:
            Whether there was something to go on from.

        Raises:
            CheckpointError: The checkpoint cannot be read, or belongs to another training.
        """
        if self._restored or self._checkpoint is None or not self._checkpoint.exists():
            self._restored = True
            return False
        state = read_checkpoint(self._checkpoint)
        if "place" not in state or (state["scheduler"] is None) != (self.scheduler is None):
            raise CheckpointError(f"{self._checkpoint} is of another training. Give checkpoint= another name.")
        if set(state["stateful"]) != set(self._stateful):
            raise CheckpointError(
                f"{self._checkpoint} has the states of {sorted(state['stateful'])}, but stateful= names "
                f"{sorted(self._stateful)}."
            )
        try:
            load_whole_states(self.model, self.optimizer, state["model"], state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self._checkpoint} does not fit the model or optimizer: {error}") from error
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for name, part in self._stateful.items():
            part.load_state_dict(state["stateful"][name])
        self.history = list(state["history"])
        self.step, self.epoch, self._step_in_epoch = state["place"]
        self._restore_random(state["random"])
        self._restored = True
        return True

    def _restore_random(self, states: list[dict[str, Tensor]]) -> None:
        """Restore the random numbers of this process, or begin new ones where fewer processes wrote the checkpoint."""
        rank, count = self._processes.rank, self._processes.count
        if count != len(states) and self._processes.first:
            warnings.warn(
                f"{self._checkpoint} was written by {len(states)} processes and is read by {count}: the training goes "
                "on, but not with the random numbers and batches that it would have had.",
                stacklevel=4,
            )
        random = states[rank % len(states)]
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
        alike = len(states) > 1 and all(torch.equal(one["cpu"], states[0]["cpu"]) for one in states)
        if rank >= len(states) and not alike:
            # not those of another process again: samples of two processes must not meet the same noise
            torch.manual_seed((int(torch.randint(2**62, ())) + rank * 0x9E3779B97F4A7C15) % 2**63)

    def _take(self, batch: Any, monitor: SolverMonitor) -> dict[str, float]:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self.model, batch)
        value = float(loss.detach())
        # all processes stop together: one that went on alone would wait for the others forever
        if not self._all_finite(value):
            raise LoopError(
                f"the loss of step {self.step} is {value}. A smaller learning rate or clip=1.0 may help; the solves of "
                "that step are where to look: nde.profile.record()."
            )
        loss.backward()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        record = {"loss": value, **monitor.collect()}
        self.history.append(record)
        self.step += 1
        self._step_in_epoch += 1
        if self._after is not None:
            self._after(self)
        return record

    def _all_finite(self, value: float) -> bool:
        finite = torch.tensor(float(math.isfinite(value)), dtype=torch.float64, device=self._processes.device)
        return float(self._processes.sum(finite)) == self._processes.count

    def _stop(self, asked: threading.Event) -> bool:
        """Return whether any process was asked to stop."""
        if self._processes.count == 1:
            return asked.is_set()
        mine = torch.tensor(float(asked.is_set()), dtype=torch.float64, device=self._processes.device)
        return float(self._processes.sum(mine)) > 0

    @contextmanager
    def _bar(self, epochs: int) -> Iterator[Callable[[dict[str, float]], None]]:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            tqdm = None
        if tqdm is None or not self._progress or not self._processes.first:
            yield lambda record: None
            return
        with tqdm(initial=self.step, unit="step", desc=f"epoch {self.epoch + 1} of {epochs}") as bar:

            def show(record: dict[str, float]) -> None:
                bar.set_description(f"epoch {self.epoch + 1} of {epochs}", refresh=False)
                words = {"loss": f"{record['loss']:.4g}", "nfe": f"{record['nfe']:.0f}"}
                if "penalty" in record:
                    words["penalty"] = f"{record['penalty']:.3g}"
                bar.set_postfix(words, refresh=False)
                bar.update()

            yield show


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into a flag for the time of a block; a second Ctrl-C interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    for number in before:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
