"""Methods for the underdamped Langevin equation, which integrate friction and noise exactly.

A state is the positions followed by the velocities. In the formulas, ``z`` is the friction times the step, and the
averages are those of `nde.solvers.sde.langevin_weights`.
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
        gamma, u, rho = field.rates()
        z = gamma * h
        of_x, of_v = _noise(field, t, h, gamma, x)
        first, second = first_average(z), second_average(z)
        x1 = x + _at(x, h * first) * v - _at(x, u * h * h * second) * carry + _at(x, rho) * of_x
        ahead = field.gradient(t + h, x1)
        pull = _at(x, u * h * (first - second)) * carry + _at(x, u * h * second) * ahead
        v1 = _at(x, decay(z)) * v - pull + _at(x, rho) * of_v
        error = _at(x, u * h * second) * (carry - ahead)
        errors = torch.cat([torch.zeros_like(error), error]).unsqueeze(0)
        return StepResult(torch.cat([x1, v1]), ahead, errors, None, None)


class ShOULD(LangevinMethod):
    """Two stages and weights like Simpson's rule on a smooth curve in place of the path; two gradients per step."""

    name = "should"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 3.0}
    levy_area = "space-time-time"
    reuses_gradient = True
    carry_is_function_of_state = False  # it is, but to keep it is cheaper than to evaluate it once more
    source = _SHIFTED + ", definition 7.1"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        gamma, u, rho = field.rates()
        z = gamma * h
        before, level, _ = _line(field, t, h, rho, v)
        shifted = v + before
        of_x, of_v = _noise(field, t, h, gamma, x)
        force = _at(x, u * h) * carry
        half = x + _at(x, 0.5 * h * first_average(z / 2)) * shifted
        half = half + _at(x, 0.25 * h * second_average(z / 2)) * (level - force)
        middle = _at(x, u * h) * field.gradient(t + 0.5 * h, half)
        x1 = x + _at(x, h * first_average(z)) * v + _at(x, rho) * of_x
        x1 = x1 - _at(x, h * second_average(z) / 3) * (force + 2 * middle)
        ahead = field.gradient(t + h, x1)
        pull = _at(x, decay(z) / 6) * force + _at(x, decay(z / 2) * (2 / 3)) * middle + _at(x, u * h / 6) * ahead
        v1 = _at(x, decay(z)) * v - pull + _at(x, rho) * of_v
        return StepResult(torch.cat([x1, v1]), ahead, None, None, None)


class QUICSORT(LangevinMethod):
    """Two stages at the nodes of Gauss's rule on a smooth curve in place of the path; two gradients per step."""

    name = "quicsort"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 3.0}
    levy_area = "space-time-time"
    source = "Scott, O'Kane, Jelincic, Foster (2025), Underdamped Langevin MCMC with third order convergence"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        gamma, u, rho = field.rates()
        z = gamma * h
        left, right = 0.5 - math.sqrt(3) / 6, 0.5 + math.sqrt(3) / 6
        before, level, after = _line(field, t, h, rho, v)
        shifted = v + before

        def free(share: float) -> tuple[Tensor, Any]:
            """Return positions after a share of the step without force, and by how much a velocity moves them."""
            travel = _at(x, share * h * first_average(share * z))
            return x + travel * shifted + _at(x, share**2 * h * second_average(share * z)) * level, travel

        at_left, by_left = free(left)
        at_right, by_right = free(right)
        at_end, _ = free(1.0)
        scale = _at(x, u * h)
        one = scale * field.gradient(t + left * h, at_left)
        other = scale * field.gradient(t + right * h, at_right - _at(x, h / 3 * first_average(z / 3)) * one)
        x1 = at_end - 0.5 * (by_right * one + by_left * other)
        pull = 0.5 * (_at(x, decay(right * z)) * one + _at(x, decay(left * z)) * other)
        v1 = _at(x, decay(z)) * shifted - pull + _at(x, first_average(z)) * level - after
        return StepResult(torch.cat([x1, v1]), None, None, None, None)


