"""Runge-Kutta methods of Foster and others, whose stages follow a path made of a step's increment and space-time area.

Only the stages that the coefficients use are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.areas import space_time_area
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import Size, plus, size_of
from nde.solvers.sde.splitting_tableau import Row, SplittingTableau
from nde.solvers.sde.sums import weighted_sum

__all__ = ["SplittingRungeKutta"]

# drifts, diffusions times the increment, diffusions times the area, each by number of the stage
_Stages = tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]


class SplittingRungeKutta(SDEMethod):
    """A method for the Stratonovich calculus that reads the space-time area.

    Args:
        name: Name of the method.
        tableau: Its coefficients.
        calculus: "stratonovich", or "ito" for a method that is for additive noise alone, where the two are one.
    """

    strong_orders: Mapping[str, float]  # type: ignore[misc]  # a fact of the tableau
    levy_area = "space-time"
    by_products = True
    rows = True

    def __init__(self, name: str, tableau: SplittingTableau, calculus: str = "stratonovich") -> None:
        self.name = name
        self.tableau = tableau
        self.calculus = calculus
        self.strong_orders = tableau.strong_orders
        self.weak_order = tableau.weak_order
        self.error_order = tableau.error_order
        self.source = tableau.source
        self.stages_inside = all(0.0 <= node <= 1.0 for node in tableau.c)
        self._needed = _needed(tableau)

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        tableau, size = self.tableau, size_of(h, y)
        increment = field.increment(t, h)
        w, area = increment.w, space_time_area(increment)
        stages: _Stages = ({}, {}, {})
        for stage, node in enumerate(tableau.c):
            needed = [stage in group for group in self._needed]
            argument = y
            # where the noise is additive, the diffusion reads the time alone
            if stage and (needed[0] or field.noise != "additive"):
                argument = _moved(y, size, tableau.row(stage), stages)
            time = t + node * h
            if needed[0]:
                stages[0][stage] = field(time, argument)
            if any(needed[1:]):
                diffusion = field.diffusion(time, argument)
                for group, noise in ((1, w), (2, area)):
                    if needed[group]:
                        stages[group][stage] = field.product(diffusion, noise)
        y1 = _moved(y, size, (tableau.b, tableau.b_w, tableau.b_h), stages)
        errors = None
        if tableau.errors is not None:
            errors = _moved(torch.zeros_like(y), size, tableau.errors, stages).unsqueeze(0)
        return StepResult(y1, None, errors, None, None)


def _moved(y: Tensor, size: Size, rows: tuple[Row, Row, Row], stages: _Stages) -> Tensor:
    """Return a state moved by the weighted drifts, diffusions times the increment, and diffusions times the area."""
    for row, values, factor in zip(rows, stages, (size, 1.0, 1.0), strict=True):
        if any(row):
            y = plus(y, weighted_sum(row, values), factor)
    return y


def _needed(tableau: SplittingTableau) -> tuple[set[int], set[int], set[int]]:
    """Return the stages whose drift, diffusion times increment, and diffusion times area some weight uses."""
    stages = range(1, len(tableau.b))
    groups = zip(*(tableau.row(stage) for stage in stages), strict=True)
    ends = zip((tableau.b, tableau.b_w, tableau.b_h), tableau.errors or ((), (), ()), strict=True)
    found = [
        {index for row in (*rows, *weights) for index, weight in enumerate(row) if weight}
        for rows, weights in zip(groups, ends, strict=True)
    ]
    return found[0], found[1], found[2]
