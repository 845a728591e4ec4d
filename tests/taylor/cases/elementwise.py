"""Cases of elementwise functions and of arithmetic."""

import math

import numpy
import torch

from tests.taylor.cases.case import Case, table

# away from kinks and poles; -3 .. 3 where a function is smooth everywhere
ANYWHERE = torch.tensor([[-2.6, -1.1, -0.35], [0.0, 0.8, 2.9]], dtype=torch.float64)
OFF_ZERO = torch.tensor([[-2.6, -1.1, -0.35], [0.2, 0.8, 2.7]], dtype=torch.float64)
POSITIVE = torch.tensor([[0.3, 0.7, 1.1], [1.4, 2.2, 5.0]], dtype=torch.float64)
WITHIN_ONE = torch.tensor([[-0.8, -0.3, 0.02], [0.1, 0.5, 0.7]], dtype=torch.float64)
WITHIN_HALF = 0.5 + 0.5 * WITHIN_ONE
EXPONENTS = torch.tensor([1.5, 2.0, -0.3], dtype=torch.float64)


def alone(op, x):
    return op(x)


def mean_of_cosines(x):
    """sin(pi x) / (pi x) as an integral, by 60 nodes of Gauss and Legendre."""
    nodes, weights = (torch.from_numpy(part) for part in numpy.polynomial.legendre.leggauss(60))
    return torch.cos(math.pi * x[..., None] * (nodes + 1) / 2) @ weights / 2


