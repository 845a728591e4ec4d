"""Which of drift, diffusion and path was not finite, found by taking a failed step again while looking at them.

A step is a function of its arguments, so that nothing needs to be watched before it fails. Both loops ask for it.
"""

from __future__ import annotations

from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.transforms import as_host

__all__ = ["find_sources"]


class _Witness:
    """A field whose values are looked at.

    Args:
        field: An `nde.solvers.sde.SDEField`, or one on rows.
        rows: Number of the rows; None for a field on flat vectors.
    """

    def __init__(self, field: Any, rows: int | None) -> None:
        self._field = field
        self._rows = rows
        self.sources: list[str | None] = [None] * (1 if rows is None else rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._field, name)

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        value: Tensor = self._field(t, y)
        self._look("drift", t, value)
        return value

    def diffusion(self, t: float | Tensor, y: Tensor) -> Tensor:
        value: Tensor = self._field.diffusion(t, y)
        self._look("diffusion", t, value)
        return value

    def gradient(self, t: float | Tensor, x: Tensor) -> Tensor:
        value: Tensor = self._field.gradient(t, x)
        self._look("gradient", t, value)
        return value

    def increment(self, t: float | Tensor, h: float | Tensor) -> Any:
        found = self._field.increment(t, h)
        for part in found:
            if part is not None:
                self._look("path", t, part)
        return found

    def _look(self, name: str, t: float | Tensor, value: Tensor) -> None:
        finite = torch.isfinite(value)
        finite = finite.all().reshape(1) if self._rows is None else finite.reshape(self._rows, -1).all(1)
        times = as_host(t).reshape(-1) if isinstance(t, Tensor) else numpy.array([t])
        for row in numpy.flatnonzero(~as_host(finite)).tolist():
            if self.sources[row] is None:
                asked = "asked for an increment from" if name == "path" else "evaluated at"
                self.sources[row] = f"the {name}, {asked} t = {float(times[row % len(times)]):.10g},"


@torch.no_grad()
def find_sources(
    field: Any, rows: int | None, method: Any, t: float | Tensor, h: float | Tensor, y: Tensor, carry: Any
) -> list[str | None]:
    """Return what was not finite first, for each row; None where all was finite, so that the state has overflowed.

    Args:
        field: The field, whose evaluations are counted.
        rows: Number of the rows; None for a field on flat vectors.
        method: The method.
        t, h, y, carry: The step that failed; where its sizes are zero, the first evaluations of the solve.
    """
    witness = _Witness(field, rows)
    if not _is_finite(carry):  # from the beginning of the solve on, because a step that leaves such a one is rejected
        method.start(witness, t, y)
    if bool(torch.as_tensor(h).any()):
        method.step(witness, t, h, y, carry)
    else:
        witness(t, y)
        witness.diffusion(t, y)
    return witness.sources


def _is_finite(carry: Any) -> bool:
    if isinstance(carry, tuple):
        return all(_is_finite(part) for part in carry)
    return not isinstance(carry, Tensor) or bool(torch.isfinite(carry).all())
