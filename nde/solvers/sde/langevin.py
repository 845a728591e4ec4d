"""Methods for the underdamped Langevin equation, which integrate friction and noise exactly.

A state is the positions followed by the velocities. Weights that depend on the friction and the step are those of
`nde.solvers.sde.langevin_weights`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.langevin_field import LangevinField
from nde.solvers.sde.langevin_weights import decay, first_average, second_average, weight_of_h, weight_of_k
from nde.solvers.sde.method import SDEMethod

__all__ = ["ALIGN", "BAOAB", "QUICSORT", "UBU", "LangevinMethod", "ShOULD"]

_SHIFTED = "Foster, Lyons, Oberhauser (2021), The shifted ODE method for underdamped Langevin MCMC, arXiv:2101.03446"
# nodes of Gauss's rule
_LEFT, _RIGHT = 0.5 - math.sqrt(3) / 6, 0.5 + math.sqrt(3) / 6


class LangevinMethod(SDEMethod):
    """A method for the underdamped Langevin equation, whose noise is additive: the two calculi are one.

    Its kind of noise is "langevin", which `nde.solve_langevin` alone solves.

    Attributes:
        reuses_gradient: Whether a step begins with the gradient that the step before ended with.
    """

    calculus = "ito"
    reuses_gradient: bool = False

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """Return the gradient at the first positions, where a step reuses it."""
        return _equation(field, self.name).gradient(t, y.chunk(2)[0]) if self.reuses_gradient else None

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`.

        Raises:
            TypeError: The field is no `LangevinField`.
        """
        x, v = y.chunk(2)
        return self.step_langevin(_equation(field, self.name), t, float(h), x, v, carry)

    @property
    def restarts(self) -> bool:
        """See `Method.restarts`; the carry is a gradient at the state's positions, or nothing."""
        return True

    @abstractmethod
    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """Take one step from positions ``x`` with velocities ``v``, shape ``(size,)`` each."""


class ALIGN(LangevinMethod):
    """The force as a line between the ends of the step, under an otherwise exact solution; one gradient per step."""

    name = "align"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 2.0}
    levy_area = "space-time"
    error_order = 2
    reuses_gradient = True
    carry_is_function_of_state = False  # it is, but to keep it is cheaper than to evaluate it once more
    source = _SHIFTED + ", definition 4.2, with the force as a line"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        u, (of_x, of_v) = field.rates().u, _noise(field, t, h)
        first, second = field.weight(first_average, h), field.weight(second_average, h)
        x1 = x + h * first * v - u * h * h * second * carry + of_x
        ahead = field.gradient(t + h, x1)
        v1 = field.weight(decay, h) * v - u * h * (first - second) * carry - u * h * second * ahead + of_v
        error = u * h * second * (carry - ahead)
        errors = torch.cat([torch.zeros_like(error), error]).unsqueeze(0)
        return StepResult(torch.cat([x1, v1]), ahead, errors, None, None)


class ShOULD(LangevinMethod):
    """Two stages and weights like Simpson's rule on a smooth curve in place of the path; two gradients per step."""

    name = "should"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 3.0}
    levy_area = "space-time-time"
    reuses_gradient = True
    carry_is_function_of_state = False
    source = _SHIFTED + ", definition 7.1"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        kick = field.rates().u * h
        before, level, _ = _line(field, t, h)
        of_x, of_v = _noise(field, t, h)
        half = 0.5 * h
        middle = x + half * field.weight(first_average, half) * (v + before)
        middle = middle + 0.5 * half * field.weight(second_average, half) * (level - kick * carry)
        inside = field.gradient(t + half, middle)
        x1 = x + h * field.weight(first_average, h) * v + of_x
        x1 = x1 - kick * h * field.weight(second_average, h) * (carry + 2 * inside) / 3
        ahead = field.gradient(t + h, x1)
        whole = field.weight(decay, h)
        force = (whole * carry + 4 * field.weight(decay, half) * inside + ahead) / 6
        v1 = whole * v - kick * force + of_v
        return StepResult(torch.cat([x1, v1]), ahead, None, None, None)


