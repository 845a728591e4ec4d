"""The unbiased squared loss, and what estimates and operators say of bad input."""

import itertools

import pytest
import torch
from torch import nn

from nde.taylor.operators import (
    Draw,
    Envelope,
    Estimate,
    NonFiniteResidualError,
    SharedLinear,
    biharmonic,
    diagonal,
    divergence,
    gradient,
    laplacian,
    second_order,
    squared_residual,
    weighted_trace,
)
from tests.taylor.operators.oracles import network, points


def test_the_gradient_of_the_two_draw_loss_is_unbiased_over_all_draws(monkeypatch):
    """Over all ordered subsets the mean gradient is that of the exact loss; that of the plain square is not."""
    net, x = network(4), points(3, 4)
    source = torch.randn(3, 1, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    parameters = list(net.parameters())
    exact = torch.autograd.grad(squared_residual(laplacian(net, x) + torch.sin(net(x)) - source), parameters)
    for size in (2, 4):
        subsets = list(itertools.permutations(range(4), size))
        losses, plain = [], []
        for subset in subsets:
            draw = Draw(4, torch.tensor(subset), None, 2, size / 4)
            monkeypatch.setattr(second_order, "draw_directions", lambda *args, draw=draw: draw)
            estimate = laplacian(net, x, mode="sparse", samples=size, groups=2) + torch.sin(net(x)) - source
            losses.append(squared_residual(estimate))
            plain.append(squared_residual(estimate, unbiased=False))
        mean = torch.autograd.grad(torch.stack(losses).mean(), parameters, retain_graph=True)
        for ours, theirs in zip(mean, exact, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
        if size == 2:
            biased = torch.autograd.grad(torch.stack(plain).mean(), parameters)
            assert (biased[0] - exact[0]).abs().max() > 0.01 * exact[0].abs().max()


def test_of_two_independent_draws_the_square_is_their_product():
    net, x = network(4), points(3, 4)
    generator = torch.Generator().manual_seed(1)
    estimate = laplacian(net, x, mode="gaussian", samples=4, groups=2, generator=generator) - 0.3
    torch.testing.assert_close(estimate.square, estimate.parts[0] * estimate.parts[1])


def test_weights_scale_the_squares():
    residual = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    weights = torch.tensor([1.0, 0.0, 2.0])
    assert squared_residual(residual, weights=weights).item() == pytest.approx(19 / 3)
    with pytest.raises(ValueError, match="weights must have the shape"):
        squared_residual(residual, weights=torch.ones(2))


def test_estimates_keep_their_variance_under_arithmetic():
    parts = torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    estimate = Estimate(parts, torch.zeros(2), 0.0)
    shift = torch.tensor([10.0, 20.0])
    torch.testing.assert_close(estimate.variance, torch.tensor([1.0, 9.0]))
    for shifted in (estimate + shift, shift + estimate, estimate - shift, shift - estimate, -estimate):
        torch.testing.assert_close(shifted.variance, estimate.variance)
    torch.testing.assert_close((shift - estimate).value, shift - estimate.value)
    torch.testing.assert_close((estimate * shift).variance, estimate.variance * shift.square())
    torch.testing.assert_close((estimate / 2).value, estimate.value / 2)
    exact = Estimate(torch.ones(1, 2), torch.zeros(2), 1.0)
    torch.testing.assert_close((estimate + exact).variance, estimate.variance)
    torch.testing.assert_close((exact - estimate).value, 1 - estimate.value)
    torch.testing.assert_close((estimate - estimate).value, torch.zeros(2))
    torch.testing.assert_close(estimate[1].value, estimate.value[1])


def test_estimates_refuse_what_would_be_wrong():
    estimate = Estimate(torch.zeros(2, 5, 1), torch.zeros(5, 1), 0.0)
    with pytest.raises(ValueError, match="met a tensor of the shape"):
        estimate + torch.zeros(5)
    with pytest.raises(TypeError, match="product of two estimates"):
        estimate * estimate
    with pytest.raises(TypeError, match="quotient of two estimates"):
        estimate / estimate
    with pytest.raises(ValueError, match="2 and 3 groups"):
        estimate + Estimate(torch.zeros(3, 5, 1), torch.zeros(5, 1), 0.0)
    with pytest.raises(ValueError, match="different kinds of draws"):
        estimate + Estimate(torch.zeros(2, 5, 1), torch.zeros(5, 1), 0.5)
    with pytest.raises(ValueError, match="groups=2"):
        _ = Estimate(torch.zeros(1, 5), torch.zeros(5), 0.0).variance


def test_residuals_that_are_not_finite_or_have_no_gradient_are_named():
    residual = torch.tensor([1.0, float("nan"), float("inf")], requires_grad=True)
    with pytest.raises(NonFiniteResidualError, match="2 of 3 points, the first of which is 1") as caught:
        squared_residual(residual)
    assert caught.value.points.tolist() == [1, 2]
    with pytest.raises(ValueError, match="no gradient"):
        squared_residual(torch.ones(3))
    with torch.no_grad():
        assert squared_residual(torch.ones(3)).item() == 1.0
    net, x = network(3), points(2, 3)
    with pytest.raises(ValueError, match="groups=2"):
        squared_residual(laplacian(net, x, mode="sparse", samples=2))


OPERATORS = [gradient, divergence, laplacian, biharmonic, lambda f, x: diagonal(f, x, order=3)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_bad_points_and_functions_are_named_by_every_operator(operator):
    net, x = network(3), points(2, 3)
    with pytest.raises(TypeError, match="must be floating"):
        operator(net, torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="must be a tensor"):
        operator(net, [[0.0, 1.0, 2.0]])
    with pytest.raises(TypeError, match="f must be a function"):
        operator("net", x)
    with pytest.raises(ValueError, match="unsqueeze"):
        operator(net, torch.tensor(1.0))


def sparse_biharmonic(f, x):
    return biharmonic(f, x, mode="sparse", samples=2)


@pytest.mark.parametrize("operator", [laplacian, sparse_biharmonic, lambda f, x: diagonal(f, x, order=3)])
def test_functions_that_mix_points_or_forget_them_are_named(operator):
    net, x = network(3), points(2, 3)
    with pytest.raises(ValueError, match="one value or one vector for each point"):
        operator(lambda y: net(y).mean(), x)
    with pytest.raises(ValueError, match="no derivative with respect to x"):
        operator(lambda y: net(y.detach()), x)


def test_bad_arguments_of_second_order_operators_are_named():
    net, x = network(3), points(2, 3)
    with pytest.raises(ValueError, match="mode='hutch' is not known"):
        laplacian(net, x, mode="hutch")
    with pytest.raises(ValueError, match="say how many"):
        laplacian(net, x, mode="sparse")
    with pytest.raises(ValueError, match="takes every direction"):
        laplacian(net, x, samples=2)
    with pytest.raises(ValueError, match="without replacement from 3"):
        laplacian(net, x, mode="sparse", samples=4)
    with pytest.raises(ValueError, match=r"axes must be in 0 .. 2"):
        laplacian(net, x, axes=[0, 3])
    with pytest.raises(ValueError, match="twice"):
        laplacian(net, x, axes=[1, 1])
    with pytest.raises(ValueError, match="at least one"):
        laplacian(net, x, axes=[])
    with pytest.raises(ValueError, match="drift must have the shape"):
        laplacian(net, x, drift=torch.zeros(2))
    with pytest.raises(ValueError, match="begins with a linear map"):
        laplacian(lambda y: net(y), x, mode="rank")
    shared = nn.Sequential(SharedLinear(3, 4, 1).double(), nn.Tanh())
    with pytest.raises(ValueError, match=r"nn\.Linear, not SharedLinear"):
        laplacian(shared, x, mode="rank", axes=[0])
    with pytest.raises(ValueError, match="either sigma"):
        weighted_trace(net, x)
    with pytest.raises(ValueError, match="sigma must have the shape"):
        weighted_trace(net, x, sigma=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="matrix must be symmetric"):
        weighted_trace(net, x, matrix=torch.arange(9.0).reshape(3, 3))
    with pytest.raises(ValueError, match="matrix is zero"):
        weighted_trace(net, x, matrix=torch.zeros(3, 3))
    with pytest.raises(ValueError, match="one sigma for all points"):
        weighted_trace(net, x, sigma=torch.ones(2, 3, 2, dtype=x.dtype), mode="rank")
    with pytest.raises(ValueError, match="block must divide"):
        SharedLinear(10, 4, 3)
    with pytest.raises(ValueError, match="envelope must have a value"):
        laplacian(net, x, envelope=Envelope(torch.ones(2), torch.ones(3), 0.0))
