"""What training makes small: from a model and a batch to one loss for each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nde.operators.grids import Grid
from nde.operators.train.losses import RelativeL2

__all__ = ["Loss", "LossModule", "Objective", "RollOut", "Supervised", "Windows", "roll_out"]

Loss = Callable[[Tensor, Tensor], Tensor]
Objective = Callable[[nn.Module, Sequence[Tensor]], Tensor]


class Supervised:
    """The loss of ``model(input)`` against a target; a batch is ``(inputs, targets)``.

    Args:
        loss: From predictions and targets to one number for each sample.
        grid: Handed to the model as ``grid=``; None to call ``model(input)``.
    """

    def __init__(self, loss: Loss | None = None, grid: Grid | None = None) -> None:
        self.loss = RelativeL2() if loss is None else loss
        self.grid = grid

    def __call__(self, model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return losses, shape ``(batch,)``."""
        inputs, targets = batch
        return self.loss(_apply(model, inputs, self.grid), targets)


class RollOut:
    """The mean loss over the steps of a roll-out, in which the model continues from what it predicted.

    A batch is ``(windows,)`` of shape ``(batch, steps + 1, channels, *space)``, as `Windows` has them. With one step
    it is the one-step loss of a time stepper.

    Args:
        loss: From predictions and targets to one number for each sample.
        grid: Handed to the model as ``grid=``; None to call ``model(state)``.
        last_step_only: Make only the last step's loss small, and take the earlier predictions as given: the
            push-forward trick of Brandstetter, Worrall, Welling (2022, "Message passing neural PDE solvers"), at the
            memory of one step.
    """

    def __init__(self, loss: Loss | None = None, grid: Grid | None = None, last_step_only: bool = False) -> None:
        self.loss = RelativeL2() if loss is None else loss
        self.grid, self.last_step_only = grid, last_step_only

    def __call__(self, model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return losses, shape ``(batch,)``.

        Raises:
            ValueError: The windows hold fewer than two frames.
        """
        (windows,) = batch
        if windows.dim() < 4 or windows.shape[1] < 2:
            raise ValueError(
                f"windows must have shape (batch, steps + 1, channels, *space), but have {tuple(windows.shape)}."
            )
        steps = windows.shape[1] - 1
        state, total = windows[:, 0], windows.new_zeros(len(windows))
        for step in range(1, steps + 1):
            if self.last_step_only and step < steps:
                with torch.no_grad():
                    state = _apply(model, state, self.grid).to(windows.dtype)
                continue
            state = _apply(model, state, self.grid).to(windows.dtype)
            total = total + self.loss(state, windows[:, step])
        return total if self.last_step_only else total / steps


class LossModule(nn.Module):
    """A model and its objective as one module: a roll-out is one forward pass, as distributed training needs it."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Sequence[Tensor]) -> Tensor:
        """Return losses, shape ``(batch,)``."""
        return self.objective(self.model, batch)


class Windows(Dataset[tuple[Tensor]]):
    """All runs of ``steps + 1`` consecutive frames of some trajectories, without copies.

    Args:
        trajectories: Shape ``(samples, times, channels, *space)``.
        steps: How many frames follow the first of each window.

    Raises:
        ValueError: The trajectories have another shape, or are shorter than a window.
    """

    def __init__(self, trajectories: Tensor, steps: int) -> None:
        if trajectories.dim() < 4:
            raise ValueError(
                f"trajectories must have shape (samples, times, channels, *space), but have "
                f"{tuple(trajectories.shape)}."
            )
        if not 1 <= steps < trajectories.shape[1]:
            raise ValueError(f"steps must be between 1 and {trajectories.shape[1] - 1}, but is {steps}.")
        self.trajectories, self.steps = trajectories, steps
        self._starts = trajectories.shape[1] - steps

    def __len__(self) -> int:
        return len(self.trajectories) * self._starts

    def __getitem__(self, index: int) -> tuple[Tensor]:
        """Return one window."""
        sample, start = divmod(range(len(self))[index], self._starts)
        return (self.trajectories[sample, start : start + self.steps + 1],)


def roll_out(model: nn.Module, initial: Tensor, steps: int, grid: Grid | None = None) -> Tensor:
    """Return what a model predicts step after step, without gradients.

    Args:
        model: From a state to the next.
        initial: Shape ``(batch, channels, *space)``.
        steps: How many steps.
        grid: Handed to the model as ``grid=``; None to call ``model(state)``.

    Returns:
        Shape ``(batch, steps + 1, channels, *space)``, beginning with ``initial``.

    Raises:
        ValueError: There is not one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but is {steps}.")
    states = [initial]
    with torch.no_grad():
        for _ in range(steps):
            states.append(_apply(model, states[-1], grid))
    return torch.stack(states, 1)


def _apply(model: nn.Module, inputs: Tensor, grid: Grid | None) -> Any:
    return model(inputs) if grid is None else model(inputs, grid=grid)
