"""Jets of several variables: gradings that tell multi-indices apart, and derivatives equal to nested ones."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nde.taylor.lower_sets import grading, lower_set, lower_set_jet, order_of

X = torch.tensor([[0.3, -0.8, 0.5], [-1.1, 0.4, 0.9]], dtype=torch.float64)


def nested(f, x, index):
    y = x.clone().requires_grad_()
    value = f(y)
    for variable, count in enumerate(index):
        for _ in range(count):
            (slope,) = torch.autograd.grad(value.sum(), y, create_graph=True)
            value = slope[..., variable]
    return value.detach()


def every_rule(z):
    """Products, quotients, recurrences, reductions, and a shape that changes."""
    a, b, c = z.unbind(-1)
    value = torch.tanh(a * b + c) / (2 + torch.cos(b)) + torch.sqrt(1 + a**2) * torch.softmax(z, -1)[..., 0]
    other = nn.functional.gelu(torch.stack([a, b.exp()], -1)).prod(-1) + torch.logsumexp(z * z, -1) + a**2.5 * 0
    return value * torch.sin(c) + other * torch.erf(b) + nn.functional.layer_norm(z, (3,))[..., 1]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sets(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=3))
def test_sums_of_multi_indices_keep_an_order_of_their_own(generators):
    indices = lower_set(generators)
    assert all(
        tuple(a - (k == v) for k, a in enumerate(index)) in indices for index in indices for v in range(3) if index[v]
    )
    orders = grading(indices, 10_000)
    assert orders is not None
    place = {order_of(index, orders): index for index in indices}
    assert len(place) == len(indices)
    for one, other in itertools.product(indices, repeat=2):
        total = order_of(one, orders) + order_of(other, orders)
        if total in place:
            assert place[total] == tuple(p + q for p, q in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "generators", [[(3, 1, 0), (0, 1, 1), (0, 2, 0)], [(4, 0, 0), (1, 0, 1)], [(1, 1, 1)], [(2, 2, 0)], [(0, 5, 0)]]
)
def test_all_derivatives_of_the_set_equal_nested_ones(generators):
    x = X.abs() + 0.1
    indices = lower_set(generators)
    orders = grading(indices, 64)
    terms = [(variable, order, 1.0) for variable, order in enumerate(orders) if order]
    kept = frozenset(order_of(index, orders) for index in indices)
    result = lower_set_jet(every_rule, x, terms, kept, max(map(sum, indices)))
    for index in indices:
        actual = result.coefficient(order_of(index, orders)) * math.prod(map(math.factorial, index))
        expected = nested(without_layer_norm, x, index)
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8 * float(1 + expected.abs().max()))


def without_layer_norm(z):
    """Return `every_rule`; torch's own derivatives of layer_norm are wrong from the third order on."""
    normalised = (z - z.mean(-1, True)) / (z.var(-1, False, True) + 1e-5).sqrt()
    return every_rule(z) - nn.functional.layer_norm(z, (3,))[..., 1] + normalised[..., 1]


def test_no_grading_is_returned_where_orders_would_get_too_high():
    assert grading(lower_set([(2,) * 8]), 64) is None
    assert grading(lower_set([(3, 1)]), 64) == (1, 7)
