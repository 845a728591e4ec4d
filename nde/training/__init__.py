"""Training with solvers in the model: what they cost, a plain loop, work shared evenly among processes."""

from nde.training.balance import BalancedSampler
from nde.training.loop import Loop, LoopError
from nde.training.monitor import SolverMonitor
from nde.training.sharing import share_gradients

__all__ = ["BalancedSampler", "Loop", "LoopError", "SolverMonitor", "share_gradients"]
