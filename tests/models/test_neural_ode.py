"""The neural ODE layer is `solve_ode` with parameters: same numbers, plus a penalty in training mode."""

import copy
import pickle

import pytest
import torch
from torch import nn

import nde
from tests.problems import Net, double, each_adjoint, van_der_pol


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)


@each_adjoint
def test_layer_returns_bitwise_what_the_function_does(batch: torch.Tensor, adjoint) -> None:
    net = Net(size=2)
    options = {"method": "dopri5", "rtol": 1e-5, "atol": 1e-7, "adjoint": adjoint, "controller": nde.PIController()}
    layer = nde.NeuralODE(net, (0.0, 0.4, 1.0), **options)
    output, solution = layer(batch), nde.solve_ode(net, batch, (0.0, 0.4, 1.0), **options)
    assert torch.equal(output.ys, solution.ys) and torch.equal(output.y1, solution.y1)
    assert torch.equal(output.solution.steps.error, solution.steps.error)
    assert output.stats.n_field_evals == solution.stats.n_field_evals
    assert output.penalty.item() == 0 and output.penalty.shape == () and not output.penalty.requires_grad


def test_penalty_is_applied_in_training_mode_only(batch: torch.Tensor) -> None:
    layer = nde.NeuralODE(Net(size=2), regularizer=nde.regularize.GlobalError(3.0))
    output = layer(batch)
    assert torch.equal(output.penalty, 3.0 * nde.regularize.GlobalError()(output.solution))
    layer.eval()
    assert layer(batch).penalty.item() == 0
    assert float(layer.train()(batch).penalty.detach()) > 0


@each_adjoint
def test_penalty_and_loss_train_the_field_together(batch: torch.Tensor, adjoint) -> None:
    layer = nde.NeuralODE(Net(size=2), regularizer=nde.regularize.StepCount(0.1), adjoint=adjoint)
    output = layer(batch)
    parameters = list(layer.parameters())
    loss = output.y1.square().mean()
    joint = torch.autograd.grad(loss + output.penalty, parameters, retain_graph=True)
    parts = [torch.autograd.grad(part, parameters, retain_graph=True) for part in (loss, output.penalty)]
    for total, one, two in zip(joint, *parts, strict=True):
        assert one.any() and two.any()
        # the penalty differentiates differences of stages, 1e-16 / 1e-6 of the tolerance
        torch.testing.assert_close(total, one + two, rtol=1e-8, atol=1e-10)


def test_training_with_a_penalty_lowers_the_number_of_steps() -> None:
    torch.manual_seed(0)
    y0 = torch.randn(32, 2, dtype=torch.float64)
    counts = {}
    for weight in (0.0, 0.05):
        layer = nde.NeuralODE(
            Net(size=2, hidden=16), regularizer=nde.regularize.StepCount(weight), rtol=1e-7, atol=1e-7
        )
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
        for _ in range(40):
            output = layer(y0)
            loss = (output.y1 - 2 * y0.roll(1, 1)).square().mean() + output.penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        counts[weight] = layer.eval()(y0).stats.n_accepted
    assert counts[0.05] < 0.8 * counts[0.0]


def test_times_of_a_call_take_precedence_over_those_of_the_layer(batch: torch.Tensor) -> None:
    layer = nde.NeuralODE(Net(size=2), (0.0, 1.0))
    assert layer(batch, (0.0, 0.1, 0.2)).ys.shape == (3, 4, 2)
    assert layer(batch).ys.shape == (2, 4, 2)
    assert layer(batch, ts=double(1.0, 0.0)).solution.t1 == 0.0


def test_arguments_of_a_call_reach_the_field(batch: torch.Tensor) -> None:
    rate = double(0.5).requires_grad_()
    layer = nde.NeuralODE(lambda t, y, rate: -rate * y, rtol=1e-8, atol=1e-8)
    output = layer(batch, args=(rate,))
    (gradient,) = torch.autograd.grad(output.y1.sum(), rate)
    expected = -(batch * torch.exp(-rate)).sum()
    # the sum over the batch vanishes by symmetry: absolute, a multiple of the tolerance
    torch.testing.assert_close(gradient.squeeze(), expected.detach(), rtol=0, atol=1e-6)


def test_learnable_times_are_parameters_and_receive_gradients(batch: torch.Tensor) -> None:
    layer = nde.NeuralODE(Net(size=2), nn.Parameter(double(0.0, 1.0)))
    assert any(parameter is layer.ts for parameter in layer.parameters())
    layer(batch).y1.square().sum().backward()
    assert float(layer.ts.grad[1].abs()) > 0


