"""A workload made real: field, initial state, output times; and the field that counts its evaluations."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.workloads import Workload

__all__ = ["CountingField", "Field", "Problem", "make_problem"]


class Field(nn.Module):
    """``[y, t] -> Linear -> tanh -> [h, t] -> Linear``; ``t`` is a 0-d tensor or holds one time per sample."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim + 1, hidden)
        self.outer = nn.Linear(hidden + 1, dim)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        column = t.expand(y.shape[0]).unsqueeze(1)
        hidden = torch.tanh(self.inner(torch.cat((y, column), dim=1)))
        return self.outer(torch.cat((hidden, column), dim=1))


class CountingField(nn.Module):
    """Wraps a field and counts what the libraries do with it. Used in runs of its own, never in timed ones.

    The two callbacks are the ones that torchdiffeq looks for on the field that it is given.
    """

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field
        self.evaluations = self.accepted = self.rejected = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations += 1
        return self.field(t, y)

    def callback_accept_step(self, *_: Any) -> None:
        self.accepted += 1

    def callback_reject_step(self, *_: Any) -> None:
        self.rejected += 1


@dataclass(frozen=True)
class Problem:
    """What a solve gets.

    Attributes:
        workload: Where it comes from.
        field: The field; its parameters are what training differentiates.
        y0: Initial state, shape ``(batch, dim)``.
        ts: Output times, shape ``(outputs,)``.
    """

    workload: Workload
    field: nn.Module
    y0: Tensor
    ts: Tensor

    def double(self) -> Problem:
        """Return the same numbers in float64."""
        field = copy.deepcopy(self.field).double()
        return Problem(self.workload, field, self.y0.double(), self.ts.double())


def make_problem(workload: Workload, end: float = 1.0) -> Problem:
    """Return the problem on ``[0, end]``; the same numbers in every process."""
    torch.manual_seed(0)
    field = Field(workload.dim, workload.hidden)
    y0 = torch.randn(workload.batch, workload.dim)
    return Problem(workload, field, y0, torch.linspace(0.0, end, workload.outputs))
