"""A network of neighbours is what its formula says; its Laplacian takes as many directions as its window is long."""

import pytest
import torch

from nde import pinn
from nde.taylor.operators import Envelope, laplacian


def network(inputs=9, **options):
    torch.manual_seed(0)
    return pinn.LocalNetwork(inputs, channels=3, width=5, scale=1.5, **options).double()


def points(inputs=9, count=4):
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def nested_laplacian(f, x):
    def at(point):
        return torch.autograd.functional.hessian(lambda y: f(y.unsqueeze(0)).squeeze(), point).trace()

    return torch.stack([at(point) for point in x])


@pytest.mark.parametrize("window", [1, 2, 3])
def test_the_value_is_a_sum_over_sites_of_shared_features(window):
    net, x = network(window=window), points()
    total = net.last.bias.detach().clone().expand(len(x)).clone()
    weights = net.last.weight.reshape(net.sites, -1)
    for site in range(9 - window + 1):
        total = total + net.features(1.5 * x[:, site : site + window]) @ weights[site]
    torch.testing.assert_close(net(x)[:, 0], total)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_the_banded_laplacian_is_exact_with_as_many_directions_as_the_window_is_long(window):
    net, x = network(window=window), points()
    exact = nested_laplacian(net, x)
    estimate = laplacian(net, x, mode="banded", samples=window)
    torch.testing.assert_close(estimate.value[:, 0], exact)
    if window > 1:  # and not with one fewer: coordinates that interact would share a direction
        assert not torch.allclose(laplacian(net, x, mode="banded", samples=window - 1).value[:, 0], exact)
    torch.testing.assert_close(laplacian(net, x, mode="banded", samples=5).value[:, 0], exact)


def test_the_banded_laplacian_takes_envelope_drift_and_chosen_axes():
    net, x = network(), points() / 5
    ball = pinn.Ball([0.0] * 9)
    bounded = laplacian(net, x, mode="banded", samples=2, envelope=Envelope.ball(x)).value[:, 0]
    torch.testing.assert_close(bounded, nested_laplacian(lambda y: net(y)[:, 0] * ball.vanishing(y), x))
    drift, gradient = torch.linspace(-1, 1, 9, dtype=torch.float64), x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(gradient).sum(), gradient)
    drifting = laplacian(net, x, mode="banded", samples=2, drift=drift).value[:, 0]
    torch.testing.assert_close(drifting, nested_laplacian(net, x) + slope @ drift)
    some = laplacian(net, x, mode="banded", samples=2, axes=range(8)).value[:, 0]
    last = laplacian(net, x, axes=[8]).value[:, 0]
    torch.testing.assert_close(some + last, nested_laplacian(net, x))


def test_gradients_of_the_banded_laplacian_are_those_of_the_exact_one():
    net, x = network(), points()
    gradients = [
        torch.autograd.grad(
            laplacian(net, x, **mode).value.square().sum(), [net.last.weight, *net.features.parameters()][:-1]
        )
        for mode in ({"mode": "banded", "samples": 2}, {"mode": "exact"})
    ]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def test_nothing_is_random_about_a_banded_estimate():
    net, x = network(), points()
    first, second = (laplacian(net, x, mode="banded", samples=2) for _ in range(2))
    assert torch.equal(first.value, second.value)


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="window must be at most inputs=3"):
        pinn.LocalNetwork(3, window=4)
    with pytest.raises(ValueError, match="channels"):
        pinn.LocalNetwork(3, channels=0)
    net, x = network(), points()
    with pytest.raises(ValueError, match="needs the reach of the interactions"):
        laplacian(net, x, mode="banded")
    with pytest.raises(ValueError, match="more than the 9 columns"):
        laplacian(net, x, mode="banded", samples=10)
    with pytest.raises(ValueError, match="groups"):
        laplacian(net, x, mode="banded", samples=4, groups=2)


def test_the_sine_gordon_source_is_kept_while_the_points_stay_and_made_anew_when_they_change():
    from nde.pinn.zoo.many_dimensions import _TwoBody

    exact, x = _TwoBody(50, 0), pinn.Ball([0.0] * 50).sample(6, dtype=torch.float64)
    expected = nested_laplacian(exact.value, x) + exact.value(x).sin()
    torch.testing.assert_close(exact.source(x), expected, rtol=1e-9, atol=1e-9)
    assert exact.source(x) is exact.source(x)
    x.mul_(0.5)  # in place: the same tensor, other points
    torch.testing.assert_close(
        exact.source(x), nested_laplacian(exact.value, x) + exact.value(x).sin(), rtol=1e-9, atol=1e-9
    )
