"""One curve for all derivatives: what shares an order is read exactly, and as few orders are carried as can be."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nde.taylor.operators import Unknown, evaluate_expressions, gradient_kdv, kdv, kdv_2d, kp
from nde.taylor.operators.curves import cheapest_curve
from nde.taylor.operators.partials import evaluate_forms
from nde.taylor.operators.residual import _compiled
from tests.taylor.test_lower_sets import X, every_rule, nested, without_layer_norm

_u = Unknown("xt")
_w = Unknown("xyt")


def form(**factors):
    """A sum of derivatives in (x, y, t) by the letters of each."""
    return tuple(sorted((tuple(map(name.count, "xyt")), Fraction(value)) for name, value in factors.items()))


def smooth(z):
    a, b, c = z.unbind(-1)
    return torch.tanh(a * b + c) / (2 + torch.cos(b)) + torch.exp(a * c - b * b / 4) * torch.sqrt(2 + torch.sin(a + c))


FORMS = {
    "2-D KdV": [form(ty=1, xxxy=1, yy=2, xx=-1), form(x=1), form(y=1), form(xy=1), form(xx=1)],
    "KP": [form(tx=1, xxxx=1, yy=3), form(x=1), form(xx=1)],
    "gradients of KdV": [form(t=1, xxx=-0.25), form(xt=1, xxxx=-0.25), form(tt=1, xxxt=-0.25), form(x=1), form(t=1)],
    "heat": [form(t=1, xx=-0.3, yy=-0.3)],
    "two sums that share nothing": [form(t=1, xx=3), form(y=2, xxx=-1)],
    "one derivative in two sums": [form(t=1, xx=3), form(t=1, xx=-1)],
    "a sum with a part of it": [form(xt=1, xxx=2), form(xt=1)],
    "very unequal factors": [form(t=1, xx=-1e-4), form(x=1)],
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("function", [smooth, every_rule])
def test_every_form_equals_nested_differentiation(name, function):
    by_autograd = without_layer_norm if function is every_rule else function
    x = X.abs() + 0.1
    curve = cheapest_curve(tuple(FORMS[name]), 40)
    value, values = evaluate_forms(function, x, FORMS[name], curve)
    torch.testing.assert_close(value, function(x))
    for wanted, actual in zip(FORMS[name], values, strict=True):
        terms = [float(factor) * nested(by_autograd, x, index) for index, factor in wanted]
        scale = float(sum(term.abs().max() for term in terms))  # what is summed may cancel
        torch.testing.assert_close(actual, sum(terms), rtol=1e-8, atol=1e-8 * (1 + scale))


indices = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)).filter(lambda index: 0 < sum(index) < 5)
factors = st.sampled_from([Fraction(1), Fraction(-2), Fraction(1, 3), Fraction(0.7)])


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(indices, factors, min_size=1, max_size=3), min_size=1, max_size=4))
def test_random_forms_equal_nested_differentiation(drawn):
    forms = list(dict.fromkeys(tuple(sorted(terms.items())) for terms in drawn))
    curve = cheapest_curve(tuple(forms), 60)
    assume(curve is not None)
    x = X[:1].abs() + 0.1
    values = evaluate_forms(smooth, x, forms, curve)[1]
    for wanted, actual in zip(forms, values, strict=True):
        terms = [float(factor) * nested(smooth, x, index) for index, factor in wanted]
        scale = float(sum(term.abs().max() for term in terms))
        torch.testing.assert_close(actual, sum(terms), rtol=1e-9, atol=1e-9 * (1 + scale))


@pytest.mark.parametrize(
    ("expressions", "coefficients"),
    [
        ((kdv(),), 4),  # u, u_x, u_xx, u_t + u_xxx
        ((_u.t + _u * _u.x - 0.01 / math.pi * _u.xx,), 3),  # u, u_x, the rest
        ((_u.t + _u * _u.x + _u.xx + _u.xxxx,), 5),  # up to u_xxxx, with u_t
        ((kdv_2d(),), 8),  # u, x, xx, {xxx, t, y}, y, xy, xxy, the rest
        ((kp(),), 7),  # u, x, xx, {xxx, t}, {xxxx, tx}, y, yy
        (gradient_kdv(), 9),  # u, x, xx, {xxx, t}, {xxxx, xt}, t, xt, xxt, {xxxt, tt}
        ((_w.t - _w.xx - _w.yy,), 5),  # u, x, {xx, t}, y, yy
    ],
)
def test_what_is_wanted_as_a_sum_costs_one_coefficient(expressions, coefficients):
    assert len(_compiled(tuple(expressions))[1].kept) == coefficients


def test_trained_coefficients_are_not_mixed_into_the_curve():
    speed = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    expression = _u.t - speed * _u.xx
    x = X[:, :2]
    forms = _compiled((expression,))[0]
    assert set(forms) == {(((0, 1), 1),), (((2, 0), 1),)}

    def function(z):
        return torch.sin(z[..., 0] * z[..., 1])

    (slope,) = torch.autograd.grad(expression(function, x).sum(), speed)
    torch.testing.assert_close(slope, -nested(function, x, (2, 0)).sum())


def test_factors_that_rounding_would_not_bear_stay_apart():
    forms = (form(t=1, xx=1e-9), form(x=1))
    curve = cheapest_curve(forms, 40)
    assert all(seed.scale == 1 for seed in curve.seeds) and len(curve.kept) == 4


def test_gradients_flow_to_parameters_through_shared_orders():
    weight = torch.tensor([0.4, -0.7, 1.1], dtype=torch.float64, requires_grad=True)
    expressions = gradient_kdv(0.5)
    x = X[:, :2]

    def function(z):
        return torch.tanh(weight[0] * z[..., 0] + weight[1] * z[..., 1] * z[..., 0] + weight[2])

    def loss():
        return sum(value.square().sum() for value in evaluate_expressions(expressions, function, x))

    (actual,) = torch.autograd.grad(loss(), weight)
    for k in range(3):
        with torch.no_grad():
            weight[k] += 1e-6
            above = loss()
            weight[k] -= 2e-6
            below = loss()
            weight[k] += 1e-6
        torch.testing.assert_close(actual[k], (above - below) / 2e-6, rtol=1e-6, atol=1e-6)


def test_none_is_returned_where_more_orders_are_needed_than_allowed():
    assert cheapest_curve((form(xxx=1), form(yyy=1)), 4) is None
