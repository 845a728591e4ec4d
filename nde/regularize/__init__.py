"""Penalties on what a solve costs, made of the estimates that the solver exposes."""

from nde.regularize.budget import NFEBudget
from nde.regularize.global_estimates import GlobalError, GlobalErrorSquared, GlobalStiffness, StepCount
from nde.regularize.local_estimates import LocalError, LocalStiffness
from nde.regularize.penalty import Penalty
from nde.regularize.schedules import Constant, Exponential, Linear, Schedule
from nde.regularize.steer import Steer

__all__ = [
    "Constant",
    "Exponential",
    "GlobalError",
    "GlobalErrorSquared",
    "GlobalStiffness",
    "Linear",
    "LocalError",
    "LocalStiffness",
    "NFEBudget",
    "Penalty",
    "Schedule",
    "StepCount",
    "Steer",
]
