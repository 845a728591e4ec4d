"""Networks and features for solutions of differential equations."""

from nde.pinn.networks.embeddings import FourierFeatures, PeriodicEmbedding
from nde.pinn.networks.layers import FactorisedLinear, glorot_linear
from nde.pinn.networks.local import LocalNetwork
from nde.pinn.networks.perceptrons import MLP, ModifiedMLP
from nde.pinn.networks.preconditioned import FourierBasis, SineBasis
from nde.taylor.operators import SharedLinear

__all__ = [
    "MLP", "ModifiedMLP", "LocalNetwork", "FactorisedLinear", "SharedLinear", "glorot_linear",
    "FourierFeatures", "PeriodicEmbedding", "FourierBasis", "SineBasis",
]  # fmt: skip
