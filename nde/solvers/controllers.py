"""Step-size controllers: from the error of a step to the size of the next one.

A controller is frozen data; `begin` makes the little state that one solve needs. Everything here is host floats: a
gradient through the controller would cancel most of the gradient of any penalty on the error.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "Controller",
    "ControllerState",
    "Decision",
    "FixedStep",
    "IController",
    "PIController",
    "PIDController",
    "StepTo",
]


class Decision(NamedTuple):
    """Whether a step is accepted, and the size to try next."""

    accept: bool
    h: float


class ControllerState(ABC):
    """What a controller remembers during one solve."""

    @abstractmethod
    def decide(self, h: float, ratio: float) -> Decision:
        """Judge a step of (positive) size ``h`` whose error is ``ratio`` times the tolerance; NaN if non-finite."""


class Controller(ABC):
    """Chooses step sizes.

    Attributes:
        adaptive: Whether it reads the error estimate, so that the method must have one.
        stretch: A step that would end this fraction of itself before a landing time is lengthened to reach it.
        foreseen: Whether all steps follow from `first_step` and the landing times, every one of them accepted, so that
            nobody need ask. A subclass with a `begin` of its own says so itself, or is asked.
        accepts_all: Whether it accepts steps that are not finite, too.
    """

    adaptive: bool
    stretch: float
    foreseen = False
    accepts_all = False

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "begin" in vars(cls) and "foreseen" not in vars(cls):
            cls.foreseen = False

    @abstractmethod
    def begin(self, error_order: float) -> ControllerState:
        """Return a fresh state for a method whose error is proportional to ``h ** error_order``."""

    def first_step(self) -> float | None:
        """Return the size of the first step, or None to have it chosen automatically."""
        return None

    def landings(self) -> Sequence[float] | None:
        """Return times that steps must end on; None for the output times."""
        return ()

    def set_point(self, error_order: float) -> float | None:
        """Return the error ratio at which the step size stays constant; None if it never changes."""
        return None


@dataclass(frozen=True)
class PIDController(Controller):
    """Proportional-integral-derivative control of the error per step.

    The next size is ``h * clip(safety * E_n^-b1 * E_{n-1}^-b2 * E_{n-2}^-b3, min_factor, max_factor)`` with
    ``b1 = (p + i + d) / k``, ``b2 = -(p + 2 d) / k``, ``b3 = d / k`` and ``k`` the order of the error; a rejected step
    is retaken with ``safety * E^(-1/k)``, one that was not finite with ``min_factor``, and the size does not grow right
    after that (Soderlind 2003, ACM TOMS 29; Hairer, Wanner, Solving ODEs II, IV.2).

    Args:
        p: Proportional gain.
        i: Integral gain.
        d: Derivative gain.
        safety: Factor on the optimal size.
        min_factor: Strongest reduction of the step size.
        max_factor: Strongest growth of the step size.
        initial: Size of the first step; None to choose it from the field.

    Raises:
        ValueError: A gain, factor or size is out of its range.
    """

    p: float = 0.0
    i: float = 1.0
    d: float = 0.0
    safety: float = 0.9
    min_factor: float = 0.2
    max_factor: float = 10.0
    initial: float | None = None

    adaptive = True
    stretch = 0.01

    def __post_init__(self) -> None:
        for name in ("p", "i", "d", "safety", "min_factor", "max_factor"):
            _require_number(name, getattr(self, name))
        if self.initial is not None:
            _require_number("initial", self.initial)
        if not self.i > 0:
            raise ValueError(f"i must be positive, or the controller has no set point, but is {self.i}.")
        if not all(math.isfinite(gain) for gain in (self.p, self.i, self.d)):
            raise ValueError(f"p, i, d must be finite, but are {self.p}, {self.i}, {self.d}.")
        if not 0 < self.safety < 1:
            raise ValueError(f"safety must lie between 0 and 1, but is {self.safety}. Try 0.9.")
        if not 0 < self.min_factor < 1 < self.max_factor:
            raise ValueError(
                f"min_factor < 1 < max_factor is required, but they are {self.min_factor} and {self.max_factor}."
            )
        if self.initial is not None and not 0 < self.initial < math.inf:
            raise ValueError(f"initial must be a positive finite step size, but is {self.initial}.")

    def begin(self, error_order: float) -> ControllerState:
        """See `Controller.begin`."""
        return _PIDState(self, error_order)

    def first_step(self) -> float | None:
        """See `Controller.first_step`."""
        return self.initial

    def set_point(self, error_order: float) -> float:
        """Return ``safety ** (error_order / i)``; see `Controller.set_point`."""
        return float(self.safety ** (error_order / self.i))


@dataclass(frozen=True)
class IController(PIDController):
    """The elementary controller ``h * safety * E^(-1/k)``: the default, with few evaluations on smooth fields."""


@dataclass(frozen=True)
class PIController(PIDController):
    """Proportional-integral control: calmer where stability limits the step, with fewer rejections there.

    The default gains are those of Gustafsson (1991, ACM TOMS 17), as used for explicit Runge-Kutta methods.
    """

    p: float = 0.4
    i: float = 0.3


class _PIDState(ControllerState):
    def __init__(self, controller: PIDController, error_order: float) -> None:
        gains = controller
        self._controller = controller
        self._order = error_order
        self._exponents = (
            (gains.p + gains.i + gains.d) / error_order,
            -(gains.p + 2 * gains.d) / error_order,
            gains.d / error_order,
        )
        self._before = (1.0, 1.0)  # error ratios of the last two accepted steps
        self._lost = False  # an attempt that was not finite says nothing about the size that would do

    def decide(self, h: float, ratio: float) -> Decision:
        control = self._controller
        if not math.isfinite(ratio):
            self._lost = True
            return Decision(False, h * control.min_factor)
        ratio = max(ratio, 1e-10)  # a vanishing error asks for the strongest growth, not for a division by zero
        if ratio > 1:
            factor = control.safety * ratio ** (-1 / self._order)
            return Decision(False, h * min(max(factor, control.min_factor), 1.0))
        one, two, three = self._exponents
        last, second_last = self._before
        factor = control.safety * ratio**-one * last**-two * second_last**-three
        factor = min(max(factor, control.min_factor), 1.0 if self._lost else control.max_factor)
        self._before = (max(ratio, 1e-4), last)
        self._lost = False
        return Decision(True, h * factor)


@dataclass(frozen=True)
class FixedStep(Controller):
    """Steps of one size; the last step before the end of the span is shorter where the size does not divide it.

    Args:
        size: Step size, positive also when time runs backward.

    Raises:
        ValueError: The size is not positive and finite.
    """

    size: float

    adaptive = False
    foreseen = True
    stretch = 1e-3  # sums of many steps, and times in float32, are off by rounding: no step is worth that

    def __post_init__(self) -> None:
        _require_number("size", self.size)
        if not 0 < self.size < math.inf:
            raise ValueError(f"size must be positive and finite, but is {self.size}.")

    def begin(self, error_order: float) -> ControllerState:
        """See `Controller.begin`."""
        return _Constant(self.size)

    def first_step(self) -> float | None:
        """See `Controller.first_step`."""
        return self.size


@dataclass(frozen=True)
class StepTo(Controller):
    """One step between consecutive given times.

    Args:
        times: Ends of the steps, in any order; times outside the span are skipped. None for the output times ``ts``.

    Raises:
        TypeError: The times are no sequence of numbers.
        ValueError: A time is not finite.
    """

    times: tuple[float, ...] | None = None

    adaptive = False
    foreseen = True
    stretch = 0.0

    def __post_init__(self) -> None:
        if self.times is None:
            return
        try:
            times = tuple(float(time) for time in self.times)
        except (TypeError, ValueError) as error:
            raise TypeError(f"times must be a sequence of numbers, but is {self.times!r}.") from error
        for index, time in enumerate(times):
            if not math.isfinite(time):
                raise ValueError(f"times must be finite, but times[{index}] is {time}.")
        object.__setattr__(self, "times", times)

    def begin(self, error_order: float) -> ControllerState:
        """See `Controller.begin`."""
        return _Constant(math.inf)

    def first_step(self) -> float | None:
        """See `Controller.first_step`."""
        return math.inf

    def landings(self) -> Sequence[float] | None:
        """See `Controller.landings`."""
        return self.times


@dataclass
class _Constant(ControllerState):
    size: float

    def decide(self, h: float, ratio: float) -> Decision:
        return Decision(not math.isnan(ratio), self.size)


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, but is {value!r}.")
