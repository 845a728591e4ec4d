"""The error estimates that stochastic solves choose their steps by."""

from __future__ import annotations

from examples.regularization.framework import SettingsError
from nde.solvers.sde import StochasticRungeKutta, find_sde_method

__all__ = ["ESTIMATES", "method_with_estimate"]

# "reference" is that of the published experiments, in which the drifts of all stages add up: not a difference of two
# solutions but nearly four times the step times the drift
ESTIMATES = ("embedded", "reference")


def method_with_estimate(method: str, estimate: str) -> StochasticRungeKutta:
    """Return a method for diagonal noise with one of `ESTIMATES`.

    Raises:
        SettingsError: The estimate is not known, or the method has no choice of them.
    """
    if estimate not in ESTIMATES:
        raise SettingsError(f"estimate must be one of {', '.join(ESTIMATES)}, but is {estimate!r}.")
    try:
        found = find_sde_method(method, "ito", "diagonal")
    except ValueError as error:
        raise SettingsError(f"method: {error}") from None
    if not isinstance(found, StochasticRungeKutta):
        raise SettingsError(f"method must be a stochastic Runge-Kutta method, such as sosri2, but is {method!r}.")
    return found.with_estimate(estimate)
