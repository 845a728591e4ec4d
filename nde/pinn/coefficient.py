"""Unknown coefficients of an equation, which are trained along with the solution."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Coefficient"]


class Coefficient(nn.Module):
    """A number to be found from data.

    In an expression it is written as a known function, ``u.t - u.given(coefficient) * u.xx``; in a residual that is a
    Python function, as ``coefficient()``. Give it to `nde.pinn.Problem` as one of its ``coefficients``, so that
    optimisers find it.

    Args:
        initial: First guess.
        positive: Train its logarithm, so that it stays positive.

    Raises:
        ValueError: The guess is not finite, or not positive where it must be.
    """

    def __init__(self, initial: float, *, positive: bool = False) -> None:
        super().__init__()
        if not math.isfinite(initial) or (positive and initial <= 0):
            wanted = "positive and finite" if positive else "finite"
            raise ValueError(f"initial must be {wanted}, but is {initial}.")
        self.positive = positive
        # one entry and not none: parameters without an axis cannot be sharded
        self.raw = nn.Parameter(torch.tensor([math.log(initial) if positive else float(initial)]))

    def forward(self, x: Any = None) -> Tensor:
        """Return the number, a tensor without axes; the points are not used."""
        return self.raw[0].exp() if self.positive else self.raw[0]

    def extra_repr(self) -> str:
        """Return what the module is printed with."""
        return f"{float(self().detach()):.6g}, positive={self.positive}"
