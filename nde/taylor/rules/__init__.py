"""Rules by family; importing this package fills the table in `nde.taylor.registry`."""

from nde.taylor.rules import (
    activations,
    algebra,
    attention,
    elementwise,
    functions,
    indexing,
    linear,
    normalization,
    piecewise,
    powers,
    products,
    reductions,
    shapes,
)

__all__ = [
    "activations",
    "algebra",
    "attention",
    "elementwise",
    "functions",
    "indexing",
    "linear",
    "normalization",
    "piecewise",
    "powers",
    "products",
    "reductions",
    "shapes",
]