class UBU(LangevinMethod):
    """Half a step without force, a kick with the force in the middle, another half; one gradient per step."""

    name = "ubu"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 2.0}
    levy_area = "space-time-time"
    source = "Sanz-Serna, Zygalakis (2021), J. Mach. Learn. Res. 22; Zapatero (2017), thesis"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        _, u, _ = field.rates()
        half = 0.5 * h
        x, v = self._free(field, t, half, x, v)
        v = v - _at(x, u * h) * field.gradient(t + half, x)
        x1, v1 = self._free(field, t + half, half, x, v)
        return StepResult(torch.cat([x1, v1]), None, None, None, None)

    def _free(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        gamma, _, rho = field.rates()
        z = gamma * h
        of_x, of_v = _noise(field, t, h, gamma, x)
        x1 = x + _at(x, h * first_average(z)) * v + _at(x, rho) * of_x
        return x1, _at(x, decay(z)) * v + _at(x, rho) * of_v


class BAOAB(LangevinMethod):
    """Half a kick, half a flight, friction and noise, the other halves; one gradient per step.

    On quadratic potentials, positions have their invariant law with a step of any size that is stable.
    """

    name = "baoab"
    strong_orders: ClassVar[Mapping[str, float]] = {"langevin": 1.0}
    weak_order = 2.0
    reuses_gradient = True
    carry_is_function_of_state = False  # it is, but to keep it is cheaper than to evaluate it once more
    source = "Leimkuhler, Matthews (2013), Appl. Math. Res. Express 2013"

    def step_langevin(self, field: LangevinField, t: Scalar, h: float, x: Tensor, v: Tensor, carry: Any) -> StepResult:
        """See `LangevinMethod.step_langevin`."""
        gamma, u, rho = field.rates()
        z = gamma * h
        kick = _at(x, 0.5 * u * h)
        v = v - kick * carry
        x = x + 0.5 * h * v
        # the increment, scaled to the variance u (1 - exp(-2 z)) of an exact step
        spread = first_average(2 * z) ** 0.5
        v = _at(x, decay(z)) * v + _at(x, rho * spread) * field.increment(t, h).w
        x = x + 0.5 * h * v
        ahead = field.gradient(t + h, x)
        return StepResult(torch.cat([x, v - kick * ahead]), ahead, None, None, None)


def _equation(field: Any, name: str) -> LangevinField:
    if not hasattr(field, "gradient"):
        raise TypeError(f"method {name!r} steps Langevin equations; solve with nde.solve_langevin.")
    found: LangevinField = field
    return found


def _at(x: Tensor, weight: Any) -> Any:
    """Return a weight in the dtype of what it weighs; on the host it stays a number."""
    return weight.to(x.dtype) if isinstance(weight, Tensor) else weight


def _noise(field: LangevinField, t: Scalar, h: float, gamma: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what noise of unit strength adds to positions and velocities in a step: the best guess given the areas."""
    w, area, higher, _ = field.increment(t, h)
    z = gamma * h
    curved = _at(x, h * weight_of_h(z)) * _present(area, "h")
    if higher is not None:
        curved = curved + _at(x, h * weight_of_k(z)) * higher
    return _at(x, h * second_average(z)) * w + curved, _at(x, first_average(z)) * w - _at(x, gamma) * curved


def _line(field: LangevinField, t: Scalar, h: float, rho: Any, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the jumps of a curve that stands for the path: up first, along a line, and down by the last.

    It has the path's increment, integral and first moment, and ends where the path does.
    """
    w, area, higher, _ = field.increment(t, h)
    mean, tilt, scale = _present(area, "h"), 6 * _present(higher, "k"), _at(like, rho)
    return scale * (mean + tilt), scale * (w - 2 * tilt), scale * (mean - tilt)


def _present(area: Tensor | None, name: str) -> Tensor:
    if area is None:
        raise ValueError(
            f"path(s, t).{name} must be an area for this method, but is None: "
            'BrownianPath(..., levy_area="space-time-time") has all that Langevin methods ask for.'
        )
    return area
