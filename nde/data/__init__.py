"""Data of partial differential equations: generators and loaders of published files. Stands alone."""

from nde.data.covariances import StationaryField, correlation
from nde.data.dataset import Dataset
from nde.data.generate import SampleError, draw_sample, generate
from nde.data.problem import Problem, TimeDependentProblem
from nde.data.random_fields import SpectralField
from nde.data.shards import CorruptFileError

__all__ = [
    "generate",
    "draw_sample",
    "Dataset",
    "Problem",
    "TimeDependentProblem",
    "SampleError",
    "CorruptFileError",
    "SpectralField",
    "StationaryField",
    "correlation",
]
