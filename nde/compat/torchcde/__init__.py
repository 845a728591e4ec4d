"""torchcde's interface: ``import nde.compat.torchcde as torchcde``.

Signatures, defaults and types of exceptions are those of its version 0.2.5; paths are those of `nde.controls`, solves
those of `nde.compat.torchdiffeq` and `nde.compat.torchsde`. What differs is listed in the documentation.
"""

from nde.compat.torchcde import misc
from nde.compat.torchcde.coefficients import (
    hermite_cubic_coefficients_with_backward_differences,
    linear_interpolation_coeffs,
    natural_cubic_coeffs,
    natural_cubic_spline_coeffs,
)
from nde.compat.torchcde.interpolation import CubicSpline, InterpolationBase, LinearInterpolation, NaturalCubicSpline
from nde.compat.torchcde.log_ode import logsig_windows, logsignature_windows
from nde.compat.torchcde.misc import TupleControl
from nde.compat.torchcde.solver import cdeint

__version__ = "0.2.5"

__all__ = [
    "CubicSpline",
    "InterpolationBase",
    "LinearInterpolation",
    "NaturalCubicSpline",
    "TupleControl",
    "__version__",
    "cdeint",
    "hermite_cubic_coefficients_with_backward_differences",
    "linear_interpolation_coeffs",
    "logsig_windows",
    "logsignature_windows",
    "misc",
    "natural_cubic_coeffs",
    "natural_cubic_spline_coeffs",
]
