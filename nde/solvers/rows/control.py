"""Step-size control of many rows at once, on host vectors; the same rules as `nde.solvers.controllers`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy

from nde.solvers.controllers import Controller, ControllerState, PIDController

__all__ = ["RowControl", "row_control"]

Vector = numpy.ndarray


class RowControl(ABC):
    """What a controller remembers of the rows that are at work."""

    @abstractmethod
    def decide(self, h: Vector, ratio: Vector) -> tuple[Vector, Vector]:
        """Return which steps of (positive) sizes ``h`` are accepted, and the sizes to try next."""

    @abstractmethod
    def keep(self, index: Vector) -> None:
        """Forget all rows but those at these places."""


def row_control(controller: Controller, error_order: float, count: int) -> RowControl:
    """Return the memory of a controller for a number of rows."""
    if isinstance(controller, PIDController) and type(controller).begin is PIDController.begin:
        return _PIDRows(controller, error_order, count)
    return _OneByOne([controller.begin(error_order) for _ in range(count)])


class _PIDRows(RowControl):
    def __init__(self, controller: PIDController, error_order: float, count: int) -> None:
        gains = controller
        self._controller = controller
        self._order = error_order
        self._one = -(gains.p + gains.i + gains.d) / error_order
        self._two = (gains.p + 2 * gains.d) / error_order
        self._three = -gains.d / error_order
        self._last = numpy.ones(count)
        self._second_last = numpy.ones(count)
        # attempts that were not finite say nothing about the size that would do
        self._lost: Vector | None = None
        # the first try and the next ones follow one rule, which shrinks what was rejected
        self._plain = not (self._two or self._three) and math.isclose(self._one, -1 / error_order)

    def decide(self, h: Vector, ratio: Vector) -> tuple[Vector, Vector]:
        control = self._controller
        ratio = numpy.maximum(ratio, 1e-10)
        lost = ~numpy.isfinite(ratio)
        some_lost = numpy.count_nonzero(lost) > 0
        if some_lost:
            ratio = numpy.where(lost, math.inf, ratio)
        accept = ratio <= 1
        factor = control.safety * ratio**self._one
        if self._two:
            factor *= self._last**self._two
        if self._three:
            factor *= self._second_last**self._three
        factor = numpy.minimum(numpy.maximum(factor, control.min_factor), control.max_factor)
        if self._lost is not None:
            factor = numpy.where(self._lost, numpy.minimum(factor, 1.0), factor)
        if not self._plain and numpy.count_nonzero(accept) < len(accept):
            retry = control.safety * ratio ** (-1 / self._order)
            retry = numpy.minimum(numpy.maximum(retry, control.min_factor), 1.0)
            factor = numpy.where(accept, factor, retry)
        if self._two or self._three:
            self._second_last = numpy.where(accept, self._last, self._second_last)
            self._last = numpy.where(accept, numpy.maximum(ratio, 1e-4), self._last)
        if some_lost or self._lost is not None:
            still = lost if self._lost is None else lost | (self._lost & ~accept)
            self._lost = still if numpy.count_nonzero(still) else None
        return accept, h * factor

    def keep(self, index: Vector) -> None:
        self._last, self._second_last = self._last[index], self._second_last[index]
        self._lost = None if self._lost is None else self._lost[index]


class _OneByOne(RowControl):
    """Any controller, one state per row."""

    def __init__(self, states: list[ControllerState]) -> None:
        self._states = states

    def decide(self, h: Vector, ratio: Vector) -> tuple[Vector, Vector]:
        decisions = [state.decide(float(a), float(b)) for state, a, b in zip(self._states, h, ratio, strict=True)]
        accept = numpy.array([decision.accept for decision in decisions], dtype=bool)
        return accept, numpy.array([decision.h for decision in decisions])

    def keep(self, index: Vector) -> None:
        self._states = [self._states[place] for place in index]
