"""Compositions drawn by hypothesis against nested automatic differentiation."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.taylor.reference import assert_equals_nested

WEIGHT = torch.linspace(-0.9, 1.1, 9, dtype=torch.float64).reshape(3, 3)
UNARY = [
    torch.tanh,
    torch.sin,
    torch.cos,
    torch.sigmoid,
    torch.atan,
    torch.nn.functional.silu,
    torch.nn.functional.softplus,
    torch.nn.functional.gelu,
    lambda z: torch.exp(-z * z),
    lambda z: 1 / (1 + z**2),
    lambda z: torch.sqrt(1 + z**2),
    lambda z: torch.log(2 + torch.sin(z)),
    lambda z: torch.softmax(z, -1),
    lambda z: z @ WEIGHT,
    lambda z: torch.nn.functional.linear(z, WEIGHT, WEIGHT[0]),
    lambda z: z.mean(-1, keepdim=True) - z,
    lambda z: torch.cat([z[..., 1:], z[..., :1]], -1),
    lambda z: z.reshape(3, 2).mT.reshape(2, 3),
    lambda z: z.flip(0),
]
BINARY = [torch.add, torch.sub, torch.mul, lambda a, b: a / (2 + torch.cos(b)), lambda a, b: (a @ b.mT) @ a]


@st.composite
def functions(draw):
    """A list of steps on a stack of two values."""
    step = st.tuples(st.integers(0, len(UNARY) - 1), st.integers(-1, len(BINARY) - 1))
    steps = draw(st.lists(step, min_size=1, max_size=4))

    def function(x):
        value, other = x, x
        for unary, binary in steps:
            transformed = UNARY[unary](value)
            value, other = (transformed if binary < 0 else BINARY[binary](transformed, other)), value
        return value

    return function


@settings(max_examples=25, deadline=None, derandomize=True)
@given(functions(), st.integers(0, 2**20), st.integers(2, 6))
def test_coefficients_of_compositions_equal_nested_differentiation(function, seed, order):
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert_equals_nested(function, x, order=order, rtol=1e-7, seed=seed)
