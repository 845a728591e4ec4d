"""SciPy's solvers behind torchdiffeq's ``scipy_solver``; without gradients through the solve, as there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from nde.solvers.structure import State, StateStructure

__all__ = ["solve_with_scipy"]


def solve_with_scipy(
    func: Callable[..., State], y0: State, t: Tensor, rtol: Any, atol: Any, options: Mapping[str, Any]
) -> State:
    """Return the states at ``t`` by `scipy.integrate.solve_ivp`; see `nde.compat.torchdiffeq.odeint`.

    Raises:
        RuntimeError: SciPy did not reach the end of the span.
    """
    given = dict(options)
    solver = given.pop("solver", "LSODA")
    unknown = {key: value for key, value in given.items() if key not in ("min_step", "max_step", "dtype", "norm")}
    if unknown:
        warnings.warn(f"ScipyWrapperODESolver: Unexpected arguments {unknown}", UserWarning, stacklevel=4)
    for name in ("callback_step", "callback_accept_step", "callback_reject_step"):
        if hasattr(func, name):
            warnings.warn(f"Solver 'scipy_solver' does not support callbacks ['{name}']", UserWarning, stacklevel=4)
    structure = StateStructure(y0)
    like = structure.flatten(y0, "y0").detach()

    def slope(time: float, state: numpy.ndarray) -> numpy.ndarray:
        with torch.no_grad():
            value = func(
                torch.tensor(time, dtype=structure.time_dtype, device=t.device),
                structure.unflatten(torch.from_numpy(state).to(like)),
            )
        return structure.flatten(value, "the value of func(t, y)").double().cpu().numpy()

    limits = {"max_step": float(given.get("max_step") or numpy.inf)}
    if solver == "LSODA":
        limits["min_step"] = float(given.get("min_step") or 0.0)
    times = t.detach().double().cpu().numpy()
    found = solve_ivp(
        slope,
        (times[0], times[-1]),
        like.double().cpu().numpy(),
        method=solver,
        t_eval=times,
        rtol=_tolerance(rtol, "rtol", structure),
        atol=_tolerance(atol, "atol", structure),
        **limits,
    )
    if not found.success:
        raise RuntimeError(f"scipy_solver with solver={solver!r} failed: {found.message}")
    states = structure.unflatten(torch.from_numpy(numpy.ascontiguousarray(found.y.T)).to(like))
    return states


def _tolerance(value: Any, name: str, structure: StateStructure) -> float | numpy.ndarray:
    """Return a tolerance as SciPy takes it: a number, or one for every entry."""
    spread = structure.spread(value, name)
    return spread.double().cpu().numpy() if isinstance(spread, Tensor) else spread
