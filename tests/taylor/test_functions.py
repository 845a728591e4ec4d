"""Every elementwise rule against nested automatic differentiation, up to order 6."""

import pytest
import torch
import torch.nn.functional as F

import nde.taylor
from tests.taylor.reference import assert_equals_nested

# away from kinks and poles; -3 .. 3 where a function is smooth everywhere
ANYWHERE = torch.tensor([[-2.6, -1.1, -0.35], [0.0, 0.8, 2.9]], dtype=torch.float64)
OFF_ZERO = torch.tensor([[-2.6, -1.1, -0.35], [0.2, 0.8, 2.7]], dtype=torch.float64)
POSITIVE = torch.tensor([[0.3, 0.7, 1.1], [1.4, 2.2, 5.0]], dtype=torch.float64)
WITHIN_ONE = torch.tensor([[-0.8, -0.3, 0.0], [0.1, 0.5, 0.7]], dtype=torch.float64)

SMOOTH = {
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "sigmoid": torch.sigmoid,
    "special.expit": torch.special.expit,
    "atan": torch.atan,
    "asinh": torch.asinh,
    "erf": torch.erf,
    "erfc": torch.special.erfc,
    "square": torch.square,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu tanh": lambda z: F.gelu(z, approximate="tanh"),
    "softplus": F.softplus,
    "softplus beta": lambda z: F.softplus(z, 2.0, 4.0),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "tanhshrink": F.tanhshrink,
    "method": lambda z: z.tanh().add(1).mul(z.sin()),
    "neg": lambda z: -z,
    "pow 3": lambda z: z**3,
    "pow 5": lambda z: torch.pow(z, 5),
    "constant to the power": lambda z: 1.7**z,
    "lerp": lambda z: torch.lerp(z, z.sin(), 0.3),
}
PIECEWISE = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.1),
    "elu": lambda z: F.elu(z, 1.3),
    "selu": F.selu,
    "abs": torch.abs,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "threshold": lambda z: F.threshold(z, 0.1, 7.0),
    "clamp": lambda z: z.clamp(-1, 1).square(),
    "clamp_min": lambda z: z.clamp_min(0.1) * z,
    "maximum": lambda z: torch.maximum(z.sin(), z.cos()),
    "minimum": lambda z: torch.minimum(z, z * z),
    "where": lambda z: torch.where(z > 0, z.sin(), z.exp()),
    "where number": lambda z: torch.where(z > 0, z.sin(), 2.0),
    "masked_fill": lambda z: z.exp().masked_fill(z > 1, 0.5),
    "reciprocal": torch.reciprocal,
    "divide": lambda z: z.sin() / z,
    "divide number": lambda z: 3 / z + z / 3,
    "pow -2": lambda z: z**-2,
    "remainder": lambda z: torch.remainder(z, 0.9),
    "frac": torch.frac,
    "nan_to_num": lambda z: torch.nan_to_num(z.exp()),
}
ON_POSITIVE = {
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "pow 0.5": lambda z: z**0.5,
    "pow -0.5": lambda z: z**-0.5,
    "pow 2.7": lambda z: z**2.7,
    "pow tensor": lambda z: z ** torch.tensor([1.5, 2.0, -0.3], dtype=torch.float64),
    "pow jet": lambda z: z**z,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
    "polygamma": lambda z: torch.special.polygamma(1, z),
    "hypot": lambda z: torch.hypot(z, z.sin()),
    "atan2": lambda z: torch.atan2(z.sin(), -z.exp()),
    "logaddexp": lambda z: torch.logaddexp(z, z.sin()),
    "acosh": lambda z: torch.acosh(1 + z),
    "addcmul": lambda z: torch.addcmul(z, z.sin(), z.exp(), value=0.7),
    "addcdiv": lambda z: torch.addcdiv(z, z.sin(), z.exp(), value=0.7),
}
ON_ONE = {"asin": torch.asin, "acos": torch.acos, "atanh": torch.atanh, "erfinv": torch.erfinv, "tan": torch.tan}

CASES = [
    *((name, function, ANYWHERE) for name, function in SMOOTH.items()),
    *((name, function, OFF_ZERO) for name, function in PIECEWISE.items()),
    *((name, function, POSITIVE) for name, function in ON_POSITIVE.items()),
    *((name, function, WITHIN_ONE) for name, function in ON_ONE.items()),
]


@pytest.mark.slow  # further arguments and shapes: test_every_rule has a case of each operation
@pytest.mark.parametrize(("function", "x"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_coefficients_equal_nested_differentiation_to_order_six(function, x):
    assert_equals_nested(function, x)


# torch's own second derivative of these is missing, or rounded to single precision
BY_FORMULA = {
    "hardsigmoid": (F.hardsigmoid, lambda z: (z / 6 + 0.5).clamp(0, 1)),
    "hardswish": (F.hardswish, lambda z: z * (z / 6 + 0.5).clamp(0, 1)),
    "celu": (lambda z: F.celu(z, 1.3), lambda z: torch.where(z > 0, z, 1.3 * torch.expm1(z / 1.3))),
}


@pytest.mark.parametrize(("function", "formula"), BY_FORMULA.values(), ids=BY_FORMULA)
def test_coefficients_equal_those_of_the_formula(function, formula):
    assert_equals_nested(formula, OFF_ZERO)
    seeds = [torch.full_like(OFF_ZERO, 0.7), torch.full_like(OFF_ZERO, -0.2)]
    actual, expected = (nde.taylor.jet(f, OFF_ZERO, seeds, order=6) for f in (function, formula))
    torch.testing.assert_close(actual.primal, function(OFF_ZERO), rtol=1e-12, atol=1e-12)
    for one, other in zip(actual.coefficients, expected.coefficients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_whole_powers_are_right_at_zero_where_logarithms_are_not():
    zero = torch.zeros(2, dtype=torch.float64)
    result = nde.taylor.jet(lambda z: z**3, zero, torch.ones_like(zero), order=4)
    torch.testing.assert_close(torch.stack(result.coefficients)[:, 0], torch.tensor([0.0, 0, 0, 1, 0]).double())
    result = nde.taylor.jet(lambda z: z**2.5, zero, torch.ones_like(zero), order=2)
    assert torch.equal(torch.stack(result.coefficients), torch.zeros(3, 2, dtype=torch.float64))
