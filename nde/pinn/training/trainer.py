"""The loop: refresh points, weigh losses, step, evaluate, save; resumable to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from nde.checkpoints import read_checkpoint, write_checkpoint
from nde.pinn.optim import LBFGS, NaturalGradient
from nde.pinn.problem import Problem
from nde.pinn.training.history import History, Writer, tensorboard_writer
from nde.pinn.training.interrupt import Interrupts
from nde.pinn.training.reference import Reference
from nde.pinn.weighting import Weighting
from nde.taylor.operators.checks import check_count

__all__ = ["Trainer"]

Ending = Literal["finished", "interrupted", "converged", "stalled", "reached"]


class Trainer:
    """Minimises a problem's loss with any optimiser of PyTorch, `LBFGS` or `NaturalGradient`.

    Args:
        problem: What is trained.
        optimizer: Over ``problem.parameters()``.
        scheduler: Changes the learning rate; stepped once for every step.
        weighting: Finds factors of the losses.
        seed: Of the generator that draws points.
        reference: A known solution; its error is written down every ``evaluate_every`` steps.
        evaluate_every: Number of steps between entries of the history.
        target: Stop once the reference's error is at most this.
        checkpoint: A file to save to every ``checkpoint_every`` steps, at the end, and on Ctrl-C.
        checkpoint_every: Number of steps between checkpoints.
        log: A folder for TensorBoard (``pip install tensorboard``), or an object with ``add_scalar``.
        progress: Show a progress bar where tqdm is installed and the error stream is a terminal; True: always.

    Attributes:
        iteration: Number of steps so far.
        history: What was written down.
        generator: Draws the points.

    Raises:
        TypeError, ValueError: An argument does not fit.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        *,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        weighting: Weighting | None = None,
        seed: int = 0,
        reference: Reference | None = None,
        evaluate_every: int = 100,
        target: float | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 1000,
        log: str | Writer | None = None,
        progress: bool | None = None,
    ) -> None:
        if not isinstance(problem, Problem):
            raise TypeError(f"problem must be a Problem, but is a {type(problem).__name__}.")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, but is a {type(optimizer).__name__}.")
        if target is not None and reference is None:
            raise ValueError("target is an error with respect to a reference: give reference= as well.")
        if isinstance(optimizer, NaturalGradient) and optimizer.problem is not problem:
            raise ValueError("the optimizer NaturalGradient was made for another problem.")
        own = {id(parameter) for parameter in problem.parameters()}
        if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
            raise ValueError("the optimizer has none of the problem's parameters. Make it of problem.parameters().")
        self.problem = problem
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.weighting = weighting
        self.reference = reference
        self.evaluate_every = check_count(evaluate_every, "evaluate_every", 1)
        self.target = target
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        if self.checkpoint is not None and not self.checkpoint.parent.is_dir():
            raise ValueError(f"the folder of checkpoint={str(checkpoint)!r} does not exist. Make it first.")
        self.checkpoint_every = check_count(checkpoint_every, "checkpoint_every", 1)
        self.writer = tensorboard_writer(log) if isinstance(log, str) else log
        self.progress = progress
        self.iteration = 0
        self.history = History()
        self.generator = torch.Generator().manual_seed(seed)
        self._losses: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor | float] = {}  # of the last step of L-BFGS

    def run(self, steps: int) -> Ending:
        """Train until ``steps`` steps have been taken, counted from the very first one.

        Returns:
            ``"finished"``; ``"reached"``: the target; ``"interrupted"``: by Ctrl-C, after the step was completed;
            ``"converged"`` or ``"stalled"``: the optimiser says so, and its points do not change.

        Raises:
            NonFiniteResidualError: A residual is not finite; the last checkpoint is kept.
        """
        check_count(steps, "steps", 0)
        ending: Ending = "finished"
        with Interrupts() as interrupts, self._bar(steps) as bar:
            while self.iteration < steps:
                self._step()
                bar.update()
                last = self.iteration == steps
                stopped = self._stopped_by_optimizer() if not last else None
                if self.iteration % self.evaluate_every == 0 or last or stopped or interrupts.asked:
                    numbers = self.evaluate()
                    bar.set_postfix({name: f"{numbers[name]:.2e}" for name in ("loss", "error") if name in numbers})
                    if self.target is not None and numbers["error"] <= self.target:
                        ending = "reached"
                        break
                if stopped or interrupts.asked:
                    ending = "interrupted" if stopped is None else stopped
                    break
                if self.checkpoint is not None and self.iteration % self.checkpoint_every == 0 and not last:
                    self.save()
        if self.checkpoint is not None:
            self.save()
        return ending

    def evaluate(self) -> dict[str, float]:
        """Write losses, error and learning rate down, and return them."""
        numbers = {f"loss/{name}": float(loss) for name, loss in self._losses.items()}
        if numbers:  # not before the first step
            numbers["loss"] = sum(numbers.values())
        if self.reference is not None:
            numbers["error"] = self.reference.error(self.problem.model)
            if self.reference.trivial is not None:
                numbers["skill"] = numbers["error"] / self.reference.trivial
        if "lr" in self.optimizer.param_groups[0]:
            numbers["rate"] = float(self.optimizer.param_groups[0]["lr"])
        if isinstance(self.optimizer, NaturalGradient):
            numbers["damping"] = self.optimizer.damping
        for name, coefficient in self.problem.coefficients.items():
            value = coefficient()
            if value.numel() == 1:
                numbers[f"coefficient/{name}"] = float(value.detach())
        self.history.add(self.iteration, numbers, self.writer)
        return numbers

    def _step(self) -> None:
        fresh = self.problem.refresh(self.iteration, self.generator)
        if fresh and isinstance(self.optimizer, LBFGS):
            self.optimizer.reset_history()
        weights = self._weights_before(self.optimizer) if self.weighting is not None else None
        first = True

        def closure() -> Tensor:
            nonlocal weights, first
            self.optimizer.zero_grad()
            with torch.enable_grad():
                residuals = self.problem.residuals()
                if weights is None and self.weighting is not None:
                    weights = self.weighting.weights(self.problem, residuals, self.iteration)
                losses = self.problem.losses(residuals, weights)
                total = torch.stack(list(losses.values())).sum()
                total.backward()
            if first:
                self._losses = {name: loss.detach() for name, loss in losses.items()}
            first = False
            return total

        if isinstance(self.optimizer, NaturalGradient):
            self.optimizer.step(weights=weights)
            self._losses = self.optimizer.losses
        else:
            self.optimizer.step(closure)  # type: ignore[arg-type]  # optimisers hand on what it returns
        if self.scheduler is not None:
            self.scheduler.step()
        self.iteration += 1

    def _weights_before(self, optimizer: Optimizer) -> Mapping[str, Tensor | float] | None:
        """Return the weights of a step by an optimiser that has to know them beforehand, None for others.

        Curvature pairs of differently weighted losses mislead: L-BFGS starts anew where the weights have changed.
        """
        assert self.weighting is not None  # asked for only where there is one
        if not isinstance(optimizer, (NaturalGradient, LBFGS)):
            return None
        weights = self.weighting.weights(self.problem, self.problem.residuals(), self.iteration)
        if isinstance(optimizer, LBFGS):
            if not _same(weights, self._weights):
                optimizer.reset_history()
            self._weights = dict(weights)
        return weights

    def _stopped_by_optimizer(self) -> Literal["converged", "stalled"] | None:
        """Return why the optimiser cannot go on, where new points or weights will not change that."""
        status = getattr(self.optimizer, "status", "running")
        if status == "running" or self.weighting is not None:
            return None
        if any(getattr(condition.points, "every", None) for condition in self.problem.conditions.values()):
            return None
        return "converged" if status == "converged" else "stalled"

    def save(self, path: str | Path | None = None) -> None:
        """Save all that a resumed run needs to be the same as one without a break.

        Raises:
            ValueError: There is no path.
        """
        path = self.checkpoint if path is None else path
        if path is None:
            raise ValueError("there is no file to save to. Give save(path), or checkpoint= to the trainer.")
        write_checkpoint(
            path,
            {
                "iteration": self.iteration,
                "problem": self.problem.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
                "weighting": None if self.weighting is None else self.weighting.state_dict(),
                "points": self.problem.points_state(),
                "losses": self._losses,
                "weights": self._weights,
                "generator": self.generator.get_state(),
                "torch": torch.get_rng_state(),  # of estimators and dropout that draw from the default generator
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "history": self.history.state_dict(),
            },
        )

    def resume(self, path: str | Path | None = None) -> Trainer:
        """Take the state of a checkpoint into a trainer that was built like the one that saved it; return it.

        Raises:
            FileNotFoundError: There is no checkpoint.
            ValueError: There is no path, the file is no checkpoint, or it is of another kind of trainer.
            RuntimeError: The model has other parameters.
        """
        path = self.checkpoint if path is None else path
        if path is None:
            raise ValueError("there is no file to resume from. Give resume(path), or checkpoint= to the trainer.")
        state = read_checkpoint(path)
        for name, own in (("scheduler", self.scheduler), ("weighting", self.weighting)):
            if (state[name] is None) != (own is None):
                has, lacks = ("the checkpoint", "this trainer") if own is None else ("this trainer", "the checkpoint")
                raise ValueError(f"{has} has a {name}, but {lacks} has none. Build the trainer as it was.")
        self.problem.load_state_dict(state["problem"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.weighting is not None:
            self.weighting.load_state_dict(state["weighting"])
        self.problem.load_points_state(state["points"])
        self.iteration = state["iteration"]
        self._losses = state["losses"]
        self._weights = state.get("weights", {})
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        self.history.load_state_dict(state["history"])
        return self

    def _bar(self, steps: int) -> Any:
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        if shown:
            try:
                from tqdm import tqdm
            except ImportError:
                return _NoBar()
            return tqdm(total=steps, initial=self.iteration, unit="step", dynamic_ncols=True)
        return _NoBar()


def _same(one: Mapping[str, Tensor | float], other: Mapping[str, Tensor | float]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one
    )


class _NoBar:
    """Stands in for a progress bar."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self) -> None:
        """Do nothing."""

    def set_postfix(self, numbers: dict[str, str]) -> None:
        """Do nothing."""
