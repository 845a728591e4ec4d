"""Scratch memory for explicit Runge-Kutta steps of many rows, each with a step size of its own, off the tape."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nde.solvers.tableau import ButcherTableau

__all__ = ["Readings", "RowBuffer", "ScaledStages"]


class RowBuffer:
    """Stages of one step of all rows, times its size, so that every stage sum is one matrix-vector product.

    Args:
        tableau: Coefficients.
        y: States, shape ``(rows, row size)``; later steps may have fewer rows.

    Attributes:
        stages: Stages of the rows at work, times the step size, shape ``(rows, row size)`` each.
    """

    def __init__(self, tableau: ButcherTableau, y: Tensor) -> None:
        self._memory = torch.empty(tableau.stages, y.numel(), dtype=y.dtype, device=y.device)
        self._weights = [y.new_tensor(row) for row in ((), *tableau.a)]
        # the last stage of a FSAL method comes after the state at the end, to which it adds nothing
        self._ending = tableau.stages - 1 if tableau.fsal else tableau.stages
        self._b = y.new_tensor(tableau.b[: self._ending])
        self._estimates = len(tableau.errors)
        self._readings = y.new_tensor(_readings(tableau))
        self._room = y.new_empty((len(self._readings) + self._estimates + 1) * y.numel())
        self._nodes = torch.tensor(tableau.c, dtype=torch.float64, device=y.device).view(-1, 1, 1)
        self.stages: tuple[Tensor, ...] = ()
        self.open(y)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self._memory.nbytes + self._room.nbytes

    def open(self, y: Tensor) -> None:
        """Make room for rows like ``y``."""
        rows = self._memory[:, : y.numel()]
        count = rows.shape[0]
        self.stages = tuple(row.view(y.shape) for row in rows.unbind(0))
        self._heads = [rows[:length].T for length in range(count + 1)]
        self._rows, self._shape = rows, y.shape
        parts, count = len(self._readings) + self._estimates + 1, len(self._readings)
        room = self._room[: parts * y.numel()].view(parts, -1)
        self._read, places = room[:count], room.view(parts, *y.shape)
        self._errors = places[: self._estimates] if self._estimates else None
        scaled = places[count : count + self._estimates]
        self._places = (places[self._estimates :], scaled, places[-1])

    def times(self, t: Tensor, h: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the times of all stages, shape ``(rows, 1)`` each."""
        return torch.addcmul(t, h.double(), self._nodes).to(dtype).unbind(0)

    def put(self, index: int, stage: Tensor, h: Tensor) -> None:
        """Keep a stage, times the step size; of the states' shape, as broadcasting costs more with narrow rows."""
        torch.mul(stage, h, out=self.stages[index])

    def argument(self, index: int, y: Tensor) -> Tensor:
        """Return the argument of a stage, given the states at the beginning as one vector."""
        return torch.addmv(y, self._heads[index], self._weights[index]).view(self._shape)

    def end(self, y: Tensor) -> Tensor:
        """Return the states at the end; the stages are summed first, as the state's rounding unit is far larger."""
        return y + torch.mv(self._heads[self._ending], self._b).view(self._shape)

    def read(self, h: Tensor) -> tuple[Tensor | None, Readings]:
        """Return the embedded differences, shape ``(estimates, rows, row size)``, and all that is read off the step.

        Args:
            h: Step sizes, shape ``(rows, 1)``.
        """
        if len(self._readings):
            torch.mm(self._readings, self._rows, out=self._read)
        differences = len(self._readings) - self._estimates
        return self._errors, Readings(self._errors, *self._places, differences, h.view(-1) if differences else None)

    def take_rows(self, index: Tensor) -> ScaledStages:
        """Return the stages of some rows."""
        return ScaledStages([stage.index_select(0, index) for stage in self.stages])


class Readings(NamedTuple):
    """What is read off one step of all rows, in memory that the next step overwrites.

    Attributes:
        errors: Embedded differences, shape ``(estimates, rows, row size)``; None if there are none.
        block: Differences of the stages (times the step size) and of the arguments of two stages at the same time,
            where the tableau has them, then room for scaled errors and for the states at the ends.
        scaled: The room for scaled errors.
        ends: The room for the states at the ends.
        differences: 2 if the tableau has two stages at the same time, otherwise 0.
        size: Step sizes that the difference of the stages was multiplied with; None without differences.
    """

    errors: Tensor | None
    block: Tensor
    scaled: Tensor
    ends: Tensor
    differences: int
    size: Tensor | None

    def squares(self, scale: Tensor | None, y1: Tensor) -> Tensor:
        """Return the squares of the differences, of the errors over a scale and of the states, in the same memory."""
        block = self.block
        if self.errors is not None and scale is not None:
            torch.div(self.errors, scale, out=self.scaled)
        elif self.errors is not None:
            self.scaled.zero_()
        self.ends.copy_(y1)
        return block.square_()


def _readings(tableau: ButcherTableau) -> list[list[float]]:
    """Return the weights of what is read off the stages, one row each; see `Readings`."""
    count = tableau.stages
    rows = [list(row) + [0.0] * (count - len(row)) for row in tableau.errors]
    if tableau.stiffness_stages is None:
        return rows
    low, high = tableau.stiffness_stages
    arguments = [[*row, *[0.0] * (count - len(row))] for row in ((), *tableau.a)]
    stages = [float(index == high) - float(index == low) for index in range(count)]
    return [*rows, stages, [a - b for a, b in zip(arguments[high], arguments[low], strict=True)]]


class ScaledStages(list[Tensor]):
    """Stages times the step size."""

    def take_rows(self, index: Tensor) -> ScaledStages:
        """Return the stages of some rows."""
        return ScaledStages([stage.index_select(0, index) for stage in self])