class QUICSORT(LangevinMethod):
    """Two stages at the nodes of Gauss's rule on a smooth curve in place of the path; two gradients per step."""

    name = "quicsort"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 3.0}
    levy_area = "space-time-time"
    source = "Scott, O'Kane, Jelincic, Foster (2025), Underdamped Langevin MCMC with third order convergence"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        kick = field.rates().u * h
        before, level, after = _line(field, t, h)
        shifted = v + before

        def free(share: float) -> tuple[Tensor, Any]:
            """Return positions after a share of the step without force, and by how much a velocity moves them."""
            part = share * h
            travel = part * field.weight(first_average, part)
            return x + travel * shifted + share * part * field.weight(second_average, part) * level, travel

        (at_left, by_left), (at_right, by_right), (at_end, _) = free(_LEFT), free(_RIGHT), free(1.0)
        one = kick * field.gradient(t + _LEFT * h, at_left)
        third = h / 3
        other = kick * field.gradient(t + _RIGHT * h, at_right - third * field.weight(first_average, third) * one)
        x1 = at_end - 0.5 * (by_right * one + by_left * other)
        pull = 0.5 * (field.weight(decay, _RIGHT * h) * one + field.weight(decay, _LEFT * h) * other)
        v1 = field.weight(decay, h) * shifted - pull + field.weight(first_average, h) * level - after
        return StepResult(torch.cat([x1, v1]), None, None, None, None)


class UBU(LangevinMethod):
    """Half a step without force, a kick with the force in the middle, another half; one gradient per step."""

    name = "ubu"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 2.0}
    levy_area = "space-time-time"
    source = "Sanz-Serna, Zygalakis (2021), J. Mach. Learn. Res. 22; Zapatero (2017), thesis"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        half = 0.5 * h
        x, v = self._free(field, t, half, x, v)
        v = v - field.rates().u * h * field.gradient(t + half, x)
        x1, v1 = self._free(field, t + half, half, x, v)
        return StepResult(torch.cat([x1, v1]), None, None, None, None)

    def _free(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        of_x, of_v = _noise(field, t, h)
        return x + h * field.weight(first_average, h) * v + of_x, field.weight(decay, h) * v + of_v


class BAOAB(LangevinMethod):
    """Half a kick, half a flight, friction and noise, the other halves; one gradient per step.

    On quadratic potentials, positions have their invariant law with a step of any size that is stable.
    """

    name = "baoab"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 1.0}
    weak_order = 2.0
    reuses_gradient = True
    carry_is_function_of_state = False
    source = "Leimkuhler, Matthews (2013), Appl. Math. Res. Express 2013"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        _, u, rho = field.rates()
        kick, half = 0.5 * u * h, 0.5 * h
        v = v - kick * carry
        x = x + half * v
        # the increment, scaled to the variance of an exact step, u (1 - exp(-2 gamma h))
        spread = field.weight(first_average, 2 * h) ** 0.5
        v = field.weight(decay, h) * v + rho * spread * field.increment(t, h).w
        x = x + half * v
        ahead = field.gradient(t + h, x)
        return StepResult(torch.cat([x, v - kick * ahead]), ahead, None, None, None)


def _equation(field: Any, name: str) -> LangevinField:
    if not hasattr(field, "gradient"):
        raise TypeError(f"method {name!r} steps Langevin equations; solve with nde.solve_langevin.")
    found: LangevinField = field
    return found


def _noise(field: LangevinField, t: Scalar, h: float) -> tuple[Tensor, Tensor]:
    """Return what noise adds to positions and velocities in a step without force: the best guess given the areas."""
    w, area, higher, _ = field.increment(t, h)
    gamma, _, rho = field.rates()
    curved = h * field.weight(weight_of_h, h) * _present(area, "h")
    if higher is not None:
        curved = curved + h * field.weight(weight_of_k, h) * higher
    of_v = field.weight(first_average, h) * w - gamma * curved
    return rho * (h * field.weight(second_average, h) * w + curved), rho * of_v


def _line(field: LangevinField, t: Scalar, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the jumps of a curve that stands for the path: up first, along a line, and down by the last.

    It has the path's increment, integral and first moment, and ends where the path does.
    """
    w, area, higher, _ = field.increment(t, h)
    mean, tilt, rho = _present(area, "h"), 6 * _present(higher, "k"), field.rates().rho
    return rho * (mean + tilt), rho * (w - 2 * tilt), rho * (mean - tilt)


def _present(area: Tensor | None, name: str) -> Tensor:
    if area is None:
        raise ValueError(
            f"path(s, t).{name} must be an area for this method, but is None: "
            'BrownianPath(..., levy_area="space-time-time") has all that Langevin methods ask for.'
        )
    return area
