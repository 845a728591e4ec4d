"""Differential operators of functions and networks by Taylor-mode jets: exact, or estimated with a variance."""

from nde.taylor.operators.draws import LAWS, Draw, draw_directions
from nde.taylor.operators.envelope import Envelope
from nde.taylor.operators.equations import burgers, gradient_kdv, kdv, kdv_2d, kp
from nde.taylor.operators.estimate import Estimate
from nde.taylor.operators.expression import Expression
from nde.taylor.operators.first_layer import SharedLinear
from nde.taylor.operators.first_order import divergence, gradient
from nde.taylor.operators.high_order import biharmonic, diagonal
from nde.taylor.operators.losses import NonFiniteResidualError, squared_residual
from nde.taylor.operators.partials import linear_operator, partial_derivatives
from nde.taylor.operators.polarisation import Plan, Target, plan
from nde.taylor.operators.residual import Unknown, evaluate_expressions, expression_plan, unknowns
from nde.taylor.operators.second_order import laplacian, weighted_trace

__all__ = [
    # many dimensions
    "gradient", "divergence", "laplacian", "weighted_trace", "biharmonic", "diagonal",
    "Estimate", "Envelope", "SharedLinear", "LAWS", "Draw", "draw_directions",
    # any partial derivatives
    "partial_derivatives", "linear_operator", "Plan", "Target", "plan",
    # residuals
    "Expression", "Unknown", "unknowns", "evaluate_expressions", "expression_plan",
    "burgers", "kdv", "kdv_2d", "kp", "gradient_kdv",
    "NonFiniteResidualError", "squared_residual",
]  # fmt: skip
