"""What a penalty is: a function of a solution with a weight, and the sum of such functions."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nde.regularize.schedules import Schedule, as_schedule
from nde.solvers.solution import Solution

__all__ = ["Penalty", "SumOfPenalties"]


class Penalty(nn.Module):
    """A weighted penalty on a solution.

    It is a module so that its place in the schedule is saved and restored with the model. Penalties add up and scale:
    ``GlobalError(1.0) + 0.1 * GlobalStiffness(1.0)``.

    Args:
        weight: Factor on `value`, a number or a `Schedule` that `step` moves along.
    """

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.schedule = as_schedule(weight)
        self.factor = 1.0
        self._count = 0

    @property
    def weight(self) -> float:
        """The current weight."""
        return self.factor * self.schedule(self._count)

    @abstractmethod
    def value(self, solution: Solution) -> Tensor:
        """Return the penalty before weighting, a 0-d tensor."""

    def forward(self, solution: Solution) -> Tensor:
        """Return the weighted penalty, a 0-d tensor to be added to the loss."""
        weight = self.weight
        if weight == 0:
            return solution.steps.h.new_zeros(())
        return weight * self.value(solution)

    def step(self) -> None:
        """Move one iteration along the schedule; call it once per optimiser step (or epoch, as the schedule counts)."""
        self._count += 1

    def get_extra_state(self) -> Tensor:
        """Return the iteration, for ``state_dict``."""
        return torch.tensor(self._count)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the iteration, for ``load_state_dict``."""
        self._count = int(state)

    def __add__(self, other: Penalty) -> SumOfPenalties:
        if not isinstance(other, Penalty):
            return NotImplemented
        return SumOfPenalties([self, other])

    def __rmul__(self, factor: float) -> Penalty:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        as_schedule(factor)  # raises for negative or non-finite factors
        scaled = copy.copy(self)
        scaled.factor = self.factor * factor
        return scaled

    __mul__ = __rmul__

    def extra_repr(self) -> str:
        """Describe the weight in ``repr``."""
        times = "" if self.factor == 1 else f"{self.factor:g} * "
        return f"weight={times}{self.schedule}"


class SumOfPenalties(Penalty):
    """The sum of penalties.

    Args:
        terms: The penalties.
    """

    def __init__(self, terms: Sequence[Penalty]) -> None:
        super().__init__(1.0)
        self.terms = nn.ModuleList(terms)

    def value(self, solution: Solution) -> Tensor:
        """Return the sum of the weighted terms."""
        return torch.stack([term(solution) for term in self._penalties()]).sum()

    def step(self) -> None:
        """Move every term along its schedule."""
        super().step()
        for term in {id(leaf): leaf for leaf in self._leaves()}.values():  # one that is named twice moves once
            term.step()

    def _leaves(self) -> list[Penalty]:
        nested = (term._leaves() if isinstance(term, SumOfPenalties) else [term] for term in self._penalties())
        return [leaf for leaves in nested for leaf in leaves]

    def _penalties(self) -> list[Penalty]:
        return [term for term in self.terms if isinstance(term, Penalty)]
