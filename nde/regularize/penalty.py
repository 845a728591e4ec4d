"""What a penalty is: a function of a solution with a weight; and sums and multiples of such functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nde.regularize.schedules import Schedule, as_schedule
from nde.solvers.solution import Solution

__all__ = ["MultipleOfPenalty", "Penalty", "SumOfPenalties"]


class Penalty(nn.Module):
    """A weighted penalty on a solution.

    It is a module so that its place in the schedule is saved and restored with the model. Penalties add up and scale:
    ``GlobalError(1.0) + 0.1 * GlobalStiffness(1.0)``.

    Args:
        weight: Factor on `value`, a number or a `Schedule` that `step` moves along.

    Attributes:
        reads: The estimate of the solver that it is made of, ``"error"`` or ``"stiffness"``; None if of neither.
        of_all_steps: Whether its gradient is that of the estimates of all steps, which an adjoint has to replay.
    """

    reads: ClassVar[str | None] = None
    of_all_steps: ClassVar[bool] = False

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.schedule = as_schedule(weight)
        self._count = 0

    @property
    def weight(self) -> float:
        """The current weight."""
        return self.schedule(self._count)

    @abstractmethod
    def value(self, solution: Solution) -> Tensor:
        """Return the penalty before weighting, a 0-d tensor."""

    def forward(self, solution: Solution) -> Tensor:
        """Return the weighted penalty, a 0-d tensor to be added to the loss."""
        weight = self.weight
        if weight == 0:
            return solution.steps.h.new_zeros(())
        return weight * self.value(solution)

    def solve_options(self) -> dict[str, Any]:
        """Return the keywords that a layer must give to its solve for this penalty."""
        return {}

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

    def __radd__(self, other: object) -> Penalty:
        return self if other == 0 else NotImplemented  # the zero that sum() begins with

    def __rmul__(self, factor: float) -> Penalty:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        return MultipleOfPenalty(factor, self)

    __mul__ = __rmul__

    def extra_repr(self) -> str:
        """Describe the weight in ``repr``."""
        return f"weight={self.schedule}"

    def _parts(self) -> list[Penalty]:
        """Return the penalties that this one is made of."""
        return [self]


class MultipleOfPenalty(Penalty):
    """A penalty times a number.

    Args:
        factor: The number.
        term: The penalty; it keeps its own place in its schedule.
    """

    def __init__(self, factor: float, term: Penalty) -> None:
        super().__init__(factor)
        self.term = term

    @property
    def weight(self) -> float:
        """The current weight of the penalty, this factor included."""
        return super().weight * self.term.weight

    def value(self, solution: Solution) -> Tensor:
        """Return the penalty's own value, before any weighting."""
        return self.term.value(solution)

    def solve_options(self) -> dict[str, Any]:
        """Return what the penalty asks for."""
        return self.term.solve_options()

    def step(self) -> None:
        """Move the penalty along its schedule."""
        self.term.step()

    def extra_repr(self) -> str:
        """Describe the factor in ``repr``."""
        return f"factor={self.schedule(0):g}"

    def _parts(self) -> list[Penalty]:
        return self.term._parts()


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
        return torch.stack([term(solution) for term in self._terms()]).sum()

    def solve_options(self) -> dict[str, Any]:
        """Return what all terms ask for."""
        return {name: value for term in self._terms() for name, value in term.solve_options().items()}

    def step(self) -> None:
        """Move every term along its schedule."""
        for part in {id(part): part for part in self._parts()}.values():  # one that is named twice moves once
            part.step()

    def _parts(self) -> list[Penalty]:
        return [part for term in self._terms() for part in term._parts()]

    def _terms(self) -> list[Penalty]:
        return [term for term in self.terms if isinstance(term, Penalty)]
