"""What may look on while steps are taken: the loops tell it of every attempt, and do not ask what it does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy
from torch import Tensor

if TYPE_CHECKING:
    from nde.solvers.method import StepResult

__all__ = ["StepWatcher"]


class StepWatcher(Protocol):
    """Is told of every attempted step of a solve, in the solve's autograd mode; it must change nothing."""

    def begins(self) -> None:
        """Be told that a step is about to be attempted."""

    def starts_over(self) -> None:
        """Be told that the steps so far do not count: they are taken again from the first."""

    def attempted(self, t: float, h: float, error: float, accepted: bool, y: Tensor, result: StepResult) -> None:
        """Be told of an attempted step.

        Args:
            t, h: Its beginning and its signed size.
            error: Its error in units of the tolerance; NaN where nobody asked, or where it was not finite.
            accepted: Whether it was accepted.
            y: State at its beginning.
            result: What the method returned; valid until this returns.
        """

    def rows_attempted(
        self, rows: numpy.ndarray, t: numpy.ndarray, h: numpy.ndarray, error: numpy.ndarray, accepted: Any, result: Any
    ) -> None:
        """Be told of an attempted step of several samples, each with a time and a size of its own.

        Args:
            rows: The samples.
            t, h, error, accepted: As for `attempted`, one entry per sample.
            result: What the method returned.
        """
