"""Cases of what sees the value alone: comparisons, steps, constants of a jet's shape, conversions."""

import torch

from tests.taylor.cases.case import Case, draw, table
from tests.taylor.cases.products import MATRIX

OTHER = draw(3, 4, seed=11)
TIMES = ["eq", "ne", "lt", "le", "gt", "ge", "not_equal", "less", "less_equal", "greater", "greater_equal", "isclose"]
SPECIAL = ["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"]
MORE = ["isreal", "isposinf", "isneginf", "fix", "bool", "int", "long", "short", "byte", "char"]
TESTS = ["isnan", "isinf", "isfinite", "signbit", "logical_not", "any", "all", "count_nonzero", "argmax", "argmin"]
STEPS = ["sign", "sgn", "floor", "ceil", "round", "trunc", "argsort"]
CONVERSIONS = ["clone", "contiguous", "double", "cpu"]


def compared(op, x):
    return op(x, OTHER).double() + op(x, x.exp()).double()


def tested(op, x):
    return op(x).double() * x


def constant(op, x):
    return torch.as_tensor(float(op(x)), dtype=torch.float64) * x


def shaped(op, x):
    return torch.ones(op(x).shape, dtype=torch.float64) * x


VALUES = table(
    MATRIX,
    {
        **dict.fromkeys([*TIMES, *SPECIAL], compared),
        **dict.fromkeys(["logical_and", "logical_or"], compared),
        **dict.fromkeys(TESTS, tested),
        **dict.fromkeys(STEPS, lambda op, x: op(x.exp() * 3) * x),
        **dict.fromkeys(["is_floating_point", "is_complex", "numel", "nelement", "is_contiguous"], constant),
        **dict.fromkeys(["element_size"], constant),
        "stride": lambda op, x: torch.tensor(op(x), dtype=torch.float64) * x.sum(),
        "get_device": constant,
        "equal": lambda op, x: torch.as_tensor(float(op(x, x)) + float(op(OTHER, x))).double() * x,
        "allclose": lambda op, x: torch.as_tensor(float(op(x, x)) + float(op(OTHER, x))).double() * x,
        "is_same_size": lambda op, x: torch.as_tensor(float(op(x, OTHER))).double() * x,
        "is_nonzero": lambda op, x: torch.as_tensor(float(op(x[0, 0]))).double() * x,
        "result_type": lambda op, x: torch.ones(3, 4, dtype=op(x, OTHER)) * x,
        "searchsorted": lambda op, x: op(torch.linspace(-2, 2, 9).double(), x).double() * x,
        "bucketize": lambda op, x: op(x, torch.linspace(-2, 2, 9).double()).double() * x,
        "detach": lambda op, x: op(x.sin()) * x,
        "zeros_like": tested,
        "ones_like": tested,
        "full_like": lambda op, x: op(x, 3.0) * x,
        "new_zeros": lambda op, x: op(x, (3, 4)) + x,
        "new_ones": lambda op, x: op(x, (3, 4)) * x,
        "new_full": lambda op, x: op(x, (3, 4), 2.0) * x,
        "new_empty": lambda op, x: torch.ones(op(x, (3, 4)).shape, dtype=torch.float64) * x,
        "new_tensor": lambda op, x: op(x, [2.0]) * x,
        **dict.fromkeys(CONVERSIONS, lambda op, x: op(x.sin()) * x),
        "to": lambda op, x: op(x.sin(), torch.float64) * op(x, OTHER),
        "type": lambda op, x: op(x.sin(), torch.float64),
        "type_as": lambda op, x: op(x.sin(), OTHER) * op(OTHER, x),
    },
)
VALUES |= table(
    MATRIX, dict.fromkeys(["rand_like", "randn_like", "empty_like"], shaped), vmapped=False
)  # a random value within vmap asks the user which one
VALUES |= {
    **table(
        MATRIX,
        {
            **dict.fromkeys(MORE, lambda op, x: op(3 + x.sin()).double() * x),
            **dict.fromkeys(["is_signed", "is_conj", "ndimension"], constant),
            "logical_xor": compared,
            "isin": lambda op, x: op(x.detach(), MATRIX[0]).double() * x + op(x, MATRIX[0]).double() * x,
        },
    ),
    **table(
        MATRIX,
        {
            "nonzero": lambda op, x: op(x.relu()).double().sum() * x,
            "argwhere": lambda op, x: op(x.relu()).double().sum() * x,
        },
        compiled=False,
    ),
    "to: whole numbers": Case(lambda op, x: op(3 * x, torch.int64) * x + x.type(torch.int64), MATRIX),
    "floor_divide": Case(
        lambda op, x: op(x.exp(), 0.3) * x, MATRIX, lambda x: torch.floor(x.exp() / 0.3) * x, "torch has no derivative"
    ),
    "__floordiv__": Case(
        lambda op, x: op(x.exp(), 0.3) * x, MATRIX, lambda x: torch.floor(x.exp() / 0.3) * x, "torch has no derivative"
    ),
    "__rfloordiv__": Case(
        lambda op, x: op(x.exp(), 3.0) * x, MATRIX, lambda x: torch.floor(3 / x.exp()) * x, "torch has no derivative"
    ),
    "heaviside": Case(
        lambda op, x: op(x, torch.tensor(0.5, dtype=torch.float64)) * x, MATRIX, torch.relu, "torch has no derivative"
    ),
    "cuda": Case(lambda op, x: (op(x) if torch.cuda.is_available() else x).to(x.device), MATRIX),
    "float": Case(lambda op, x: op(x.sin()).double() * x, MATRIX, rtol=1e-6),
    "half": Case(lambda op, x: op(x.sin()).double() * x, MATRIX, rtol=5e-3),
    "bfloat16": Case(lambda op, x: op(x.sin()).double() * x, MATRIX, rtol=5e-2),
}
