"""Gradient and divergence: exact, and unbiased over all draws."""

import itertools

import pytest
import torch

from nde.taylor.operators import Draw, divergence, first_order, gradient
from tests.taylor.operators.oracles import derivatives, network, points, trace

LAWS = ("sparse", "rademacher", "gaussian", "orthogonal")


def test_gradient_and_its_parameter_gradients_equal_nested_differentiation():
    net, x = network(4), points(3, 4)
    expected = derivatives(net, x, 1).squeeze(1)
    estimate = gradient(net, x)
    torch.testing.assert_close(estimate.value, expected)
    torch.testing.assert_close(estimate.primal, net(x))
    torch.testing.assert_close(gradient(lambda y: net(y).squeeze(-1), x).value, expected)
    parameters = list(net.parameters())[:-1]
    ours = torch.autograd.grad(estimate.value.square().sum(), parameters)
    theirs = torch.autograd.grad(expected.square().sum(), parameters)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right)


def test_gradient_reaches_points_that_require_one():
    net, x = network(3), points(2, 3).requires_grad_()
    (ours,) = torch.autograd.grad(gradient(net, x).value.sum(), x)
    torch.testing.assert_close(ours, derivatives(net, x.detach(), 2).squeeze(1).sum(-1))


def test_gradient_without_a_tape_leaves_none():
    net, x = network(3), points(2, 3)
    with torch.no_grad():
        estimate = gradient(net, x)
    assert not estimate.value.requires_grad and not estimate.primal.requires_grad


def test_divergence_equals_nested_differentiation():
    net, x = network(4, 4), points(3, 4)
    torch.testing.assert_close(divergence(net, x).value, trace(derivatives(net, x, 1)))


@pytest.mark.parametrize("operator", [gradient, divergence])
def test_the_mean_over_all_subsets_and_over_all_signs_is_exact(operator, monkeypatch):
    net, x = network(4, 1 if operator is gradient else 4), points(2, 4)
    expected = operator(net, x).value.detach()

    def values(draws, mode):
        for draw in draws:
            monkeypatch.setattr(first_order, "draw_directions", lambda *args, draw=draw: draw)
            yield operator(net, x, mode=mode, samples=2, groups=draw.groups)

    subsets = [Draw(4, torch.tensor(s), None, 2, 0.5) for s in itertools.permutations(range(4), 2)]
    estimates = list(values(subsets, "sparse"))
    mean = torch.stack([estimate.value for estimate in estimates])
    torch.testing.assert_close(mean.mean(0), expected)
    variance = torch.stack([estimate.variance for estimate in estimates]).mean(0)
    torch.testing.assert_close(variance, mean.var(0, correction=0))
    signs = [Draw(4, None, torch.tensor([s], dtype=x.dtype), 1, 0.0) for s in itertools.product([-1.0, 1.0], repeat=4)]
    mean = torch.stack([estimate.value for estimate in values(signs, "rademacher")]).mean(0)
    torch.testing.assert_close(mean, expected)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("operator", [gradient, divergence])
def test_random_modes_are_unbiased_and_report_their_variance(operator, law):
    net, x = network(4, 1 if operator is gradient else 4), points(2, 4)
    expected = operator(net, x).value.detach()
    source, draws = torch.Generator().manual_seed(1), 300
    with torch.no_grad():
        estimates = [operator(net, x, mode=law, samples=2, groups=2, generator=source) for _ in range(draws)]
    values = torch.stack([estimate.value for estimate in estimates])
    assert ((values.mean(0) - expected).abs() < 4 * values.std(0) / draws**0.5).all()
    variances = torch.stack([estimate.variance for estimate in estimates])
    error = (variances - (values - expected).square()).std(0) / draws**0.5
    assert ((variances.mean(0) - values.var(0)).abs() < 4 * error).all()


def test_bad_functions_are_named():
    x = points(2, 3)
    with pytest.raises(ValueError, match="gradient needs a function with one output"):
        gradient(network(3, 2), x)
    with pytest.raises(ValueError, match="gradient needs a function with one output"):
        gradient(network(3, 2), x, mode="sparse", samples=2)
    with pytest.raises(ValueError, match="no derivative with respect to x"):
        gradient(lambda y: network(3)(y.detach()), x)
    with pytest.raises(ValueError, match="divergence needs a field"):
        divergence(network(3, 2), x)
