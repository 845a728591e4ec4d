"""`sdeint`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from nde.adjoint import DirectAdjoint
from nde.compat.torchsde.checks import check_contract, check_no_grad, warn_of_unused
from nde.compat.torchsde.solver import Settings, integrate, parse_return

__all__ = ["sdeint"]


def sdeint(
    sde: Any,
    y0: Tensor,
    ts: Any,
    bm: Any = None,
    method: str | None = None,
    dt: Any = 1e-3,
    adaptive: bool = False,
    rtol: Any = 1e-5,
    atol: Any = 1e-4,
    dt_min: Any = 1e-5,
    options: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    logqp: bool = False,
    extra: bool = False,
    extra_solver_state: Sequence[Tensor] | None = None,
    **unused_kwargs: Any,
) -> Any:
    """Integrate a stochastic differential equation and return the states at ``ts``.

    Gradients pass through the solver's operations.

    Args:
        sde: Object with ``noise_type``, ``sde_type``, a drift ``f(t, y)`` of shape ``(batch, d)`` and a diffusion
            ``g(t, y)`` of shape ``(batch, d)`` where the noise is diagonal, else ``(batch, d, m)``; or with
            ``f_and_g``, ``g_prod(t, y, v)`` or ``f_and_g_prod(t, y, v)`` in their place where the method allows it.
        y0: Initial state, shape ``(batch, d)``.
        ts: Output times, shape ``(T,)``, increasing; a tensor, or a list or tuple of numbers.
        bm: Brownian motion: ``bm(ta, tb, return_U=False, return_A=False)`` with a ``shape`` of ``(batch, m)``; None
            for a new one, drawn from torch's global generator.
        method: Name of the method. By default "srk", or "euler" for general noise; "midpoint" for Stratonovich.
        dt: Size of the steps, or of the first one where steps are adaptive. Output times between steps are reached by
            linear interpolation.
        adaptive: Whether steps are adapted to the difference between one step and two of half the size.
        rtol, atol: Tolerances of adaptive steps.
        dt_min: Adaptive steps of this size are accepted whatever their error.
        options: ``{"grad_free": True}`` for Milstein's method without derivatives.
        names: Names of the functions of ``sde`` where they differ: "drift", "diffusion", "prior_drift",
            "diffusion_prod", "drift_and_diffusion", "drift_and_diffusion_prod".
        logqp: Also return the divergence to the equation with the prior drift ``h``.
        extra: Also return what the method carries from step to step: ``(f, g, z)`` for "reversible_heun", else ``()``.
        extra_solver_state: What it carries into the first step.
        unused_kwargs: Warned of.

    Returns:
        States of shape ``(T, batch, d)``; with ``logqp`` also the divergence of each interval, ``(T - 1, batch)``; with
        ``extra`` also what the method carries.

    Raises:
        AttributeError: ``logqp`` is set without a drift, a diffusion and a prior drift.
        RuntimeError: The method needs a function that ``sde`` does not have.
        TypeError: A function returns no tensor of the state's dtype.
        ValueError: Another argument is not as above, or the method does not fit the equation or the motion.
        LegacySolverError: Adaptive steps met values that are not finite; it is an AssertionError too.
    """
    warn_of_unused(unused_kwargs, "sdeint")
    contract = check_contract(sde, y0, ts, bm, method, adaptive, options, names, logqp)
    check_no_grad(ts=ts, dt=dt, rtol=rtol, atol=atol, dt_min=dt_min)
    settings = Settings(dt, adaptive, rtol, atol, dt_min)
    ys, extras = integrate(contract, settings, extra_solver_state, DirectAdjoint())
    return parse_return(ys, extras, extra, logqp)
