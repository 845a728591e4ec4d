"""Paths through data: what drives a controlled differential equation.

This floor stands alone, below everything that solves: it uses torch and nothing else of the package. `nde.solve_cde`,
the layer `nde.NeuralCDE` and the interface of torchcde stand on it; so may whatever needs observations as a function of
time.
"""

from nde.controls.checks import check_series
from nde.controls.hermite import HermiteCubicPath, hermite_cubic_coefficients
from nde.controls.linear import LinearPath, RectilinearPath, rectilinear_points
from nde.controls.log_ode import LogSignaturePath
from nde.controls.log_signature import log_signature, lyndon_words, signature, word_coefficients
from nde.controls.missing import fill_forward, fill_linearly
from nde.controls.natural import NaturalCubicPath, natural_cubic_coefficients
from nde.controls.path import ControlPath, CubicPath

__all__ = [
    "ControlPath",
    "CubicPath",
    "HermiteCubicPath",
    "LinearPath",
    "LogSignaturePath",
    "NaturalCubicPath",
    "RectilinearPath",
    "check_series",
    "fill_forward",
    "fill_linearly",
    "hermite_cubic_coefficients",
    "log_signature",
    "lyndon_words",
    "natural_cubic_coefficients",
    "rectilinear_points",
    "signature",
    "word_coefficients",
]
