"""Neural differential equations for PyTorch, with the solver's costs in the open."""

import importlib
from typing import Any

from nde import controls, regularize
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
from nde.solve import solve_ode
from nde.solve_cde import solve_cde
from nde.solve_langevin import solve_langevin
from nde.solve_sde import solve_sde
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


def __getattr__(name: str) -> Any:
    if name in ("operators", "profile", "taylor"):  # they stand alone, and are imported where they are used
        return importlib.import_module(f"nde.{name}")
    raise AttributeError(f"module 'nde' has no attribute {name!r}")
