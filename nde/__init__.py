"""Neural differential equations for PyTorch, with the solver's costs in the open."""

from nde import regularize
from nde.models import NeuralODE, NeuralODEOutput
from nde.solve import solve_ode
from nde.solvers import (
    FixedStep,
    IController,
    Method,
    PIController,
    PIDController,
    Solution,
    SolverError,
    Status,
    StepTo,
    method_names,
    register_method,
)

__all__ = [
    "FixedStep",
    "IController",
    "Method",
    "NeuralODE",
    "NeuralODEOutput",
    "PIController",
    "PIDController",
    "Solution",
    "SolverError",
    "Status",
    "StepTo",
    "method_names",
    "register_method",
    "regularize",
    "solve_ode",
]
