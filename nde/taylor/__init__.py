"""Taylor-mode derivatives: jets through unmodified PyTorch functions and modules."""

from nde.taylor import operators
from nde.taylor.evaluate import jet
from nde.taylor.extension import register_derivative, register_linear, register_rule
from nde.taylor.jet_type import Jet
from nde.taylor.registry import InPlaceError, MissingRuleError, NonFiniteError, supported_operations
from nde.taylor.seeds import OneHot

__all__ = [
    "InPlaceError",
    "Jet",
    "MissingRuleError",
    "NonFiniteError",
    "OneHot",
    "jet",
    "operators",
    "register_derivative",
    "register_linear",
    "register_rule",
    "supported_operations",
]
