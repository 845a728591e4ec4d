"""The error estimates that stochastic solves choose their steps by."""

from __future__ import annotations

from examples.regularization.framework import SettingsError
from nde.solvers.sde import StochasticRungeKutta, find_sde_method

__all__ = ["method_with_estimate"]


def method_with_estimate(method: str, estimate: str) -> StochasticRungeKutta:
    """Return a method for diagonal noise that chooses steps by one of its estimates.

    Args:
        method: Name of a stochastic Runge-Kutta method.
        estimate: ``"embedded"``, or ``"reference"``, that of the published experiments, in which the drifts of all
            stages add up: no difference of two solutions but nearly four times the step times the drift.

    Raises:
        SettingsError: The estimate or the method is not known, or the method has no choice of estimates.
    """
    try:
        found = find_sde_method(method, "ito", "diagonal")
        if isinstance(found, StochasticRungeKutta):
            return found.with_estimate(estimate)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    raise SettingsError(f"method must be a stochastic Runge-Kutta method, such as sosri2, but is {method!r}.")
