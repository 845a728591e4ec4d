"""Penalties on what a solve costs, made of the estimates that the solver exposes."""

from nde.regularize.global_estimates import GlobalError, GlobalErrorSquared, GlobalStiffness, StepCount
from nde.regularize.penalty import Penalty
from nde.regularize.schedules import Constant, Exponential, Linear, Schedule

__all__ = [
    "Constant",
    "Exponential",
    "GlobalError",
    "GlobalErrorSquared",
    "GlobalStiffness",
    "Linear",
    "Penalty",
    "Schedule",
    "StepCount",
]
