"""A small trainer: epochs over batches, checkpoints, exact resumption, in one process or in several."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import Dataset

from nde.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from nde.checks import check_choice
from nde.operators.train.batches import Share, check_data, length_of, order_of_epoch, share_of_batch
from nde.operators.train.objectives import LossModule, Objective, Supervised
from nde.processes import Processes
from nde.progress import Advance, progress_bar

__all__ = ["Trainer", "TrainingError"]

Record = dict[str, float]


class TrainingError(RuntimeError):
    """A loss is not finite; the checkpoint, if there is one, holds the last good state."""


class Trainer:
    """Trains a model.

    The same script runs in one process and under ``torchrun`` (on the processors with gloo, on accelerators with NCCL),
    with the same results up to rounding: batches are those of one process, each of which the processes share.

    What an interrupted training had not yet written to its checkpoint is computed again, with the same batches, random
    numbers and results, bit for bit.

    Args:
        model: What to train.
        data: Samples; each is a tuple of tensors, as the objective takes them.
        optimizer: Over the model's parameters.
        objective: From a model and a batch to one loss for each sample; `Supervised` by default.
        scheduler: Of the learning rate; it takes a step after each batch. A `torch.optim.lr_scheduler.OneCycleLR` needs
            ``total_steps=epochs * trainer.steps_per_epoch``, and can be set as ``trainer.scheduler`` before training.
        batch_size: Samples of a batch, over all processes.
        seed: Of the order of the samples.
        checkpoint: File from which training goes on if it exists, and where it keeps its state.
        checkpoint_steps: After how many batches the state is written; None for the end of each epoch.
        precision: ``"bfloat16"`` evaluates the model under autocast; parameters, Fourier transforms, losses and updates
            stay in single precision. It pays on accelerators; it resolves no more than three digits.
        clip: Largest norm of the gradient; None for any.
        device: Where to compute; None for an accelerator if there is one.
        progress: Whether to show a bar (of tqdm, where it is installed).

    Attributes:
        history: One record for each epoch: ``epoch``, ``loss``, ``learning_rate`` and, where measured, ``validation``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the data hold numbers that are not finite.
        CheckpointError: The checkpoint cannot be read, or belongs to another training.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset[Any],
        optimizer: torch.optim.Optimizer,
        objective: Objective | None = None,
        *,
        scheduler: Any = None,
        batch_size: int = 16,
        seed: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_steps: int | None = None,
        precision: Literal["full", "bfloat16"] = "full",
        clip: float | None = None,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, but is a {type(model).__name__}.")
        check_data(data, "data")
        for name, value in (("batch_size", batch_size), ("checkpoint_steps", checkpoint_steps)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer, 1 or more, but is {value!r}.")
        check_choice(precision, ("full", "bfloat16"), "precision")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive, but is {clip}.")
        known = {id(parameter) for parameter in model.parameters()}
        if not all(id(parameter) in known for group in optimizer.param_groups for parameter in group["params"]):
            raise ValueError("optimizer holds parameters that are none of the model's.")
        self.model, self.data, self.optimizer, self.scheduler = model, data, optimizer, scheduler
        self.objective: Objective = Supervised() if objective is None else objective
        self.batch_size, self.seed, self.precision, self.clip = batch_size, seed, precision, clip
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_steps, self.progress = checkpoint_steps, progress
        self.processes = Processes()
        self.device = self.processes.device if device is None else torch.device(device)
        self.model.to(self.device)
        self.history: list[Record] = []
        self._step_in_epoch, self._loss_of_epoch = 0, 0.0
        self._restored = False

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return math.ceil(length_of(self.data) / self.batch_size)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def fit(
        self, epochs: int, validation: Dataset[Any] | None = None, objective: Objective | None = None
    ) -> list[Record]:
        """Train until ``epochs`` epochs are done, those of the checkpoint included.

        Args:
            epochs: How many in all.
            validation: Samples on which the loss is measured after each epoch.
            objective: Of the validation; that of the training by default.

        Returns:
            The history.

        Raises:
            TrainingError: A loss is not finite.
            CheckpointError: The checkpoint cannot be read, or belongs to another training.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs must be an integer, 1 or more, but is {epochs!r}.")
        if validation is not None:
            check_data(validation, "validation")
        self.restore()
        losses_of = self._prepared()
        total, done = epochs * self.steps_per_epoch, self.epoch * self.steps_per_epoch + self._step_in_epoch
        show = self.progress and self.processes.first
        with progress_bar(total, type(self.model).__name__, show, initial=done, unit="step") as advance:
            while self.epoch < epochs:
                self._train_epoch(losses_of, advance)
                record: Record = {
                    "epoch": self.epoch + 1,
                    "loss": self._loss_of_epoch / length_of(self.data),
                    "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
                }
                if validation is not None:
                    record["validation"] = self.evaluate(validation, objective)
                self.history.append(record)
                self._step_in_epoch, self._loss_of_epoch = 0, 0.0
                self.save()
        return self.history

    def evaluate(self, data: Dataset[Any], objective: Objective | None = None) -> float:
        """Return the mean loss over samples, in evaluation mode and without gradients.

        Args:
            data: The samples.
            objective: What to measure; that of the training by default.
        """
        check_data(data, "data")
        measured = self.objective if objective is None else objective
        was_training = self.model.training
        self.model.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        order = list(range(length_of(data)))
        with torch.no_grad():
            for start in range(0, len(order), self.batch_size):
                share = self._share(data, order[start : start + self.batch_size])
                with self._autocast():
                    losses = measured(self.model, share.tensors)
                counted = (share.weights > 0).to(losses.dtype)
                total += (losses * counted).sum().double()
        self.model.train(was_training)
        return float(self.processes.sum(total)) / len(order)

    def save(self) -> None:
        """Write the state to the checkpoint, if there is one."""
        if self.checkpoint is None:
            return
        cuda = self.device.type == "cuda"
        random = {"cpu": torch.get_rng_state(), **({"cuda": torch.cuda.get_rng_state(self.device)} if cuda else {})}
        gathered = self.processes.gather(random)
        if self.processes.first:
            state = {
                "training": self._description(),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
                "history": self.history,
                "step_in_epoch": self._step_in_epoch,
                "loss_of_epoch": self._loss_of_epoch,
                "random": gathered,
            }
            write_checkpoint(self.checkpoint, state)
        self.processes.wait()

    def restore(self) -> bool:
        """Go on from the checkpoint, once, if there is one; `fit` does this on its own.

        Returns:
            Whether there was something to go on from.

        Raises:
            CheckpointError: The checkpoint cannot be read, or belongs to another training.
        """
        if self._restored or self.checkpoint is None or not self.checkpoint.exists():
            self._restored = True
            return False
        state = read_checkpoint(self.checkpoint)
        mine = self._description()
        differing = [name for name in mine if state["training"].get(name) != mine[name]]
        if differing:
            there = ", ".join(f"{name}={state['training'].get(name)!r}" for name in differing)
            asked = ", ".join(f"{name}={mine[name]!r}" for name in differing)
            raise CheckpointError(
                f"{self.checkpoint} is of a training with {there}, but this one has {asked}. "
                "Give checkpoint= another name, or delete the file."
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.checkpoint} does not fit the model or optimizer: {error}") from error
        if (self.scheduler is None) != (state["scheduler"] is None):
            kind = "without" if state["scheduler"] is None else "with"
            raise CheckpointError(f"{self.checkpoint} is of a training {kind} a scheduler, unlike this one.")
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.history = list(state["history"])
        self._step_in_epoch, self._loss_of_epoch = state["step_in_epoch"], state["loss_of_epoch"]
        # with another number of processes, the draws of dropout are others; batches are the same
        random = state["random"][self.processes.rank % len(state["random"])]
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.device)
        self._restored = True
        return True

    def _train_epoch(self, losses_of: nn.Module, advance: Advance) -> None:
        self.model.train()
        order = order_of_epoch(length_of(self.data), self.seed, self.epoch)
        for step in range(self._step_in_epoch, self.steps_per_epoch):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            self._loss_of_epoch += self._train_batch(losses_of, self._share(self.data, batch), step) * len(batch)
            self._step_in_epoch = step + 1
            advance(1)
            due = self.checkpoint_steps is not None and self._step_in_epoch % self.checkpoint_steps == 0
            if due and self._step_in_epoch < self.steps_per_epoch:
                self.save()

    def _train_batch(self, losses_of: nn.Module, share: Share, step: int) -> float:
        """Take one step and return the mean loss over the whole batch."""
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            losses = losses_of(share.tensors)
        loss = (losses * share.weights.to(losses.dtype)).sum()
        whole = float(self.processes.sum(loss.detach().double() / self.processes.count))
        if not math.isfinite(whole):
            raise TrainingError(
                f"the loss of batch {step} in epoch {self.epoch + 1} is {whole}. A smaller learning rate or clip=1.0 "
                "may help; precision='full' where it was 'bfloat16'."
            )
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return whole

    def _prepared(self) -> nn.Module:
        losses = LossModule(self.model, self.objective)
        if self.processes.count == 1:
            return losses
        places = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(losses, device_ids=places)

    def _share(self, data: Dataset[Any], batch: list[int]) -> Share:
        return share_of_batch(data, batch, self.processes.rank, self.processes.count, self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _description(self) -> dict[str, Any]:
        return {
            "samples": length_of(self.data),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "precision": self.precision,
            "clip": self.clip,
        }
