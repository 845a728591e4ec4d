"""Optimisers for residuals, beside those of PyTorch."""

from nde.pinn.optim.lbfgs import LBFGS
from nde.pinn.optim.natural import NaturalGradient

__all__ = ["LBFGS", "NaturalGradient"]
