"""A known term and a network add up, train together and come apart again."""

import copy

import pytest
import torch
from torch import nn

import nde
from nde.models import HybridField
from tests.problems import Net, double, each_adjoint


def growth(t, y, rate):
    return rate * y


def test_slopes_are_the_known_term_and_the_scaled_network() -> None:
    net, y, t = Net(size=2), torch.randn(3, 2, dtype=torch.float64), double(0.3)[0]
    field = HybridField(growth, net, constants={"rate": 0.7}, input_scale=double(2.0, 5.0), output_scale=0.1)
    expected = 0.7 * y + 0.1 * net(t, y / double(2.0, 5.0))
    torch.testing.assert_close(field(t, y), expected, rtol=1e-7, atol=1e-9)  # constants are single precision
    field.use_network = False
    torch.testing.assert_close(field(t, y), 0.7 * y, rtol=1e-7, atol=0)


@each_adjoint
def test_constants_scale_and_network_have_the_gradients_of_finite_differences(adjoint) -> None:
    field = HybridField(
        growth, Net(size=2), constants={"rate": double(0.7)[0]}, output_scale=double(0.3, 0.2), train_scale=True
    )
    layer = nde.NeuralODE(
        field, controller=nde.FixedStep(0.25), adjoint=adjoint, regularizer=nde.regularize.GlobalError(0.1)
    )
    start, parameters = torch.linspace(-1, 1, 6).double().reshape(3, 2), list(layer.parameters())
    assert any(parameter is field.constants.rate for parameter in parameters)

    def loss():
        output = layer(start)
        return output.y1.sin().sum() + output.penalty

    gradient = torch.autograd.grad(loss(), parameters)
    assert all(part.any() for part in gradient)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    values, step = [], 1e-5
    with torch.no_grad():
        for sign in (1, -2, 1):
            for parameter, part in zip(parameters, gradient, strict=True):
                parameter.add_(part / norm, alpha=sign * step)
            values.append(float(loss()))
    # the third derivative over the step squared
    assert float(norm) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-7)


def test_constants_that_are_not_trained_stay_and_are_saved_with_the_model() -> None:
    field = HybridField(growth, Net(size=2), constants={"rate": 0.7}, train_constants=False)
    assert [name for name, _ in field.named_parameters() if "rate" in name] == []
    assert "constants.rate" in field.state_dict()
    assert copy.deepcopy(field).constants.rate.item() == field.constants.rate.item()


@pytest.mark.slow
def test_the_missing_term_of_a_predator_prey_model_is_found() -> None:
    # the interaction terms of Lotka and Volterra are unknown, and so is one of the rates (Rackauckas et al., 3.1)
    def full(t, y):
        x, z = y[..., 0], y[..., 1]
        return torch.stack([1.3 * x - 0.9 * x * z, 0.8 * x * z - 1.8 * z], -1)

    def known(t, y, rate):
        return torch.stack([rate * y[..., 0], -1.8 * y[..., 1]], -1)

    ts = torch.linspace(0, 3, 31)
    start = torch.tensor([[0.44, 4.6], [1.0, 1.0], [2.0, 0.5], [3.0, 2.0]])
    data = nde.solve_ode(full, start, ts, rtol=1e-5, atol=1e-5).ys
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
    field = HybridField(known, lambda t, y: network(y), constants={"rate": 1.0}, input_scale=2.0, output_scale=0.1)
    parameters = [*field.parameters(), *network.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    losses = []
    for _ in range(150):
        loss = (nde.NeuralODE(field, ts, rtol=1e-3, atol=1e-3)(start).ys - data).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"known": 3}, TypeError, "known must be callable"),
        ({"network": None}, TypeError, "network must be callable"),
        ({"constants": [1.0]}, TypeError, "constants must be a mapping"),
        ({"constants": {"rate": "fast"}}, TypeError, r"constants\['rate'\] must be a number"),
        ({"input_scale": 0.0}, ValueError, "input_scale must not be zero"),
        ({"output_scale": float("inf")}, ValueError, "output_scale must be finite"),
        ({"train_scale": 1}, TypeError, "train_scale must be True or False"),
    ],
)
def test_wrong_options_are_refused(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        HybridField(**({"known": growth, "network": Net(size=2)} | options))


def test_a_term_of_another_shape_is_named() -> None:
    field = HybridField(lambda t, y: y, lambda t, y: y[..., :1])
    with pytest.raises(ValueError, match=r"network\(t, y\) must return a tensor of the shape of y, \(3, 2\)"):
        nde.NeuralODE(field)(torch.ones(3, 2))
