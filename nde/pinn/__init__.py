"""Physics-informed networks: domains, conditions, networks, optimisers, a trainer, and problems to try them on."""

from nde.pinn import zoo
from nde.pinn.coefficient import Coefficient
from nde.pinn.conditions import Condition, Data, Dirichlet, Equation, Initial, Neumann, Periodic, Robin
from nde.pinn.geometry import (
    Ball,
    Box,
    Difference,
    Geometry,
    Intersection,
    Interval,
    PointCloud,
    Polygon,
    Primitive,
    TimeProduct,
    Union,
    sample_dimensions,
    unit_cube,
)
from nde.pinn.hard import HardConstraint
from nde.pinn.jacobian import residual_jacobian
from nde.pinn.networks import (
    MLP,
    FactorisedLinear,
    FourierBasis,
    FourierFeatures,
    LocalNetwork,
    ModifiedMLP,
    PeriodicEmbedding,
    SharedLinear,
    SineBasis,
)
from nde.pinn.optim import LBFGS, NaturalGradient
from nde.pinn.plots import plot_history, plot_residual, plot_solution
from nde.pinn.points import FixedPoints, PointSet, RandomPoints, ResidualPoints, RetainedPoints
from nde.pinn.preconditioning import (
    Conditioning,
    PreconditionedDescent,
    condition_number,
    gram_matrix,
    preconditioner,
)
from nde.pinn.problem import Problem
from nde.pinn.training import History, Reference, Trainer, relative_error, trivial_error
from nde.pinn.weighting import Causal, Combined, GradientNorm, TangentKernel, Weighting

__all__ = [
    # domains and points
    "Geometry", "Primitive", "Interval", "Box", "Ball", "Polygon", "PointCloud", "TimeProduct",
    "Union", "Intersection", "Difference", "unit_cube", "sample_dimensions",
    "PointSet", "FixedPoints", "RandomPoints", "ResidualPoints", "RetainedPoints",
    # conditions
    "Condition", "Equation", "Dirichlet", "Neumann", "Robin", "Periodic", "Initial", "Data",
    "HardConstraint", "Coefficient", "Problem",
    # networks
    "MLP", "ModifiedMLP", "LocalNetwork", "FactorisedLinear", "SharedLinear", "FourierFeatures", "PeriodicEmbedding",
    "FourierBasis", "SineBasis",
    # training
    "Trainer", "Reference", "History", "relative_error", "trivial_error",
    "Weighting", "GradientNorm", "TangentKernel", "Causal", "Combined",
    "LBFGS", "NaturalGradient", "residual_jacobian",
    "Conditioning", "condition_number", "gram_matrix", "preconditioner", "PreconditionedDescent",
    "plot_history", "plot_solution", "plot_residual",
    "zoo",
]  # fmt: skip