SMOOTH = [
    *("exp", "exp2", "expm1", "sin", "cos", "tanh", "sinh", "cosh", "sigmoid", "expit", "atan", "arctan", "asinh"),
    *("arcsinh", "erf", "erfc", "erfcx", "ndtr", "log_ndtr", "square", "deg2rad", "rad2deg", "neg", "negative"),
    *("positive", "silu", "gelu", "softplus", "logsigmoid", "mish", "tanhshrink"),
]
PIECEWISE = [
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "abs", "absolute", "softsign", "hardtanh", "softshrink"),
    *("hardshrink", "hardsigmoid", "hardswish", "frac", "reciprocal"),
]
ON_POSITIVE = [
    *("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "lgamma", "gammaln", "digamma", "psi", "entr"),
]
ON_ONE = ["asin", "arcsin", "acos", "arccos", "atanh", "arctanh", "erfinv", "tan"]

SECOND_DERIVATIVE = "torch's second derivative is missing, or rounded to single precision"

ELEMENTWISE = {
    **table(ANYWHERE, dict.fromkeys(SMOOTH, alone)),
    **table(OFF_ZERO, dict.fromkeys(PIECEWISE, alone)),
    **table(POSITIVE, dict.fromkeys(ON_POSITIVE, alone)),
    **table(1 + POSITIVE, {"acosh": alone, "arccosh": alone}),
    **table(WITHIN_ONE, dict.fromkeys(ON_ONE, alone)),
    **table(WITHIN_HALF, {"logit": alone, "ndtri": alone, "logit: eps": lambda op, x: op(x, 0.05)}),
    # torch.compile does not ask these two for overrides
    "hardsigmoid": Case(alone, OFF_ZERO, lambda x: (x / 6 + 0.5).clamp(0, 1), SECOND_DERIVATIVE, compiled=False),
    "hardswish": Case(alone, OFF_ZERO, lambda x: x * (x / 6 + 0.5).clamp(0, 1), SECOND_DERIVATIVE, compiled=False),
    "sinc": Case(
        lambda op, x: op(x) * op(x - 0.2),
        OFF_ZERO,
        lambda x: mean_of_cosines(x) * mean_of_cosines(x - 0.2),
        "NaN at zero",
    ),
    "ldexp": Case(
        lambda op, x: op(x, x.sin()) + op(x, torch.tensor([1, 2, -1])),
        OFF_ZERO,
        lambda x: x * (2 ** x.sin() + torch.tensor([2.0, 4.0, 0.5])),
        "torch's derivative computes powers of two in whole numbers",
    ),
    "celu": Case(
        lambda op, x: op(x, 1.3),
        OFF_ZERO,
        lambda x: torch.where(x > 0, x, 1.3 * torch.expm1(x / 1.3)),
        SECOND_DERIVATIVE,
    ),
    **table(
        OFF_ZERO,
        {
            "elu: alpha": lambda op, x: op(x, 1.3),
            "leaky_relu: slope": lambda op, x: op(x, 0.1),
            "hardtanh: bounds": lambda op, x: op(x, -0.5, 0.7) * x,
            "threshold": lambda op, x: op(x, 0.1, 7.0) * x,
            "prelu": lambda op, x: op(x, torch.tensor([0.2], dtype=torch.float64)) * x.exp(),
            "prelu: one for each channel": lambda op, x: op(x, EXPONENTS),
            "prelu: a slope that varies": lambda op, x: op(x, x[0].sin()),
            "clamp": lambda op, x: op(x, -1, 1).square() + op(x.sin(), max=0.5),
            "clamp: between functions": lambda op, x: op(x, -x.exp(), x.square()),
            "clip": lambda op, x: op(x, -1, 1).square(),
            "clamp_min": lambda op, x: op(x, 0.1) * x,
            "clamp_max": lambda op, x: op(x, 0.1) * x,
            "rrelu": lambda op, x: op(x),
            "copysign": lambda op, x: op(x.exp(), -x) + op(x, -1.0),
            "fmod": lambda op, x: op(x.exp(), 0.9) * op(x, 0.9),
            "maximum": lambda op, x: op(x.sin(), x.cos()) + op(x, torch.zeros(3, dtype=torch.float64)),
            "minimum": lambda op, x: op(x, x * x),
            "fmax": lambda op, x: op(x.sin(), x.cos()),
            "fmin": lambda op, x: op(x, x * x),
            "where": lambda op, x: op(x > 0, x.sin(), x.exp()) + op(x > 1, x, 2.0) * op(x > 1, 0.5, x),
            "Tensor.where": lambda op, x: op(x.sin(), x > 0, x.exp()),
            "masked_fill": lambda op, x: op(x.exp(), x > 1, 0.5),
            "nan_to_num": lambda op, x: op(x.exp() + torch.tensor([1.0, math.nan, 0.0]), nan=3.0) * x,
            "remainder": lambda op, x: op(x.exp(), 0.9) * x,
            "__rmod__": lambda op, x: op(torch.full_like(x, 0.9), x) * x,
            "__mod__": lambda op, x: op(x, 0.9) * x,
            "div": lambda op, x: op(x.sin(), x) + op(x, 3.0),
            "divide": lambda op, x: op(x.sin(), x),
            "true_divide": lambda op, x: op(x.sin(), x),
            "__truediv__": lambda op, x: op(x.sin(), x),
            "__rdiv__": lambda op, x: op(x, x.sin()) + op(x, 2.0),
            "pow": lambda op, x: op(x, 3) + op(x, 5) * op(x, -2) + op(x, 0) + op(x.exp(), 2.7),
            "float_power": lambda op, x: op(x, 3) + op(x.exp(), 0.5),
            "mul": lambda op, x: op(x, x.exp()) + op(x, x) + op(x, 3.0),
            "multiply": lambda op, x: op(x, x.exp()),
            "__mul__": lambda op, x: op(x, x.exp()),
            "__rmul__": lambda op, x: op(x, x.exp()),
        },
    ),
    **table(
        POSITIVE,
        {
            "pow: tensor": lambda op, x: op(x, EXPONENTS),
            "pow: both vary": lambda op, x: op(x, x.sin()),
            "__rpow__": lambda op, x: op(x.sin(), 1.7) + op(x, x.exp()),
            "polygamma": lambda op, x: op(1, x) + op(2, x),
            "Tensor.polygamma": lambda op, x: op(x, 1),
            "hypot": lambda op, x: op(x, x.sin()),
            "atan2": lambda op, x: op(x.sin(), -x.exp()),
            "arctan2": lambda op, x: op(-x.exp(), x.sin()) + op(x, torch.ones(3, dtype=torch.float64)),
            "logaddexp": lambda op, x: op(x, x.sin()) + op(x, EXPONENTS),
            "logaddexp2": lambda op, x: op(x, x.sin()),
            "multigammaln": lambda op, x: op(x + 1, 3),
            "mvlgamma": lambda op, x: op(x + 1, 3),
            "xlogy": lambda op, x: op(x.sin(), x) + op(x, EXPONENTS.square()),
            "xlog1py": lambda op, x: op(x.sin(), x),
            "addcmul": lambda op, x: op(x, x.sin(), x.exp(), value=0.7),
            "addcdiv": lambda op, x: op(x, x.sin(), x.exp(), value=0.7),
        },
    ),
    **table(
        ANYWHERE,
        {
            "gelu: tanh": lambda op, x: op(x, approximate="tanh"),
            "softplus: beta": lambda op, x: op(x, 2.0, 4.0),
            "add": lambda op, x: op(x.sin(), x.exp(), alpha=2) + op(x, 1.5),
            "__add__": lambda op, x: op(x.sin(), x.exp()),
            "__radd__": lambda op, x: op(x.sin(), x.exp()) + op(x, 2.0),
            "sub": lambda op, x: op(x.sin(), x.exp(), alpha=2) + op(x, 1.5),
            "subtract": lambda op, x: op(x.sin(), x.exp()),
            "__sub__": lambda op, x: op(x.sin(), x.exp()),
            "rsub": lambda op, x: op(x.sin(), x.exp(), alpha=2) + op(x, 1.5),
            "__rsub__": lambda op, x: op(x.sin(), x.exp()) + op(x, 2.0),
            "lerp": lambda op, x: op(x, x.sin(), 0.3) + op(x, x.exp(), x.cos()),
        },
    ),
}
