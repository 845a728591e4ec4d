"""Data of partial differential equations: generators and loaders of published files. Stands alone."""

from nde.data.covariances import StationaryField, correlation
from nde.data.problem import Problem, TimeDependentProblem
from nde.data.random_fields import SpectralField

__all__ = ["Problem", "TimeDependentProblem", "SpectralField", "StationaryField", "correlation"]
