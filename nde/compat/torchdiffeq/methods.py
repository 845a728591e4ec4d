"""torchdiffeq's method names, and the options that each understands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from nde.solvers import tableaus
from nde.solvers.explicit import ExplicitRungeKutta
from nde.solvers.method import Method
from nde.solvers.registry import find_method
from nde.solvers.tableau import ButcherTableau

__all__ = ["SOLVERS", "LegacyMethod", "find_legacy_method"]

_COMMON = frozenset({"dtype", "norm"})
_ADAPTIVE = _COMMON | {
    "first_step",
    "safety",
    "ifactor",
    "dfactor",
    "max_num_steps",
    "min_step",
    "max_step",
    "step_t",
    "jump_t",
}
_FIXED = _COMMON | {"step_size", "grid_constructor", "interp", "perturb"}


@dataclass(frozen=True)
class LegacyMethod:
    """A method by torchdiffeq's name.

    Attributes:
        method: nde's method.
        adaptive: Whether it chooses its steps.
        options: Options that it understands.
        solver: torchdiffeq's class name, which its warnings begin with.
    """

    method: Method
    adaptive: bool
    options: frozenset[str]
    solver: str


def _adaptive(name: str, solver: str) -> LegacyMethod:
    return LegacyMethod(find_method(name), True, _ADAPTIVE, solver)


def _fixed(method: str | Method, solver: str, *more: str) -> LegacyMethod:
    return LegacyMethod(find_method(method), False, _FIXED | set(more), solver)


def _without_estimate(name: str, tableau: ButcherTableau) -> ExplicitRungeKutta:
    """Return a method without its error estimate, which fixed steps do not read and torchdiffeq's users do not see."""
    return ExplicitRungeKutta(name, dataclasses.replace(tableau, errors=(), embedded_orders=(), stiffness_stages=None))


#: torchdiffeq's method names, but for ``scipy_solver``, which is no method of nde's.
SOLVERS: dict[str, LegacyMethod] = {
    "dopri8": _adaptive("dopri8", "Dopri8Solver"),
    "dopri5": _adaptive("dopri5", "Dopri5Solver"),
    "tsit5": _adaptive("tsit5", "Tsit5Solver"),
    "bosh3": _adaptive("bosh3", "Bosh3Solver"),
    "fehlberg2": _adaptive("fehlberg2", "Fehlberg2"),
    "adaptive_heun": _adaptive("heun", "AdaptiveHeunSolver"),
    "euler": _fixed("euler", "Euler"),
    "midpoint": _fixed(_without_estimate("midpoint", tableaus.MIDPOINT), "Midpoint"),
    "heun2": _fixed(_without_estimate("heun", tableaus.HEUN), "Heun2"),
    "heun3": _fixed("heun3", "Heun3"),
    "rk4": _fixed("rk38", "RK4"),  # which is the 3/8 rule there
    "explicit_adams": _fixed("explicit_adams", "AdamsBashforth", "max_order", "max_iters", "implicit"),
    "implicit_adams": _fixed("implicit_adams", "AdamsBashforthMoulton", "max_order", "max_iters", "implicit"),
    "fixed_adams": _fixed("implicit_adams", "AdamsBashforthMoulton", "max_order", "max_iters", "implicit"),
    "implicit_euler": _fixed("implicit_euler", "ImplicitEuler", "max_iters"),
    "implicit_midpoint": _fixed("implicit_midpoint", "ImplicitMidpoint", "max_iters"),
    "trapezoid": _fixed("trapezoid", "Trapezoid", "max_iters"),
    "radauIIA3": _fixed("radau_iia3", "RadauIIA3", "max_iters"),
    "gl4": _fixed("gauss4", "GaussLegendre4", "max_iters"),
    "radauIIA5": _fixed("radau_iia5", "RadauIIA5", "max_iters"),
    "gl6": _fixed("gauss6", "GaussLegendre6", "max_iters"),
    "sdirk2": _fixed("sdirk2", "SDIRK2", "max_iters"),
    "trbdf2": _fixed("trbdf2", "TRBDF2", "max_iters"),
}


def find_legacy_method(method: str | None) -> LegacyMethod:
    """Return a method by torchdiffeq's name, dopri5 for None.

    Raises:
        ValueError: The name is not known.
    """
    name = "dopri5" if method is None else method
    if name not in SOLVERS:
        known = ", ".join(sorted([*SOLVERS, "scipy_solver"]))
        raise ValueError(f'Invalid method "{name}". Must be one of {{{known}}}.')
    return SOLVERS[name]
