"""torchsde's methods by name: what they are here, and what they ask of an equation and of a Brownian motion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nde.compat.torchsde.milstein import GradFreeMilstein
from nde.compat.torchsde.settings import LEVY_AREA_APPROXIMATIONS, METHOD_OPTIONS, METHODS, NOISE_TYPES, SDE_TYPES
from nde.solvers.field import VectorField
from nde.solvers.method import Reversal, Scalar, StepResult, StepUndoer
from nde.solvers.sde.doubling import StepDoubling
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.registry import find_sde_method
from nde.solvers.sde.stratonovich import StratonovichRungeKutta
from nde.solvers.tableaus import HEUN, MIDPOINT

__all__ = ["SOLVERS", "LegacyMethod", "Stepper", "core_method", "default_method", "find_legacy_method"]

_ALL_NOISE = frozenset(NOISE_TYPES)
_ONE_MOTION = _ALL_NOISE - {NOISE_TYPES.general}
_APPROXIMATE = frozenset({LEVY_AREA_APPROXIMATIONS.davie, LEVY_AREA_APPROXIMATIONS.foster})


@dataclass(frozen=True)
class LegacyMethod:
    """A method by torchsde's name.

    Attributes:
        calculi: Kinds of equation that it solves.
        noise_types: Kinds of noise that it takes.
        areas: Kinds of Levy area that a Brownian motion may have.
        area: The kind of a new motion.
        products: Whether it asks for products of the diffusion alone.
        together: Whether it asks for drift and diffusion at the same states.
    """

    calculi: frozenset[str]
    noise_types: frozenset[str] = _ALL_NOISE
    areas: frozenset[str] = frozenset(LEVY_AREA_APPROXIMATIONS)
    area: str = LEVY_AREA_APPROXIMATIONS.none
    products: bool = False
    together: bool = False


_ITO, _STRATONOVICH = frozenset({SDE_TYPES.ito}), frozenset({SDE_TYPES.stratonovich})

#: torchsde's methods of forward solves
SOLVERS: dict[str, LegacyMethod] = {
    METHODS.euler: LegacyMethod(_ITO, products=True, together=True),
    METHODS.milstein: LegacyMethod(_ITO | _STRATONOVICH, _ONE_MOTION),
    METHODS.srk: LegacyMethod(
        _ITO,
        _ONE_MOTION,
        _APPROXIMATE | {LEVY_AREA_APPROXIMATIONS.space_time},
        LEVY_AREA_APPROXIMATIONS.space_time,
    ),
    METHODS.euler_heun: LegacyMethod(_STRATONOVICH, products=True),
    METHODS.heun: LegacyMethod(_STRATONOVICH, products=True, together=True),
    METHODS.midpoint: LegacyMethod(_STRATONOVICH, products=True, together=True),
    METHODS.reversible_heun: LegacyMethod(_STRATONOVICH, together=True),
    METHODS.log_ode_midpoint: LegacyMethod(_STRATONOVICH, areas=_APPROXIMATE, area=LEVY_AREA_APPROXIMATIONS.foster),
}


# without the error estimates, which neither fixed steps nor step doubling look at
_RUNGE_KUTTA = {
    name: StratonovichRungeKutta(name, dataclasses.replace(tableau, errors=(), embedded_orders=()))
    for name, tableau in ((METHODS.heun, HEUN), (METHODS.midpoint, MIDPOINT))
}


def default_method(sde_type: str, noise_type: str) -> str:
    """Return the name of the method that is used where none is named."""
    if sde_type == SDE_TYPES.stratonovich:
        return METHODS.midpoint
    return METHODS.euler if noise_type == NOISE_TYPES.general else METHODS.srk


def find_legacy_method(name: str, sde_type: str, noise_type: str) -> LegacyMethod:
    """Return a method by torchsde's name.

    Raises:
        ValueError: It is not one of forward solves, or does not fit the equation.
    """
    if name not in SOLVERS:
        raise ValueError(f"{name} can only be used for adjoint_method.")
    method = SOLVERS[name]
    if sde_type not in method.calculi:
        raise ValueError(f"SDE is of type {sde_type} but solver is for type {', '.join(sorted(method.calculi))}")
    if noise_type not in method.noise_types:
        raise ValueError(
            f"SDE has noise type {noise_type} but solver only supports noise types {sorted(method.noise_types)}"
        )
    return method


def core_method(name: str, sde_type: str, noise_type: str, options: Mapping[str, Any], adaptive: bool) -> SDEMethod:
    """Return nde's method of a name, for an equation that it fits, with an error estimate where steps are adaptive."""
    method: str | SDEMethod = name
    if name == METHODS.srk:
        # the tables are those of torchsde
        method = "sra1" if noise_type == NOISE_TYPES.additive else "sriw2"
    elif name == METHODS.milstein and options.get(METHOD_OPTIONS.grad_free) and noise_type != NOISE_TYPES.additive:
        method = GradFreeMilstein(sde_type)
    elif name in _RUNGE_KUTTA:
        method = _RUNGE_KUTTA[name]
    return find_sde_method(StepDoubling(method) if adaptive else method, sde_type, noise_type)


class Stepper(SDEMethod):
    """A method without the error estimates that fixed steps do not look at, which keeps its last carry.

    Args:
        method: The method.
        estimates: Whether its error estimates are wanted.

    Attributes:
        last: The carry of the last step.
    """

    def __init__(self, method: SDEMethod, estimates: bool) -> None:
        self.method = method
        self.last: Any = None
        self.name = method.name
        self.calculus = method.calculus
        self.strong_orders = method.strong_orders  # type: ignore[misc]  # a fact of the method
        self.error_order = method.error_order if estimates else None
        self.carry_is_function_of_state = method.carry_is_function_of_state
        self.reversible = method.reversible
        self.by_products = method.by_products

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """See `SDEMethod.start`."""
        return self.method.start(field, t, y)

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """See `Method.slope`."""
        return self.method.slope(field, t, y, carry)

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        result = self.method.step_sde(field, t, h, y, carry)
        self.last = result.carry
        return StepResult(result.y1, result.carry, None if self.error_order is None else result.errors, None, None)

    def undo(self, field: VectorField, t: Scalar, h: Scalar, y1: Tensor, carry1: Any) -> tuple[Tensor, Any]:
        """See `Method.undo`."""
        return self.method.undo(field, t, h, y1, carry1)

    def undoer(
        self, reversal: Reversal, t1: float, y1: Tensor, carry1: Any, at_carry1: Sequence[Tensor | None] | None
    ) -> StepUndoer | None:
        """See `Method.undoer`."""
        return self.method.undoer(reversal, t1, y1, carry1, at_carry1)
