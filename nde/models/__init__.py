"""Layers that solve differential equations."""

from nde.models.augment import augment_with_zeros
from nde.models.gru_encoder import GRUEncoder, context_at
from nde.models.hybrid import HybridField
from nde.models.latent_sde import LatentSDE, LatentSDEOutput
from nde.models.layer import LayerOutput
from nde.models.neural_ode import NeuralODE, NeuralODEOutput
from nde.models.neural_sde import NeuralSDE, NeuralSDEOutput
from nde.models.sde_generator import SDEGenerator
from nde.models.time_conditioned import ConcatLinear, ConcatSquashLinear, TimeConditionedField

__all__ = [
    "ConcatLinear",
    "ConcatSquashLinear",
    "GRUEncoder",
    "HybridField",
    "LatentSDE",
    "LatentSDEOutput",
    "LayerOutput",
    "NeuralODE",
    "NeuralODEOutput",
    "NeuralSDE",
    "NeuralSDEOutput",
    "SDEGenerator",
    "TimeConditionedField",
    "augment_with_zeros",
    "context_at",
]
