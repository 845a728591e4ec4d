"""Weights that change during training: frozen functions of the iteration."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

__all__ = ["Constant", "Exponential", "Linear", "Schedule", "as_schedule"]


class Schedule(ABC):
    """A weight as a function of the iteration, which counts the calls of `Penalty.step`."""

    @abstractmethod
    def __call__(self, iteration: int) -> float:
        """Return the weight."""


@dataclass(frozen=True)
class Constant(Schedule):
    """A weight that stays the same.

    Args:
        value: The weight.

    Raises:
        ValueError: It is negative or not finite.
    """

    value: float

    def __post_init__(self) -> None:
        _check("weight", self.value)

    def __call__(self, iteration: int) -> float:
        """See `Schedule.__call__`."""
        return self.value


@dataclass(frozen=True)
class Linear(Schedule):
    """A weight that moves in a straight line from ``start`` to ``end`` in ``steps`` iterations, and stays there.

    Args:
        start: First weight.
        end: Last weight.
        steps: Iterations in between.

    Raises:
        ValueError: A weight is negative or not finite, or ``steps`` is not positive.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _check("start", self.start)
        _check("end", self.end)
        _check_steps(self.steps)

    def __call__(self, iteration: int) -> float:
        """See `Schedule.__call__`."""
        return self.start + (self.end - self.start) * min(iteration / self.steps, 1.0)


@dataclass(frozen=True)
class Exponential(Schedule):
    """A weight that decays (or grows) by a constant factor from ``start`` to ``end`` in ``steps``, and stays there.

    Pal et al. (2021) anneal their weights so, from 100 to 10 for classification.

    Args:
        start: First weight.
        end: Last weight.
        steps: Iterations in between.

    Raises:
        ValueError: A weight is not positive and finite, or ``steps`` is not positive.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            _check(name, value)
            if value == 0:
                raise ValueError(f"{name} must be positive for an exponential schedule, but is 0. Try Linear.")
        _check_steps(self.steps)

    def __call__(self, iteration: int) -> float:
        """See `Schedule.__call__`."""
        return float(self.start * (self.end / self.start) ** min(iteration / self.steps, 1.0))


def as_schedule(weight: float | Schedule) -> Schedule:
    """Return a schedule for a weight.

    Raises:
        TypeError: The weight is neither a number nor a schedule.
    """
    if isinstance(weight, Schedule):
        return weight
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f"weight must be a number or a Schedule, but is {weight!r}.")
    return Constant(float(weight))


def _check(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be zero or positive and finite, but is {value}.")


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but is {steps}.")
