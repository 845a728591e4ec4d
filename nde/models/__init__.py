"""Layers that solve differential equations."""

from nde.models.augment import augment_with_zeros
from nde.models.continuous_flow import ContinuousFlow, ContinuousFlowOutput
from nde.models.gru_encoder import GRUEncoder, context_at
from nde.models.hybrid import HybridField
from nde.models.latent_ode import LatentODE, LatentODEOutput
from nde.models.latent_sde import LatentSDE, LatentSDEOutput
from nde.models.layer import LayerOutput
from nde.models.neural_cde import NeuralCDE, NeuralCDEOutput
from nde.models.neural_ode import NeuralODE, NeuralODEOutput
from nde.models.neural_sde import NeuralSDE, NeuralSDEOutput
from nde.models.residual import ResidualNetwork
from nde.models.sde_generator import SDEGenerator, SDEGeneratorOutput
from nde.models.series_encoders import GRUDEncoder, ODERNNEncoder, SeriesEncoder
from nde.models.time_conditioned import ConcatLinear, ConcatSquashLinear, TimeConditionedField
from nde.models.trace import ExactTrace, Hutchinson, HutchPlusPlus, TraceEstimator

__all__ = [
    "ConcatLinear",
    "ConcatSquashLinear",
    "ContinuousFlow",
    "ContinuousFlowOutput",
    "ExactTrace",
    "GRUDEncoder",
    "GRUEncoder",
    "HutchPlusPlus",
    "Hutchinson",
    "HybridField",
    "LatentODE",
    "LatentODEOutput",
    "LatentSDE",
    "LatentSDEOutput",
    "LayerOutput",
    "NeuralCDE",
    "NeuralCDEOutput",
    "NeuralODE",
    "NeuralODEOutput",
    "NeuralSDE",
    "NeuralSDEOutput",
    "ODERNNEncoder",
    "ResidualNetwork",
    "SDEGenerator",
    "SDEGeneratorOutput",
    "SeriesEncoder",
    "TimeConditionedField",
    "TraceEstimator",
    "augment_with_zeros",
    "context_at",
]
