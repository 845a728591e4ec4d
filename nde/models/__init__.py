"""Layers that solve differential equations."""

from nde.models.gru_encoder import GRUEncoder, context_at
from nde.models.latent_sde import LatentSDE, LatentSDEOutput
from nde.models.layer import LayerOutput
from nde.models.neural_ode import NeuralODE, NeuralODEOutput
from nde.models.neural_sde import NeuralSDE, NeuralSDEOutput
from nde.models.sde_generator import SDEGenerator

__all__ = [
    "GRUEncoder",
    "LatentSDE",
    "LatentSDEOutput",
    "LayerOutput",
    "NeuralODE",
    "NeuralODEOutput",
    "NeuralSDE",
    "NeuralSDEOutput",
    "SDEGenerator",
    "context_at",
]