def test_fixed_times_are_no_parameter_and_keep_their_precision_when_the_weights_are_cast() -> None:
    times = torch.linspace(0, 2, 1000, dtype=torch.float64)
    layer = nde.NeuralODE(Net(size=2), times).bfloat16()
    assert all(parameter is not layer.ts for parameter in layer.parameters())
    assert torch.equal(layer.ts, times)
    assert layer(torch.zeros(3, 2, dtype=torch.bfloat16), (0.0, 1.0)).y1.dtype == torch.bfloat16


def test_layer_can_be_copied_pickled_and_converted(batch: torch.Tensor) -> None:
    layer = nde.NeuralODE(Net(size=2), double(0.0, 1.0), regularizer=nde.regularize.GlobalError(), method="dopri5")
    expected = layer(batch).y1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(batch).y1, expected)
    single = layer.float()
    assert single(batch.float()).y1.dtype is torch.float32


def test_layers_stack_in_a_sequence_of_modules(batch: torch.Tensor) -> None:
    first, second = nde.NeuralODE(Net(size=2)), nde.NeuralODE(Net(size=2, seed=1))
    second(first(batch).y1).y1.sum().backward()
    assert all(parameter.grad is not None for layer in (first, second) for parameter in layer.parameters())


def test_failures_raise_or_not_as_the_layer_was_told() -> None:
    blow_up = lambda t, y: y**2
    with pytest.raises(nde.SolverError):
        nde.NeuralODE(blow_up, (0.0, 2.0))(double(1.0))
    output = nde.NeuralODE(blow_up, (0.0, 2.0), throw=False)(double(1.0))
    assert not output.solution.success


def test_limits_are_handed_to_the_solve() -> None:
    field = van_der_pol
    assert nde.NeuralODE(field, (0.0, 5.0), max_steps=3, throw=False)(double(2.0, 0.0)).stats.n_steps == 3
    assert float(nde.NeuralODE(field, (0.0, 1.0), dt_max=0.01)(double(2.0, 0.0)).solution.steps.h.max()) <= 0.0101


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"method": "tsit6"}, ValueError, "Did you mean 'tsit5'"),
        ({"method": "rk4"}, ValueError, "has no error estimate"),
        ({"adjoint": "discreet"}, ValueError, "Did you mean 'discrete'"),
        ({"controller": 0.1}, TypeError, "controller must be a Controller"),
        ({"regularizer": 0.1}, TypeError, "regularizer must be a Penalty, but is a float"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
        ({"dt_max": -1.0}, ValueError, "dt_max must be larger than dt_min"),
    ],
)
def test_wrong_options_are_refused_when_the_layer_is_built(options, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        nde.NeuralODE(Net(size=2), **options)


def test_field_that_cannot_be_called_is_refused_when_the_layer_is_built() -> None:
    with pytest.raises(TypeError, match="field must be callable"):
        nde.NeuralODE(3)


def test_representation_names_the_solver() -> None:
    assert "method='tsit5', rtol=0.0001, atol=1e-06, adjoint='discrete'" in repr(nde.NeuralODE(Net(size=2)))


@each_adjoint
@pytest.mark.parametrize(
    "options",
    [
        {"per_sample": True},
        {"per_sample": True, "events": nde.Event(lambda t, y: y[:, 0] - 0.1, terminal=True)},
        {"dense": True, "step_ts": [0.3], "jump_ts": (0.7,)},
        {"norm": lambda y: y.abs().max()},
    ],
    ids=["per sample", "events", "dense and forced times", "norm"],
)
def test_layer_passes_on_what_concerns_the_solve(batch: torch.Tensor, adjoint, options) -> None:
    net = Net(size=2)
    layer = nde.NeuralODE(net, (0.0, 1.0), adjoint=adjoint, regularizer=nde.regularize.StepCount(0.1), **options)
    output, solution = layer(batch), nde.solve_ode(net, batch, (0.0, 1.0), adjoint=adjoint, **options)
    torch.testing.assert_close(output.y1, solution.y1, rtol=0, atol=0)
    torch.testing.assert_close(output.penalty, nde.regularize.StepCount(0.1)(solution), rtol=0, atol=0)
    (output.y1.square().sum() + output.penalty).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in net.parameters())
