"""Differential expressions and partial derivatives equal nested automatic differentiation, term by term."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch import nn

from nde.taylor.operators import (
    Unknown,
    burgers,
    evaluate_expressions,
    expression_plan,
    gradient_kdv,
    kdv,
    kdv_2d,
    kp,
    linear_operator,
    partial_derivatives,
    unknowns,
)
from tests.taylor.operators.oracles import derivatives, mixed, network, points


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-9)


def table(net, x, names, letters):
    """Partial derivatives by name, by nested automatic differentiation."""
    found = {}
    for name in names.split():
        index = tuple(name.count(letter) for letter in letters)
        found[name] = mixed(net, x, index).squeeze(-1)
    return found


def test_all_partial_derivatives_of_two_variables_up_to_order_five():
    net, x = network(2, 2), points(2, 2)
    indices = [index for index in itertools.product(range(6), repeat=2) if sum(index) <= 5]
    ours = partial_derivatives(net, x, indices)
    for order in range(1, 6):
        tensor = derivatives(net, x, order)
        for index, value in zip(indices, ours, strict=True):
            if sum(index) == order:
                close(value, tensor[(..., *[0] * index[0], *[1] * index[1])])
    close(ours[indices.index((0, 0))], net(x))


def test_all_partial_derivatives_of_three_variables_up_to_order_three():
    net, x = network(3), points(2, 3)
    for index in itertools.product(range(4), repeat=3):
        if 1 <= sum(index) <= 3:
            close(partial_derivatives(net, x, [index])[0], mixed(net, x, index))


def test_strings_name_derivatives_and_outputs_keep_their_shape():
    net, x = network(2), points(3, 2)
    mixed_second, value, same = partial_derivatives(net, x, ["xt", "", "tx"], coordinates="xt")
    close(mixed_second, mixed(net, x, (1, 1)))
    close(value, net(x))
    close(same, mixed_second)


def test_a_linear_operator_equals_the_sum_of_its_terms():
    net, x = network(2), points(3, 2)
    terms = {"xxxx": 1, "xxyy": 2, "yyyy": 1, "xy": Fraction(1, 3), "y": -2, "": 5}
    expected = sum(
        float(value) * (mixed(net, x, (name.count("x"), name.count("y"))) if name else net(x))
        for name, value in terms.items()
    )
    close(linear_operator(net, x, terms, coordinates="xy"), expected)


def test_burgers_and_its_parameter_gradients():
    net, x = network(2), points(4, 2)
    d = table(net, x, "x t xx", "xt")
    expected = d["t"] + net(x).squeeze(-1) * d["x"] - 0.3 * d["xx"]
    residual = burgers(0.3)(net, x)
    close(residual, expected)
    ours = torch.autograd.grad(residual.square().sum(), net.parameters())
    theirs = torch.autograd.grad(expected.square().sum(), net.parameters())
    for left, right in zip(ours, theirs, strict=True):
        close(left, right)


def test_kdv_kp_and_the_gradient_enhanced_residual():
    net, x = network(3), points(2, 3)
    u = net(x).squeeze(-1)
    d = table(net, x, "x y t xx yy xy ty tx xxx xxxx xxxy", "xyt")
    expected = d["ty"] + d["xxxy"] + 3 * (d["xy"] * d["x"] + d["y"] * d["xx"]) - d["xx"] + 2 * d["yy"]
    close(kdv_2d()(net, x), expected)
    expected = d["tx"] + 6 * d["x"] ** 2 + 6 * u * d["xx"] + d["xxxx"] + 3 * 0.7 * d["yy"]
    close(kp(0.7)(net, x), expected)
    net, x = network(2), points(2, 2)
    u = net(x).squeeze(-1)
    d = table(net, x, "x t xx tx tt xxx xxxx txxx", "xt")
    close(kdv(0.2, 3)(net, x), d["t"] + 3 * u * d["x"] + 0.2 * d["xxx"])
    residual, by_x, by_t = evaluate_expressions(gradient_kdv(0.2), net, x)
    close(residual, d["t"] + u * d["x"] + 0.2 * d["xxx"])
    close(by_x, d["tx"] + d["x"] ** 2 + u * d["xx"] + 0.2 * d["xxxx"])
    close(by_t, d["tt"] + d["t"] * d["x"] + u * d["tx"] + 0.2 * d["txxx"])


def test_systems_of_several_unknowns_share_their_jets():
    net, x = network(3, 3), points(4, 3)
    u, v, p = unknowns(3, "xyt")
    continuity, momentum = u.x + v.y, u.t + u * u.x + v * u.y + p.x - (u.xx + u.yy) / 10
    slope, hessian = derivatives(net, x, 1), derivatives(net, x, 2)
    values = net(x)
    ours = evaluate_expressions((continuity, momentum), net, x)
    close(ours[0], slope[:, 0, 0] + slope[:, 1, 1])
    convection = values[:, 0] * slope[:, 0, 0] + values[:, 1] * slope[:, 0, 1]
    diffusion = (hessian[:, 0, 0, 0] + hessian[:, 0, 1, 1]) / 10
    close(ours[1], slope[:, 0, 2] + convection + slope[:, 2, 0] - diffusion)


def test_functions_sources_coordinates_and_trained_coefficients():
    net, x = network(2), points(4, 2)
    u = Unknown("xt")
    speed = nn.Parameter(torch.tensor(0.7, dtype=x.dtype))
    source = u.given(lambda y: torch.sin(y[:, 0]))
    expression = torch.exp(u) * u.x**2 / (2 + u**2) - speed * torch.sin(u.x) + source + u.coordinate("t") * u.t - 1
    value, d = net(x).squeeze(-1), table(net, x, "x t", "xt")
    expected = (
        value.exp() * d["x"] ** 2 / (2 + value**2)
        - speed * torch.sin(d["x"])
        + torch.sin(x[:, 0])
        + x[:, 1] * d["t"]
        - 1
    )
    close(expression(net, x), expected)
    ours, theirs = (torch.autograd.grad(r.sum(), speed)[0] for r in (expression(net, x), expected))
    close(ours, theirs)
    close((speed * u.x)(net, x), speed * d["x"])
    close((1 / (3 + u.x**2))(net, x), 1 / (3 + d["x"] ** 2))
    close((2 - u)(net, x), 2 - value)


def test_symbolic_derivatives_follow_product_and_chain_rule():
    net, x = network(2), points(3, 2)
    u = Unknown("xt")
    functions = [torch.sin, torch.cos, torch.exp, torch.tanh, torch.sinh, torch.cosh, torch.square]
    total = sum(function(u) * u.x / (4 + u**2) for function in functions)
    total = total + torch.log(5 + u**2) + torch.sqrt(5 + u**2) + u.coordinate("x") ** 2 * u

    def by_hand(y):
        value = net(y).squeeze(-1)
        slope = derivatives(net, y.unsqueeze(0), 1)[0, 0, 0]
        result = sum(function(value) for function in functions) * slope / (4 + value**2)
        return result + torch.log(5 + value**2) + torch.sqrt(5 + value**2) + y[0] ** 2 * value

    slopes = torch.func.vmap(torch.func.jacrev(by_hand))(x)
    close(total.x(net, x), slopes[:, 0])
    close(total.t(net, x), slopes[:, 1])
    second = torch.func.vmap(torch.func.hessian(by_hand))(x)
    close(total.xt(net, x), second[:, 0, 1])


def test_names_of_several_letters_and_constants():
    net, x = network(2), points(3, 2)
    u = Unknown(("x1", "x2"))
    close(u.d("x1", "x2", "x2")(net, x), mixed(net, x, (1, 2)).squeeze(-1))
    u = Unknown("xy")
    close((u.x - u.x)(net, x), torch.zeros(3, dtype=x.dtype))
    close(u.coordinate("x").x(net, x), torch.ones(3, dtype=x.dtype))


def test_linear_terms_are_planned_as_one_operator():
    u = Unknown("xy")
    assert len(expression_plan(u.xx + 2 * u.xy + u.yy).directions) == 1
    assert len(expression_plan(u.xxxx + 2 * u.xxyy + u.yyyy - u).directions) == 4


def test_outputs_with_and_without_the_axis_of_one_and_any_leading_axes():
    net, x = network(2), points(6, 2)
    u = Unknown("xt")
    expression = u.t - u * u.xx
    plain = expression(net, x)
    assert plain.shape == (6,)
    close(expression(lambda y: net(y).squeeze(-1), x), plain)
    close(expression(net, x.reshape(2, 3, 2)).reshape(6), plain)


def test_bad_expressions_and_points_are_named():
    net, x = network(2), points(3, 2)
    u = Unknown("xt")
    with pytest.raises(AttributeError, match="no attribute 'y'"):
        _ = u.y
    with pytest.raises(ValueError, match="'z' is not a coordinate"):
        u.d("z")
    with pytest.raises(ValueError, match="distinct names"):
        Unknown("xx")
    with pytest.raises(ValueError, match="cannot be called 'd'"):
        Unknown("xd")
    with pytest.raises(ValueError, match="different coordinates"):
        u + Unknown("xyt")
    with pytest.raises(TypeError, match=r"u\.given"):
        u + "x"
    with pytest.raises(TypeError, match="exponent must be a number"):
        u**u
    with pytest.raises(NotImplementedError, match="derivative of relu"):
        _ = torch.relu(u).x
    with pytest.raises(NotImplementedError, match="given function"):
        _ = (u * u.given(lambda y: y[:, 0])).x
    with pytest.raises(ValueError, match="2 coordinates \\('x', 't'\\)"):
        u.x(network(3), points(3, 3))
    with pytest.raises(ValueError, match=r"unknowns\(2"):
        u.x(network(2, 2), x)
    with pytest.raises(ValueError, match="component 2"):
        unknowns(3, "xt")[2].x(network(2, 2), x)
    with pytest.raises(ValueError, match="given function must return"):
        (u + u.given(lambda y: y[:, :1]))(net, x)
    with pytest.raises(ValueError, match="count must be at least 1"):
        unknowns(0, "x")
    with pytest.raises(TypeError, match="must be floating"):
        u.x(net, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="'z'"):
        partial_derivatives(net, x, ["xz"], coordinates="xt")
    with pytest.raises(ValueError, match="name the 2 coordinates"):
        partial_derivatives(net, x, ["x"], coordinates="xyt")
    with pytest.raises(ValueError, match="must have 2 entries"):
        partial_derivatives(net, x, [(1, 0, 1)])
    with pytest.raises(TypeError, match="Fraction"):
        linear_operator(net, x, {"x": 0.5}, coordinates="xt")
