"""The methods by name."""

from __future__ import annotations

from nde.checks import suggestion
from nde.solvers import tableaus
from nde.solvers.adams import ExplicitAdams, ImplicitAdams
from nde.solvers.explicit import ExplicitRungeKutta
from nde.solvers.implicit import ImplicitRungeKutta
from nde.solvers.method import Method
from nde.solvers.reversible import ReversibleHeunODE
from nde.solvers.tableaus import implicit

__all__ = ["find_method", "method_names", "register_method"]

_METHODS: dict[str, Method] = {}


def register_method(method: Method) -> Method:
    """Make a method known by its name, so that ``solve_ode(..., method=name)`` finds it.

    Args:
        method: The method; its ``name`` is the key.

    Returns:
        The method.

    Raises:
        TypeError: The argument is no method.
        ValueError: Another method has this name.
    """
    if not isinstance(method, Method):
        raise TypeError(f"method must be a Method, but is {method!r}.")
    known = _METHODS.get(method.name)
    if known is not None and known is not method:
        raise ValueError(f"method.name is {method.name!r}, which is already the name of {known!r}; choose another.")
    _METHODS[method.name] = method
    return method


def method_names() -> list[str]:
    """Return the names of all methods, in the order of their registration."""
    return list(_METHODS)


def find_method(method: str | Method) -> Method:
    """Return a method by name, or the method itself.

    Raises:
        ValueError: No method has this name.
        TypeError: The argument is neither a name nor a method.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"method must be a name or a Method, but is a {type(method).__name__}.")
    if method in _METHODS:
        return _METHODS[method]
    raise ValueError(
        f"method={method!r} is not known.{suggestion(method, _METHODS)} Known methods: {', '.join(_METHODS)}."
    )


for _name, _tableau, _error_order in (
    ("euler", tableaus.EULER, None),
    ("midpoint", tableaus.MIDPOINT, None),
    ("heun", tableaus.HEUN, None),
    ("ralston", tableaus.RALSTON, None),
    ("bosh3", tableaus.BOSH3, None),
    ("rk4", tableaus.RK4, None),
    ("rk38", tableaus.RK38, None),
    ("heun3", tableaus.HEUN3, None),
    ("fehlberg2", tableaus.FEHLBERG2, None),
    ("dopri5", tableaus.DOPRI5, None),
    ("tsit5", tableaus.TSIT5, None),
    # its two embedded differences, of orders 5 and 3, are folded into an estimate of order 8
    ("dopri8", tableaus.DOPRI8, 8),
):
    register_method(ExplicitRungeKutta(_name, _tableau, _error_order))

for _name, _implicit_tableau in (
    ("implicit_euler", implicit.IMPLICIT_EULER),
    ("implicit_midpoint", implicit.IMPLICIT_MIDPOINT),
    ("trapezoid", implicit.TRAPEZOID),
    ("sdirk2", implicit.SDIRK2),
    ("trbdf2", implicit.TRBDF2),
    ("radau_iia3", implicit.RADAU_IIA3),
    ("gauss4", implicit.GAUSS4),
    ("radau_iia5", implicit.RADAU_IIA5),
    ("gauss6", implicit.GAUSS6),
):
    register_method(ImplicitRungeKutta(_name, _implicit_tableau))

register_method(ReversibleHeunODE())
register_method(ExplicitAdams())
register_method(ImplicitAdams())
