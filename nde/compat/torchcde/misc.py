"""torchcde's helpers, and a control made of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nde.controls import check_series
from nde.controls import fill_forward as _fill_forward

__all__ = ["TupleControl", "cheap_stack", "forward_fill", "tridiagonal_solve", "validate_input_path"]


def cheap_stack(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Return tensors of one shape, stacked along a new axis."""
    return torch.stack(list(tensors), dim)


def tridiagonal_solve(b: Tensor, A_upper: Tensor, A_diagonal: Tensor, A_lower: Tensor) -> Tensor:
    """Solve tridiagonal systems of equations, with any diagonals for which there is a solution.

    Args:
        b: Right-hand sides, shape ``(..., k)``.
        A_upper, A_diagonal, A_lower: The diagonals, shapes ``(..., k - 1)``, ``(..., k)`` and ``(..., k - 1)``.
    """
    matrix = A_diagonal.diag_embed() + A_upper.diag_embed(1) + A_lower.diag_embed(-1)
    solution: Tensor = torch.linalg.solve(matrix, b.unsqueeze(-1))
    return solution.squeeze(-1)


def validate_input_path(x: Tensor, t: Tensor | None) -> Tensor:
    """Return the times of data, which are checked; ``0, 1, ...`` in place of None.

    Raises:
        ValueError: ``x`` or ``t`` is not of floating point, their shapes do not fit, or the times do not increase.
    """
    if t is not None and not (isinstance(t, Tensor) and t.is_floating_point()):
        raise ValueError("t must be a tensor of floating point.")
    try:
        return check_series(x, t)[1]
    except TypeError as error:
        raise ValueError(str(error)) from None


def forward_fill(x: Tensor, fill_index: int = -2) -> Tensor:
    """Return data with each missing value (NaN) replaced by the last one known before it.

    Args:
        x: Data of two axes at least.
        fill_index: Axis of time.
    """
    if not isinstance(x, Tensor) or x.dim() < 2:
        raise AssertionError(f"x must be a tensor of two axes at least, but is {x!r}.")
    return _fill_forward(x, fill_index)


class TupleControl(nn.Module):
    """Several controls over one interval, whose values and derivatives come as tuples.

    Args:
        controls: The controls.

    Raises:
        ValueError: There is none, or their intervals differ.
    """

    def __init__(self, *controls: Any) -> None:
        super().__init__()
        if not controls:
            raise ValueError("Expected one or more controls to batch together.")
        interval = controls[0].interval
        if not all(torch.equal(control.interval, interval) for control in controls[1:]):
            raise ValueError("Can only batch together controls over the same interval.")
        self.controls = nn.ModuleList(controls)

    @property
    def interval(self) -> Tensor:
        """The first and the last time, shape ``(2,)``."""
        interval: Tensor = self.controls[0].interval  # type: ignore[assignment]  # a control, not any module
        return interval

    @property
    def grid_points(self) -> Tensor:
        """The knots that all controls share.

        Raises:
            RuntimeError: They have different knots.
        """
        points: Any = [control.grid_points for control in self.controls]
        if not all(torch.equal(other, points[0]) for other in points[1:]):
            raise RuntimeError("Batch of controls have different grid points.")
        first: Tensor = points[0]
        return first

    def evaluate(self, t: Any) -> tuple[Tensor, ...]:
        """Return the value of each control."""
        return tuple(control.evaluate(t) for control in self.controls)  # type: ignore[operator]

    def derivative(self, t: Any) -> tuple[Tensor, ...]:
        """Return the derivative of each control."""
        return tuple(control.derivative(t) for control in self.controls)  # type: ignore[operator]
