"""Steps that belong together: those of each sample where samples have steps of their own, or else all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.solution import Steps

__all__ = ["StepGroups"]


class StepGroups:
    """Reduces values of steps over each group.

    Args:
        steps: The accepted steps.

    Attributes:
        counts: Number of steps in each group, shape ``(groups,)``, int64.
    """

    def __init__(self, steps: Steps) -> None:
        alone = torch.zeros(len(steps), dtype=torch.int64, device=steps.h.device)
        self._groups = steps.samples or 1
        self._place = alone if steps.sample is None else steps.sample
        self.counts = torch.bincount(self._place, minlength=self._groups)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over each group, shape ``(groups,)``."""
        return values.new_zeros(self._groups).index_add(0, self._place, values)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over each group; zero over none."""
        return self.sum(values) / self.counts.clamp_min(1)

    def max_but_last(self, values: Tensor) -> Tensor:
        """Return the largest value of each group without its last step, unless it is the only one; zero of none."""
        place, device = self._place, values.device
        order = torch.arange(len(values), device=device)
        last = torch.full((self._groups,), -1, device=device).scatter_reduce(0, place, order, "amax")
        dropped = (order == last[place]) & (self.counts[place] > 1)
        shown = values.masked_fill(dropped, -math.inf)
        largest = values.new_full((self._groups,), -math.inf).scatter_reduce(0, place, shown, "amax")
        return torch.where(self.counts > 0, largest, 0.0)
