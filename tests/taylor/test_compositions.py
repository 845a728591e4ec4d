"""Compositions drawn by hypothesis against nested automatic differentiation, in both precisions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nde.taylor import OneHot, jet
from tests.taylor.cases.checks import close
from tests.taylor.reference import assert_equals_nested

WEIGHT = torch.linspace(-0.9, 1.1, 9, dtype=torch.float64).reshape(3, 3)
KERNEL = torch.linspace(-0.7, 0.8, 12, dtype=torch.float64).reshape(2, 2, 3)
MASK = torch.tensor([[True, False, True], [False, True, True]])  # a condition on values would split at ties
WHERE = torch.tensor([[0, 2, 1], [1, 1, 0]])


def constant(tensor, like):
    return tensor.to(like.dtype)


def linear(z):
    return torch.nn.functional.linear(z, constant(WEIGHT, z), constant(WEIGHT[0], z))


def convolved(z):
    return torch.nn.functional.conv1d(z[None], constant(KERNEL, z), padding=1)[0]


def attention(z):
    return torch.nn.functional.scaled_dot_product_attention(z, linear(z), torch.tanh(z))


def solved(z):
    definite = 2 * torch.eye(2, dtype=z.dtype) + 0.2 * torch.tanh(z) @ torch.tanh(z).mT
    return torch.linalg.solve(definite, z) / (1 + torch.logdet(definite))


def layer_norm(z):
    # torch's own derivatives of its layer norm are wrong from the third order on
    return (z - z.mean(-1, True)) / (z.var(-1, keepdim=True) + 0.5).sqrt()


FUNCTIONS = [
    *(torch.tanh, torch.sin, torch.cos, torch.sigmoid, torch.atan, torch.erf, torch.asinh),
    *(torch.nn.functional.silu, torch.nn.functional.softplus, torch.nn.functional.gelu, torch.nn.functional.mish),
    lambda z: torch.exp(-z * z),
    lambda z: 1 / (1 + z**2),
    lambda z: torch.sqrt(1 + z**2),
    lambda z: (2 + torch.sin(z)) ** 0.3,
    lambda z: torch.log(2 + torch.sin(z)),
    lambda z: torch.special.log_ndtr(2 * torch.sin(z)),  # far on the left its rounding grows with z^2
]
LAYERS = [
    lambda z: z @ constant(WEIGHT, z),
    *(linear, convolved, attention, solved, layer_norm),
    lambda z: torch.softmax(z, -1),
    lambda z: torch.log_softmax(z, 0),
    lambda z: torch.nn.functional.rms_norm(z, (3,), eps=0.3),
    lambda z: torch.einsum("bi,bj,ij->bj", z, torch.tanh(z), constant(WEIGHT, z)),
]
SHAPES = [
    lambda z: torch.cat([z[..., 1:], z[..., :1]], -1),
    lambda z: z.reshape(3, 2).mT.reshape(2, 3),
    lambda z: z.flip(0),
    lambda z: z.roll(1, 1),
    lambda z: z[:, [2, 0, 0]],
    lambda z: z.gather(1, WHERE),
    lambda z: torch.scatter_add(z, 1, WHERE, torch.sin(z)),
    lambda z: torch.nn.functional.pad(z, (1, 0, 0, 1))[1:, :3] + z,
    lambda z: torch.stack(z.unbind(1)[::-1], 1),
    lambda z: torch.fft.irfft(torch.fft.rfft(z) * 0.5j, n=3),
]
REDUCTIONS = [
    lambda z: z.mean(-1, keepdim=True) - z,
    lambda z: z.cumsum(1),
    lambda z: torch.logsumexp(z, 1, keepdim=True) + z,
    lambda z: z / (1 + z.square().sum(-1, keepdim=True)).sqrt(),
    lambda z: torch.cumprod(torch.tanh(z), 1),
    lambda z: z * torch.sin(z).prod(1, keepdim=True),
]
UNARY = [*FUNCTIONS, *LAYERS, *SHAPES, *REDUCTIONS]
BINARY = [
    *(torch.add, torch.sub, torch.mul, torch.logaddexp),
    lambda a, b: a / (2 + torch.cos(b)),
    lambda a, b: (a @ b.mT) @ a,
    lambda a, b: torch.where(MASK, a, b * 0.5),
    lambda a, b: torch.hypot(a, 1 + torch.sigmoid(b)),
]


def tamed(z):
    """Values of size one: where a sigmoid is saturated by its slope times 1e3, its derivatives are differences."""
    return z / z.detach().abs().amax().clamp_min(1.0)


@st.composite
def functions(draw):
    """A list of steps on a stack of two values."""
    family = st.sampled_from([FUNCTIONS, LAYERS, SHAPES, REDUCTIONS])
    step = st.tuples(family.flatmap(st.sampled_from), st.one_of(st.none(), st.sampled_from(BINARY)))
    steps = draw(st.lists(step, min_size=1, max_size=4))

    def function(x):
        value, other = x, x
        for unary, binary in steps:
            transformed = unary(value)
            value, other = tamed(transformed if binary is None else binary(transformed, other)), value
        return value

    return function


def point(seed):
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(functions(), st.integers(0, 2**20), st.integers(1, 6))
def test_coefficients_of_compositions_equal_nested_differentiation(function, seed, order):
    assert_equals_nested(function, point(seed), order=order, rtol=1e-7, seed=seed)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(functions(), st.integers(0, 2**20), st.integers(1, 6), st.booleans())
def test_single_precision_gives_the_coefficients_of_double_precision(function, seed, order, collapse):
    x = point(seed).float().double()
    options = {"order": max(order, 2) if collapse else order, "collapse": collapse}
    seeds = OneHot(torch.tensor([2, 0]))
    single, double = (jet(function, value, seeds, **options) for value in (x.float(), x))
    # a coefficient of order k is a sum of products of k + 1 lower ones, each rounded to 6e-8, through up to ten
    # operations, some of which cancel; the largest coefficient is the scale of what is rounded
    scale = max(1.0, *(float(c.abs().max()) for c in double.coefficients))
    for one, other in zip(single.coefficients, double.coefficients, strict=True):
        assert one.dtype == torch.float32
        close(one.double(), other, 2e-5, scale)
