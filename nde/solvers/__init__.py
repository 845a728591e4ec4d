"""Solvers: methods, controllers, the loop, and what a solve returns.

Nothing here knows how gradients are made (`nde.adjoint`) or what they are used for (`nde.regularize`, `nde.models`).
"""

from nde.solvers.adams import ExplicitAdams, ImplicitAdams
from nde.solvers.controllers import Controller, FixedStep, IController, PIController, PIDController, StepTo
from nde.solvers.events import Event, FoundEvents
from nde.solvers.explicit import ExplicitRungeKutta
from nde.solvers.field import VectorField
from nde.solvers.method import Method, StepResult
from nde.solvers.registry import find_method, method_names, register_method
from nde.solvers.rows.field import PerSample
from nde.solvers.rows.solution import RowSolution, RowStats
from nde.solvers.solution import Solution, Stats, Steps
from nde.solvers.status import Failure, SolverError, Status
from nde.solvers.tableau import ButcherTableau, DenseOutput

__all__ = [
    "ButcherTableau",
    "Controller",
    "DenseOutput",
    "Event",
    "ExplicitAdams",
    "ExplicitRungeKutta",
    "Failure",
    "FoundEvents",
    "FixedStep",
    "IController",
    "ImplicitAdams",
    "Method",
    "PIController",
    "PIDController",
    "PerSample",
    "RowSolution",
    "RowStats",
    "Solution",
    "SolverError",
    "Stats",
    "Status",
    "StepResult",
    "StepTo",
    "Steps",
    "VectorField",
    "find_method",
    "method_names",
    "register_method",
]
