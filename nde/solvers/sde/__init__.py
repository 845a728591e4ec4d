"""Stochastic differential equations: the drift and the diffusion as one field, and the methods that step them."""

from nde.solvers.sde.doubling import StepDoubling
from nde.solvers.sde.drift_implicit import ImplicitMilstein, ThetaMaruyama
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.langevin import LangevinMethod
from nde.solvers.sde.method import CALCULI, SDEMethod
from nde.solvers.sde.registry import default_method, find_sde_method, register_sde_method, sde_method_names
from nde.solvers.sde.srk import StochasticRungeKutta

__all__ = [
    "CALCULI",
    "NOISE_TYPES",
    "ImplicitMilstein",
    "LangevinMethod",
    "SDEField",
    "SDEMethod",
    "StepDoubling",
    "StochasticRungeKutta",
    "ThetaMaruyama",
    "default_method",
    "find_sde_method",
    "register_sde_method",
    "sde_method_names",
]
