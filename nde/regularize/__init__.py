"""Penalties on what a solve costs: made of the estimates that the solver exposes, or integrals along the trajectory."""

from nde.regularize.budget import NFEBudget
from nde.regularize.global_estimates import GlobalError, GlobalErrorSquared, GlobalStiffness, StepCount
from nde.regularize.gradient import backward_with_gradient_penalty
from nde.regularize.jacobian import JacobianFrobenius, JacobianNuclear
from nde.regularize.kinetic import Kinetic
from nde.regularize.local_estimates import LocalError, LocalStiffness
from nde.regularize.penalty import Penalty
from nde.regularize.schedules import Constant, Exponential, Linear, Schedule
from nde.regularize.steer import Steer
from nde.regularize.step_at import step_at
from nde.regularize.taylor import Taylor
from nde.regularize.trajectory import TrajectoryPenalty, TrajectoryPoint

__all__ = [
    "Constant",
    "Exponential",
    "GlobalError",
    "GlobalErrorSquared",
    "GlobalStiffness",
    "JacobianFrobenius",
    "JacobianNuclear",
    "Kinetic",
    "Linear",
    "LocalError",
    "LocalStiffness",
    "NFEBudget",
    "Penalty",
    "Schedule",
    "StepCount",
    "Steer",
    "Taylor",
    "TrajectoryPenalty",
    "TrajectoryPoint",
    "backward_with_gradient_penalty",
    "step_at",
]
