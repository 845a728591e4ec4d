"""Taylor-mode derivatives: jets through unmodified PyTorch functions and modules."""

from nde.taylor.evaluate import jet
from nde.taylor.jet_type import Jet
from nde.taylor.registry import InPlaceError, MissingRuleError
from nde.taylor.seeds import OneHot

__all__ = ["InPlaceError", "Jet", "MissingRuleError", "OneHot", "jet"]
