"""The Levy areas of an increment, or the error that says which path has them."""

from __future__ import annotations

from torch import Tensor

from nde.solvers.brownian.chen import BrownianIncrement

__all__ = ["APPROXIMATE", "levy_area", "serves", "space_time_area"]

#: kinds of paths whose increments hold an approximate Levy area ``a``
APPROXIMATE = ("davie", "foster")


def serves(has: str, wanted: str) -> bool:
    """Return whether a path that has one kind of Levy area serves a method that asks for another."""
    if wanted == "none" or has == wanted:
        return True
    # all areas come with the space-time one, and the approximate ones can stand in for each other
    return has != "none" if wanted == "space-time" else has in APPROXIMATE and wanted in APPROXIMATE


def space_time_area(increment: BrownianIncrement) -> Tensor:
    """Return the space-time area.

    Raises:
        ValueError: The path has none.
    """
    if increment.h is None:
        raise ValueError(
            'path must know its space-time area for this method: BrownianPath(..., levy_area="space-time").'
        )
    return increment.h


def levy_area(increment: BrownianIncrement) -> Tensor:
    """Return the Levy area, shape ``(..., m, m)``.

    Raises:
        ValueError: The path has none.
    """
    if increment.a is None:
        raise ValueError('path must know its Levy area for this method: BrownianPath(..., levy_area="foster").')
    return increment.a
