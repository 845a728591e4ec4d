"""Times of a solve, as host floats and, where the user differentiates ``ts``, as tensors.

The controller's choices are constants: the beginning and end of a step move with the output time that the solve started
from, or that the step landed on, and a step that does not land keeps its size. That is the exact derivative of the
recorded sequence of steps.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["TimeAxis"]


class TimeAxis:
    """Turns host times into what a step receives.

    Args:
        times: Output times as host floats.
        ts: The same on the tape, where steps are to record a gradient for them; None to hand out host floats.
    """

    def __init__(self, times: tuple[float, ...], ts: Tensor | None) -> None:
        self.times = times
        self.ts = None if ts is None else ts.double().unbind(0)

    def time(self, t: float, anchor: int | None) -> float | Tensor:
        """Return the time ``t`` that moves with an output time."""
        if self.ts is None or anchor is None:
            return t
        return self.ts[anchor] + (t - self.times[anchor])

    def size(self, t: float, start: int | None, t1: float, end: int | None) -> float | Tensor:
        """Return the size of the step from ``t`` to ``t1``."""
        if self.ts is None or start == end:
            return t1 - t
        return self.time(t1, end) - self.time(t, start)

    def theta(self, index: int, t: float | Tensor, h: float | Tensor) -> float | Tensor:
        """Return where an output time lies in the step of size ``h`` from ``t``, as a fraction of it."""
        time = self.times[index] if self.ts is None else self.ts[index]
        return (time - t) / h
