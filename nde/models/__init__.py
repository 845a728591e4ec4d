"""Layers that solve differential equations."""

from nde.models.neural_ode import NeuralODE, NeuralODEOutput

__all__ = ["NeuralODE", "NeuralODEOutput"]
