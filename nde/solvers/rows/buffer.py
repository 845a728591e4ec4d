"""Scratch memory for explicit Runge-Kutta steps of many rows, each with a step size of its own, off the tape."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.solvers.tableau import ButcherTableau

__all__ = ["RowBuffer"]


class RowBuffer:
    """Stages of one step of all rows, so that every stage sum is one matrix-vector product.

    Args:
        tableau: Coefficients.
        y: States, shape ``(rows, row size)``; later steps may have fewer rows.

    Attributes:
        stages: Stages of the rows at work, shape ``(rows, row size)`` each.
    """

    def __init__(self, tableau: ButcherTableau, y: Tensor) -> None:
        self._memory = torch.empty(tableau.stages, y.numel(), dtype=y.dtype, device=y.device)
        self._weights = [y.new_tensor(row) for row in ((), *tableau.a, tableau.b)]
        self._errors = [y.new_tensor(row) for row in tableau.errors]
        self._nodes = torch.tensor(tableau.c, dtype=torch.float64, device=y.device)
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
        return torch.addcmul(t, h.double(), self._nodes).to(dtype).split(1, 1)

    def combine(self, index: int, y: Tensor, h: Tensor) -> Tensor:
        """Return the argument of a stage; behind the last stage, the state at the end.

        Args:
            index: The stage.
            y: States at the beginning.
            h: Step sizes, of the states' shape: with narrow rows, broadcasting costs more than memory.
        """
        return torch.addcmul(y, h, torch.mv(self._heads[index], self._weights[index]).view(self._shape))

    def error_rows(self, h: Tensor) -> Tensor:
        """Return the embedded differences, shape ``(estimates, rows, row size)``."""
        rows = [h * torch.mv(self._heads[-1], row).view(self._shape) for row in self._errors]
        return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)

    def take_rows(self, index: Tensor) -> list[Tensor]:
        """Return the stages of some rows."""
        return [stage.index_select(0, index) for stage in self.stages]
