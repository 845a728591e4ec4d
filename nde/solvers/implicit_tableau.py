"""Implicit Butcher tableaus as frozen data that check themselves.

A tableau holds the coefficients of one implicit Runge-Kutta method and of its continuous extension, and nothing that
runs. `nde.solvers.tableaus.implicit` defines the methods, `nde.solvers.implicit` takes steps with them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from nde.solvers.tableau import DenseOutput

__all__ = ["ImplicitTableau"]

# sums of a few coefficients below 10, each correctly rounded
_TOLERANCE = 1e-13


@dataclass(frozen=True)
class ImplicitTableau:
    """Implicit Runge-Kutta method with its continuous extension.

    Stage ``i`` is ``k_i = f(t + c_i h, y + h sum_j a_ij k_j)`` and the step is ``y + h sum_i b_i k_i``.

    Attributes:
        c: Nodes of the ``s`` stages.
        a: Square matrix of the stages, ``s`` rows of ``s`` entries.
        b: Weights of the step.
        order: Order of the step.
        source: Where the coefficients were published.
        dense: Continuous extension; it has no extra stages.

    Raises:
        ValueError: An entry is not finite, a shape is inconsistent, or a sum differs from what it must equal; the
            message names the field, the row, the value found and the value expected.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int
    source: str
    dense: DenseOutput

    def __post_init__(self) -> None:
        """Verify shapes before sums, so that the first message is the useful one."""
        if not self.c:
            raise ValueError("c has 0 entries, expected one per stage.")
        for name, values in (("a", self.a), ("b", self.b), ("dense.coefficients", self.dense.coefficients)):
            if len(values) != self.stages:
                raise ValueError(f"{name} has {len(values)} entries, expected {self.stages} (one per stage).")
        for i, row in enumerate(self.a):
            if len(row) != self.stages:
                raise ValueError(f"a[{i}] has {len(row)} entries, expected {self.stages} (square matrix).")
        for name, row in (("c", self.c), ("b", self.b), *((f"a[{i}]", row) for i, row in enumerate(self.a))):
            for j, value in enumerate(row):
                if not math.isfinite(value):
                    raise ValueError(f"{name}[{j}] is {value!r}, expected a finite number.")
        if self.order < 1:
            raise ValueError(f"order is {self.order}, expected at least 1.")
        if not self.source.strip():
            raise ValueError("source is empty, expected the publication of the coefficients.")
        if self.dense.extra_c:
            raise ValueError(f"dense.extra_c has {len(self.dense.extra_c)} entries, expected 0.")
        for i, row in enumerate(self.a):
            _require_close(f"sum of a[{i}]", math.fsum(row), self.c[i], f"c[{i}]")
        _require_close("sum of b", math.fsum(self.b), 1.0, "consistency")
        for i, row in enumerate(self.dense.coefficients):
            _require_close(f"sum of dense.coefficients[{i}]", math.fsum(row), self.b[i], f"b[{i}]")

    @functools.cached_property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.c)

    @functools.cached_property
    def diagonal(self) -> bool:
        """Whether stages depend on earlier ones and themselves alone, so that they are solved one after the other."""
        return all(value == 0.0 for i, row in enumerate(self.a) for value in row[i + 1 :])

    @functools.cached_property
    def stiffly_accurate(self) -> bool:
        """Whether the last stage is the step, which makes an A-stable method L-stable."""
        return self.a[-1] == self.b

    @functools.cached_property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Ranges ``(first, end)`` of stages that are solved together, in their order."""
        if self.diagonal:
            return tuple((i, i + 1) for i in range(self.stages))
        return ((0, self.stages),)


def _require_close(name: str, found: float, expected: float, reason: str) -> None:
    if abs(found - expected) > _TOLERANCE:
        raise ValueError(f"{name} is {found!r}, expected {expected!r} ({reason}).")
