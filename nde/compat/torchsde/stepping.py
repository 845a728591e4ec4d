"""Ends of fixed steps, and adaptive steps, as torchsde takes them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from nde.solvers.controllers import Controller, ControllerState, Decision, StepTo

__all__ = ["AdaptiveSteps", "FixedTimes", "step_times"]

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 1.4
_SMALLEST_ERROR = 1e-7


def step_times(ts: Tensor, dt: float) -> list[float]:
    """Return the ends of steps of size ``dt`` from the first of some times; the last step ends on the last of them.

    They are summed one by one in the dtype of the times, as torchsde sums them, so that a Brownian motion is asked for
    the very same intervals.

    Raises:
        ValueError: The size is not positive and finite, or too small for the times to move.
    """
    if not 0 < dt < math.inf:
        raise ValueError(f"dt must be positive and finite, but is {dt}. Try dt=1e-2.")
    begin, end = float(ts[0]), float(ts[-1])
    kind = numpy.float32 if ts.dtype == torch.float32 else numpy.float64
    if kind(max(abs(begin), abs(end))) + kind(dt) == kind(max(abs(begin), abs(end))):
        raise ValueError(f"dt = {dt} is too small for times of {ts.dtype} between {begin:.10g} and {end:.10g}.")
    times = [begin]
    while times[-1] < end:
        # in pieces, because rounding may make more steps than the quotient says
        count = max(math.ceil((end - times[-1]) / dt), 1)
        sums = numpy.full(count + 1, dt, dtype=kind)
        sums[0] = times[-1]
        times.extend(numpy.add.accumulate(sums, dtype=kind)[1:].tolist())
    return [time for time in times if time < end] + [end]


class FixedTimes(StepTo):
    """Steps between given times, each accepted as it is: what is not finite is handed on, as torchsde does."""

    foreseen = True
    accepts_all = True

    def begin(self, error_order: float) -> ControllerState:
        """See `Controller.begin`."""
        return _Accepting()


class _Accepting(ControllerState):
    def decide(self, h: float, ratio: float) -> Decision:
        return Decision(True, math.inf)


@dataclass(frozen=True)
class AdaptiveSteps(Controller):
    """torchsde's step-size control, whose exponents do not depend on the method.

    Args:
        first: Size of the first step.
        smallest: Steps of this size are accepted whatever their error, with a warning.
    """

    first: float
    smallest: float

    adaptive = True
    stretch = 0.0

    def begin(self, error_order: float) -> ControllerState:
        """See `Controller.begin`."""
        return _Adapting(self.smallest)

    def first_step(self) -> float:
        """See `Controller.first_step`."""
        return self.first


class _Adapting(ControllerState):
    def __init__(self, smallest: float) -> None:
        self._smallest = smallest
        self._before: float | None = None  # safety over the error, at the last accepted step

    def decide(self, h: float, ratio: float) -> Decision:
        if math.isnan(ratio):
            shorter = h * _SHRINK
            return Decision(False, shorter if shorter >= self._smallest else 0.0)  # no size would help: the solve ends
        error = max(ratio, _SMALLEST_ERROR)
        quality = _SAFETY / error
        if error > 1:
            accept, factor, least = False, quality ** (1 / 1.5), _SHRINK
        else:
            before = quality if self._before is None else self._before
            accept, factor, least = True, quality ** (1 / 4.5) * (quality / before) ** 0.13, 1.0
            self._before = quality
        size = h * min(_GROW, max(least, factor))
        if size < self._smallest:
            warnings.warn("Hitting minimum allowed step size in adaptive time-stepping.", UserWarning, stacklevel=2)
            size = self._smallest
            self._before = None
        return Decision(accept or size <= self._smallest, size)
