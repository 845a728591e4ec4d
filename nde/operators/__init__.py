"""Neural operators with local kernels that are the same operator at every resolution and on every grid.

Stands alone, in plain PyTorch: fields are tensors ``(*batch, channels, *shape)``, and a `Grid` says where they
are known.
"""

from nde.operators.bases import Basis, HarmonicBasis, HatBasis, OddBasis, ZernikeBasis
from nde.operators.block import OperatorBlock
from nde.operators.differential import DifferentialKernel
from nde.operators.grids import Grid, UniformGrid
from nde.operators.layer import OperatorLayer
from nde.operators.local_integral import LocalIntegral, RegularizedDifferential
from nde.operators.models import FNO, SFNO, LocalNO
from nde.operators.multionet import DeepONet, MultiONet
from nde.operators.neural_operator import NeuralOperator
from nde.operators.points import PointCloud
from nde.operators.pointwise import ChannelMLP, Pointwise
from nde.operators.resolution import resolution_changes
from nde.operators.spectral import SpectralConvolution
from nde.operators.sphere import SphereGrid, SpherePoints
from nde.operators.spherical import SphericalConvolution

__all__ = [
    "FNO",
    "LocalNO",
    "SFNO",
    "NeuralOperator",
    "OperatorBlock",
    "OperatorLayer",
    "DeepONet",
    "MultiONet",
    "DifferentialKernel",
    "LocalIntegral",
    "RegularizedDifferential",
    "SpectralConvolution",
    "SphericalConvolution",
    "ChannelMLP",
    "Pointwise",
    "Basis",
    "HarmonicBasis",
    "HatBasis",
    "OddBasis",
    "ZernikeBasis",
    "Grid",
    "UniformGrid",
    "PointCloud",
    "SphereGrid",
    "SpherePoints",
    "resolution_changes",
]
