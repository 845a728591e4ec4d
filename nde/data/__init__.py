"""Data of partial differential equations: generators and loaders of published files. Stands alone."""

from nde.data.advection import Advection
from nde.data.burgers import Burgers
from nde.data.condiff import ConDiff, condiff_matrix, contrast
from nde.data.covariances import StationaryField, correlation
from nde.data.darcy import Darcy, solve_darcy
from nde.data.dataset import Dataset
from nde.data.diffusion_reaction import DiffusionReaction
from nde.data.generate import SampleError, draw_sample, generate
from nde.data.kuramoto_sivashinsky import KuramotoSivashinsky
from nde.data.navier_stokes import NavierStokes
from nde.data.problem import Problem, TimeDependentProblem
from nde.data.published import load_condiff, load_fno, load_pdebench
from nde.data.random_fields import SpectralField
from nde.data.resolution import coarsen, refine, resample_periodic
from nde.data.shallow_water import ShallowWater
from nde.data.shards import CorruptFileError
from nde.data.spherical_shallow_water import SphericalShallowWater

__all__ = [
    "generate",
    "draw_sample",
    "Dataset",
    "Problem",
    "TimeDependentProblem",
    "SampleError",
    "CorruptFileError",
    "Advection",
    "Burgers",
    "ConDiff",
    "Darcy",
    "DiffusionReaction",
    "KuramotoSivashinsky",
    "NavierStokes",
    "ShallowWater",
    "SphericalShallowWater",
    "load_condiff",
    "load_fno",
    "load_pdebench",
    "condiff_matrix",
    "contrast",
    "solve_darcy",
    "coarsen",
    "refine",
    "resample_periodic",
    "SpectralField",
    "StationaryField",
    "correlation",
]
