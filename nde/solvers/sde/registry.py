"""The SDE methods by name and calculus."""

from __future__ import annotations

from nde.checks import suggestion
from nde.solvers.sde.drift_implicit import ImplicitMilstein, ThetaMaruyama
from nde.solvers.sde.euler import EulerMaruyama
from nde.solvers.sde.langevin import ALIGN, BAOAB, QUICSORT, UBU, ShOULD
from nde.solvers.sde.log_ode import LogODE
from nde.solvers.sde.method import CALCULI, SDEMethod
from nde.solvers.sde.milstein import Milstein
from nde.solvers.sde.reversible import ReversibleHeun
from nde.solvers.sde.splitting import SplittingRungeKutta
from nde.solvers.sde.splitting_tables import GENERAL_SHARK, SEA, SHARK, SLOW_RK, SPARK
from nde.solvers.sde.srk import StochasticRungeKutta
from nde.solvers.sde.srk_tables import SOSRA, SOSRA2, SOSRI, SOSRI2, SRA1, SRA3, SRIW1, SRIW2
from nde.solvers.sde.stratonovich import EulerHeun, StratonovichRungeKutta
from nde.solvers.sde.weak import WeakRungeKutta
from nde.solvers.sde.weak_tableau import DRI1, RI6
from nde.solvers.tableaus import HEUN, MIDPOINT, RALSTON

__all__ = ["default_method", "find_sde_method", "register_sde_method", "sde_method_names"]

_METHODS: dict[tuple[str, str], SDEMethod] = {}


def register_sde_method(method: SDEMethod) -> SDEMethod:
    """Make a method known by its name and calculus, so that ``solve_sde(..., method=name)`` finds it.

    Raises:
        TypeError: The argument is no SDE method.
        ValueError: Its calculus is not known, or another method has its name and calculus.
    """
    if not isinstance(method, SDEMethod):
        raise TypeError(f"method must be an SDEMethod, but is {method!r}.")
    if method.calculus not in CALCULI:
        raise ValueError(f"method.calculus must be one of {', '.join(CALCULI)}, but is {method.calculus!r}.")
    known = _METHODS.setdefault((method.name, method.calculus), method)
    if known is not method:
        raise ValueError(f"method.name is {method.name!r}, which is already the name of {known!r}; choose another.")
    return method


def sde_method_names(calculus: str | None = None, noise: str | None = None) -> list[str]:
    """Return the names of all methods, or of those for a calculus and a kind of noise."""
    return list(
        dict.fromkeys(
            name
            for (name, of), method in _METHODS.items()
            if calculus in (None, of) and (noise is None or noise in method.strong_orders)
        )
    )


def default_method(calculus: str, noise: str) -> str:
    """Return the name of the method that is used where none is named."""
    if noise == "additive":
        return "sosra2"
    if calculus == "stratonovich":
        return "heun"
    return {"general": "euler", "commutative": "milstein"}.get(noise, "sosri2")


def find_sde_method(method: str | SDEMethod, calculus: str, noise: str) -> SDEMethod:
    """Return a method that fits the equation.

    Raises:
        TypeError: The argument is neither a name nor a method.
        ValueError: No method has this name, or it does not fit the calculus or the kind of noise.
    """

    def fitting() -> str:
        usable = ", ".join(sde_method_names(calculus, noise))
        return f"Methods for calculus={calculus!r} and noise={noise!r}: {usable}."

    if isinstance(method, str):
        if (method, calculus) not in _METHODS:
            names = sde_method_names()
            if method not in names:
                raise ValueError(f"method={method!r} is not known.{suggestion(method, names)} {fitting()}")
            raise ValueError(f"method={method!r} does not converge to the {calculus} solution. {fitting()}")
        method = _METHODS[method, calculus]
    if not isinstance(method, SDEMethod):
        raise TypeError(f"method must be a name or an SDEMethod, but is a {type(method).__name__}.")
    method = method.fitted(calculus, noise)
    if method.calculus != calculus:
        raise ValueError(
            f"method={method.name!r} converges to the {method.calculus} solution, but calculus={calculus!r}. "
            f"{fitting()}"
        )
    if noise not in method.strong_orders:
        raise ValueError(f"method={method.name!r} does not take noise={noise!r}. {fitting()}")
    return method


register_sde_method(EulerMaruyama())
register_sde_method(Milstein("ito"))
register_sde_method(Milstein("stratonovich"))
register_sde_method(Milstein("ito", derivative_free=True))
register_sde_method(EulerHeun())
register_sde_method(ThetaMaruyama())
register_sde_method(ImplicitMilstein())
for _name, _tableau in (("heun", HEUN), ("midpoint", MIDPOINT), ("ralston", RALSTON)):
    register_sde_method(StratonovichRungeKutta(_name, _tableau))
register_sde_method(ReversibleHeun())
register_sde_method(LogODE())
for _name, _sri in (("sriw1", SRIW1), ("sriw2", SRIW2), ("sosri", SOSRI), ("sosri2", SOSRI2)):
    register_sde_method(StochasticRungeKutta(_name, _sri))
for _name, _sra in (("sra1", SRA1), ("sra3", SRA3), ("sosra", SOSRA), ("sosra2", SOSRA2)):
    for _calculus in CALCULI:
        register_sde_method(StochasticRungeKutta(_name, _sra, _calculus))
for _langevin in (QUICSORT(), ShOULD(), ALIGN(), UBU(), BAOAB()):
    register_sde_method(_langevin)
for _name, _weak in (("dri1", DRI1), ("ri6", RI6)):
    register_sde_method(WeakRungeKutta(_name, _weak))
for _name, _splitting in (("general_shark", GENERAL_SHARK), ("slow_rk", SLOW_RK), ("spark", SPARK)):
    register_sde_method(SplittingRungeKutta(_name, _splitting))
for _name, _splitting in (("sea", SEA), ("shark", SHARK)):
    for _calculus in CALCULI:
        register_sde_method(SplittingRungeKutta(_name, _splitting, _calculus))
