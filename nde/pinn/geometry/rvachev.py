"""Rvachev's functions: smooth stand-ins for "and" and "or" of functions that are positive inside.

Shapiro, Semi-analytic geometry with R-functions (2007), 3; they are not differentiable where both arguments vanish,
which is at corners.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["conjunction", "disjunction"]


def conjunction(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a + b - sqrt(a^2 + b^2)``, positive where both are."""
    return a + b - (a * a + b * b).sqrt()


def disjunction(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a + b + sqrt(a^2 + b^2)``, positive where one of them is."""
    return a + b + (a * a + b * b).sqrt()
