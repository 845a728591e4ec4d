"""Neural differential equations for PyTorch, with the solver's costs in the open.

Names are imported when they are first used, so that a part of the package costs no more than itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nde import controls, regularize
    from nde.doors.cde import solve_cde
    from nde.doors.langevin import solve_langevin
    from nde.doors.ode import solve_ode
    from nde.doors.sde import solve_sde
    from nde.models import (
        ContinuousFlow,
        ContinuousFlowOutput,
        LatentODE,
        LatentODEOutput,
        LatentSDE,
        LatentSDEOutput,
        NeuralCDE,
        NeuralCDEOutput,
        NeuralODE,
        NeuralODEOutput,
        NeuralSDE,
        NeuralSDEOutput,
    )
    from nde.solvers import (
        Event,
        FixedStep,
        IController,
        Method,
        PerSample,
        PIController,
        PIDController,
        Solution,
        SolverError,
        Status,
        StepTo,
        method_names,
        register_method,
    )
    from nde.solvers.brownian import BrownianPath

__all__ = [
    "BrownianPath",
    "ContinuousFlow",
    "ContinuousFlowOutput",
    "Event",
    "FixedStep",
    "IController",
    "LatentODE",
    "LatentODEOutput",
    "LatentSDE",
    "LatentSDEOutput",
    "Method",
    "NeuralCDE",
    "NeuralCDEOutput",
    "NeuralODE",
    "NeuralODEOutput",
    "NeuralSDE",
    "NeuralSDEOutput",
    "PIController",
    "PIDController",
    "PerSample",
    "Solution",
    "SolverError",
    "Status",
    "StepTo",
    "controls",
    "method_names",
    "operators",
    "profile",
    "register_method",
    "regularize",
    "solve_cde",
    "solve_langevin",
    "solve_ode",
    "solve_sde",
    "taylor",
]

_HOMES = {
    "nde.models": (
        "ContinuousFlow",
        "ContinuousFlowOutput",
        "LatentODE",
        "LatentODEOutput",
        "LatentSDE",
        "LatentSDEOutput",
        "NeuralCDE",
        "NeuralCDEOutput",
        "NeuralODE",
        "NeuralODEOutput",
        "NeuralSDE",
        "NeuralSDEOutput",
    ),
    "nde.doors.ode": ("solve_ode",),
    "nde.doors.cde": ("solve_cde",),
    "nde.doors.langevin": ("solve_langevin",),
    "nde.doors.sde": ("solve_sde",),
    "nde.solvers": (
        "Event",
        "FixedStep",
        "IController",
        "Method",
        "PIController",
        "PIDController",
        "PerSample",
        "Solution",
        "SolverError",
        "Status",
        "StepTo",
        "method_names",
        "register_method",
    ),
    "nde.solvers.brownian": ("BrownianPath",),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_PARTS = frozenset(
    (
        "adjoint",
        "compat",
        "controls",
        "data",
        "models",
        "operators",
        "pinn",
        "profile",
        "regularize",
        "solvers",
        "taylor",
        "training",
    )
)


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"nde.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nde' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next time, it is found at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
