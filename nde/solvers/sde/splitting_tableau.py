"""Coefficients of Runge-Kutta methods that follow a path made of a step's increment and space-time area."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SplittingTableau"]

Row = tuple[float, ...]
Rows = tuple[Row, ...]  # strictly lower triangle, the empty first row left out
_ROUNDING = 1e-14


@dataclass(frozen=True)
class SplittingTableau:
    """A method for the Stratonovich calculus.

    With ``f_i = f(t + c_i h, z_i)``, ``g_i = g(t + c_i h, z_i)``, the increment ``W`` and the space-time area ``H``,
    ``z_i = y + h sum_j a_ij f_j + sum_j (a_w_ij W + a_h_ij H) g_j`` and
    ``y1 = y + h sum_i b_i f_i + sum_i (b_w_i W + b_h_i H) g_i``.

    Attributes:
        a, a_w, a_h: Rows of the strictly lower triangles.
        c: Nodes.
        b, b_w, b_h: Weights.
        strong_orders: Strong order for each kind of noise that it is for.
        weak_order: See `nde.solvers.sde.SDEMethod`.
        source: Where it was published.
        errors: Weights of the error estimate in the places of ``b``, ``b_w`` and ``b_h``; None if there is none.
        error_order: Exponent of the step size that the estimate is proportional to; None if there is none.

    Raises:
        ValueError: The numbers of stages differ, or a condition of consistency does not hold.
    """

    a: Rows
    a_w: Rows
    a_h: Rows
    c: Row
    b: Row
    b_w: Row
    b_h: Row
    strong_orders: Mapping[str, float]
    weak_order: float
    source: str
    errors: tuple[Row, Row, Row] | None = None
    error_order: float | None = None

    def __post_init__(self) -> None:
        stages = len(self.b)
        if (self.errors is None) != (self.error_order is None):
            raise ValueError("errors and error_order must be given together or left out together.")
        vectors = [("c", self.c, None), ("b", self.b, 1), ("b_w", self.b_w, 1), ("b_h", self.b_h, 0)]
        vectors += [(f"errors[{index}]", row, 0) for index, row in enumerate(self.errors or ())]
        for name, vector, total in vectors:
            if len(vector) != stages:
                raise ValueError(f"{name} must have {stages} entries, like b, but has {len(vector)}.")
            if total is not None and abs(sum(vector) - total) > _ROUNDING:
                raise ValueError(f"{name} must sum to {total}, but sums to {sum(vector)!r}.")
        for name, rows in (("a", self.a), ("a_w", self.a_w), ("a_h", self.a_h)):
            lengths = [len(row) for row in rows]
            if lengths != list(range(1, stages)):
                raise ValueError(f"{name} must have rows of 1 to {stages - 1} entries, but has rows of {lengths}.")
        for stage, (node, row) in enumerate(zip(self.c, ((), *self.a), strict=True)):
            if abs(node - sum(row)) > _ROUNDING:
                raise ValueError(f"row {stage} of a must sum to c[{stage}] = {node}, but sums to {sum(row)!r}.")

    def row(self, stage: int) -> tuple[Row, Row, Row]:
        """Return the rows of ``a``, ``a_w`` and ``a_h`` of a stage behind the first."""
        return self.a[stage - 1], self.a_w[stage - 1], self.a_h[stage - 1]
