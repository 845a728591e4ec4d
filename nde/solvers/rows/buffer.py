"""Scratch memory for explicit Runge-Kutta steps of many rows, each with a step size of its own, off the tape."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.solvers.tableau import ButcherTableau

__all__ = ["RowBuffer", "ScaledStages"]


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
        self._errors = [y.new_tensor(row) for row in tableau.errors]
        self._nodes = torch.tensor(tableau.c, dtype=torch.float64, device=y.device).view(-1, 1, 1)
        self.stages: tuple[Tensor, ...] = ()
        self.open(y)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self._memory.nbytes

    def open(self, y: Tensor) -> None:
        """Make room for rows like ``y``."""
        rows = self._memory[:, : y.numel()]
        count = rows.shape[0]
        self.stages = tuple(row.view(y.shape) for row in rows.unbind(0))
        self._heads = [rows[:length].T for length in range(count + 1)]
        self._shape = y.shape

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

    def error_rows(self) -> Tensor:
        """Return the embedded differences, shape ``(estimates, rows, row size)``."""
        rows = [torch.mv(self._heads[-1], row).view(self._shape) for row in self._errors]
        return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)

    def take_rows(self, index: Tensor) -> ScaledStages:
        """Return the stages of some rows."""
        return ScaledStages([stage.index_select(0, index) for stage in self.stages])


class ScaledStages(list[Tensor]):
    """Stages times the step size."""

    def take_rows(self, index: Tensor) -> ScaledStages:
        """Return the stages of some rows."""
        return ScaledStages([stage.index_select(0, index) for stage in self])
