"""Zeros appended to the state make maps possible that no flow in the state's own space is."""

import pytest
import torch
from torch import nn

import nde
from nde.models import TimeConditionedField, augment_with_zeros
from tests.problems import Net, double


def test_zeros_are_appended_along_the_axis_that_was_named() -> None:
    image = torch.randn(2, 3, 4, 5)
    augmented = augment_with_zeros(image, 6, 1)
    assert augmented.shape == (2, 9, 4, 5)
    assert torch.equal(augmented[:, :3], image) and not augmented[:, 3:].any()
    assert augment_with_zeros(image, 0) is image


def test_an_augmented_layer_is_the_layer_at_the_augmented_state() -> None:
    net, start = Net(size=5), torch.randn(4, 2, dtype=torch.float64).requires_grad_()
    regularizer = nde.regularize.GlobalError()
    output = nde.NeuralODE(net, augment=3, regularizer=regularizer)(start)
    plain = nde.NeuralODE(net, regularizer=regularizer)(torch.cat([start, torch.zeros(4, 3).double()], -1))
    assert output.y1.shape == (4, 5)
    assert torch.equal(output.y1, plain.y1) and torch.equal(output.penalty, plain.penalty)
    gradients = [torch.autograd.grad(found.y1.sin().sum() + found.penalty, start)[0] for found in (output, plain)]
    assert bool(gradients[0].any())
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.slow
def test_a_reflection_of_the_line_is_learned_with_zeros_and_cannot_be_without() -> None:
    # paths in one dimension do not cross: x -> -x is no flow (Dupont et al., proposition 1)
    x = torch.linspace(-1, 1, 16).unsqueeze(1)
    losses = {}
    for augment in (0, 1):
        torch.manual_seed(0)
        field = TimeConditionedField(1 + augment, 16, 1)
        layer = nde.NeuralODE(field, augment=augment, method="rk4", controller=nde.FixedStep(0.25))
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(120):
            loss = (layer(x).y1[:, :1] + x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[augment] = float(loss.detach())
    # an increasing map gets no closer to -x than a constant one does: the mean of x^2
    assert losses[0] > 0.8 * float(x.square().mean())
    assert losses[1] < 0.02


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"augment": -1}, ValueError, "augment must be zero or positive"),
        ({"augment": 1.0}, TypeError, "augment must be an integer"),
        ({"augment": 1, "augment_axis": "last"}, TypeError, "augment_axis must be an integer"),
    ],
)
def test_wrong_numbers_of_zeros_are_refused(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        nde.NeuralODE(Net(size=2), **options)


def test_states_that_no_zeros_can_be_appended_to_are_refused() -> None:
    with pytest.raises(TypeError, match="must be a tensor, but is a tuple"):
        nde.NeuralODE(Net(size=2), augment=1)((double(1.0), double(2.0)))
    with pytest.raises(ValueError, match="augment_axis must be an axis of the state"):
        nde.NeuralODE(Net(size=2), augment=1, augment_axis=2)(torch.ones(3, 2))


@pytest.mark.parametrize("conditioning", ["concat", "concatsquash"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_time_reaches_every_layer_of_the_field_also_with_a_time_per_sample(conditioning, per_sample) -> None:
    field = TimeConditionedField(2, 8, 1, conditioning=conditioning).double()
    start = torch.randn(3, 2, dtype=torch.float64)
    changes = [field(double(1.0)[0], start) - field(double(0.0)[0], start)]
    first = field.layers[0]
    with torch.no_grad():  # the time in the last layer alone
        for parameter in first.parameters():
            parameter.zero_()
    changes.append(field(double(1.0)[0], start) - field(double(0.0)[0], start))
    assert all(bool((change != 0).all()) for change in changes)
    solve = lambda y, **kind: nde.solve_ode(field, y, (0.0, 1.0), rtol=1e-9, atol=1e-9, **kind).y1
    together = solve(start, per_sample=per_sample)
    for row, expected in zip(start, together, strict=True):
        torch.testing.assert_close(solve(row), expected, rtol=1e-7, atol=1e-7)


def test_concatsquash_is_the_map_times_a_gate_plus_a_shift() -> None:
    layer = nde.models.ConcatSquashLinear(2, 3)
    x, t = torch.randn(4, 2), torch.tensor(0.7)
    gate = torch.sigmoid(layer.gate.weight[:, 0] * t + layer.gate.bias)
    expected = (x @ layer.linear.weight.T + layer.linear.bias) * gate + layer.shift.weight[:, 0] * t
    torch.testing.assert_close(layer(t, x), expected)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 2, "width": 1.5}, TypeError, "width must be an integer"),
        ({"size": 2, "conditioning": "concatsqash"}, ValueError, "Did you mean 'concatsquash'"),
        ({"size": 2, "activation": "tanh"}, TypeError, "activation must be callable"),
    ],
)
def test_wrong_options_of_the_field_are_refused(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        TimeConditionedField(**options)


def test_activations_are_those_that_were_asked_for() -> None:
    assert isinstance(TimeConditionedField(2, activation=nn.SiLU).activation, nn.SiLU)
