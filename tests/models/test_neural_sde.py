"""The neural SDE layer is `solve_sde` with parameters: same numbers, plus a penalty in training mode."""

import copy
import pickle

import pytest
import torch
from torch import nn

import nde
from tests.problems import Net, double, each_adjoint

PENALTIES = {
    "GlobalError": nde.regularize.GlobalError(reduction="sum"),
    "GlobalErrorSquared": nde.regularize.GlobalErrorSquared(),
    "GlobalStiffness": nde.regularize.GlobalStiffness(reduction="sum"),
    "largest stiffness": nde.regularize.GlobalStiffness(reduction="max"),
    "StepCount": nde.regularize.StepCount(set_point=0.5),
}


class Diffusion(nn.Module):
    """A bounded network whose value has the shape of the state, or one more axis for ``channels`` motions."""

    def __init__(self, channels: int | None = None, seed: int = 1, size: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.net = Net(size=size, hidden=5, seed=seed)
        self.scale = nn.Parameter(torch.linspace(0.2, 0.6, channels or 1, dtype=torch.float64))

    def forward(self, t, y):
        value = 0.7 + 0.5 * torch.sin(self.net(t, y))
        return self.scale * value if self.channels is None else self.scale * value.unsqueeze(-1)


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)


def layer_of(regularizer=None, **options) -> nde.NeuralSDE:
    return nde.NeuralSDE(Net(size=2), Diffusion(), regularizer=regularizer, **options)


@each_adjoint
def test_layer_returns_bitwise_what_the_function_does(batch, adjoint) -> None:
    drift, diffusion = Net(size=2), Diffusion(3)
    options = {"noise": "general", "calculus": "stratonovich", "method": "midpoint", "rtol": 0.05, "atol": 0.01}
    options |= {"adjoint": adjoint, "controller": nde.IController(), "dt_max": 0.2}
    layer = nde.NeuralSDE(drift, diffusion, (0.0, 0.4, 1.0), **options)
    output = layer(batch, seed=3)
    solution = nde.solve_sde(drift, diffusion, batch, (0.0, 0.4, 1.0), seed=3, **options)
    assert torch.equal(output.ys, solution.ys) and torch.equal(output.y1, solution.y1)
    assert torch.equal(output.solution.steps.error, solution.steps.error)
    assert output.stats.n_field_evals == solution.stats.n_field_evals
    assert output.penalty.item() == 0 and output.penalty.shape == () and not output.penalty.requires_grad


def test_every_call_draws_a_new_path_and_a_seed_or_a_path_of_ones_own_repeats_one(batch) -> None:
    layer = layer_of()
    assert not torch.equal(layer(batch).y1, layer(batch).y1)
    layer.eval()
    assert not torch.equal(layer(batch).y1, layer(batch).y1)
    assert torch.equal(layer(batch, seed=5).y1, layer.train()(batch, seed=5).y1)
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        found.append(layer(batch).y1)
    assert torch.equal(*found)
    path = nde.BrownianPath(0.0, 1.0, (4, 2), seed=11, levy_area="space-time", dtype=torch.float64)
    assert torch.equal(layer(batch, path=path).y1, layer(batch, (0.0, 1.0), path=path).y1)


def test_penalty_is_applied_in_training_mode_only(batch) -> None:
    layer = layer_of(nde.regularize.GlobalError(3.0))
    output = layer(batch)
    assert torch.equal(output.penalty, 3.0 * nde.regularize.GlobalError()(output.solution))
    assert layer.eval()(batch).penalty.item() == 0
    assert float(layer.train()(batch).penalty.detach()) > 0


def central_difference(layer, batch, direction, path, penalty, ends, step: float) -> float:
    """Return the derivative of a penalty along a direction of the parameters, on the same steps and the same path."""
    values, controller = [], nde.StepTo(tuple(ends))
    with torch.no_grad():
        for sign in (1, -1):
            for parameter, part in zip(layer.parameters(), direction, strict=True):
                parameter.add_(part, alpha=sign * step)
            solution = layer.solve(batch, path=path, controller=controller)
            assert len(solution.steps) == len(ends) + 1
            values.append(float(penalty(solution)))
            for parameter, part in zip(layer.parameters(), direction, strict=True):
                parameter.sub_(part, alpha=sign * step)
    return (values[0] - values[1]) / (2 * step)


EQUATIONS = {
    "diagonal, Ito": (Diffusion, {"method": "sosri2"}),
    "scalar, Ito": (lambda: Diffusion(1), {"noise": "scalar", "method": "sosri2"}),
    "diagonal, Stratonovich": (Diffusion, {"calculus": "stratonovich", "method": "heun"}),
    "general, reversible": (
        lambda: Diffusion(3), {"noise": "general", "calculus": "stratonovich", "method": "reversible_heun"},
    ),
}  # fmt: skip


# the penalties that each method has the estimates for
PAIRS = [
    (name, equation)
    for name in PENALTIES
    for equation, (_, options) in EQUATIONS.items()
    if options["method"] == "sosri2" or "stiffness" not in name.lower()
]


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize(("name", "equation"), PAIRS)
def test_penalty_gradient_equals_finite_difference_with_frozen_steps_and_frozen_path(
    batch, name, equation, adjoint
) -> None:
    diffusion, options = EQUATIONS[equation]
    layer = nde.NeuralSDE(Net(size=2), diffusion(), rtol=1e-2, atol=1e-2, adjoint=adjoint, **options)
    shape = {"general, reversible": (4, 3), "scalar, Ito": (4, 1)}.get(equation, (4, 2))
    path = nde.BrownianPath(0.0, 1.0, shape, seed=2, levy_area="space-time", dtype=torch.float64)
    penalty, parameters = PENALTIES[name], list(layer.parameters())
    solution = layer(batch, path=path).solution
    value = penalty(solution)
    gradient = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    direction = [part / norm for part in gradient]
    ends = (solution.steps.t + solution.steps.h).tolist()[:-1]
    frozen = central_difference(layer, batch, direction, path, penalty, ends, step=1e-5)
    # truncation of the central difference, 1e-10 times the third derivative, which the powers of the errors make large
    assert float(norm) == pytest.approx(frozen, rel=1e-5) and len(ends) > 3


@each_adjoint
def test_penalty_and_loss_train_drift_and_diffusion_together(batch, adjoint) -> None:
    layer = layer_of(nde.regularize.StepCount(0.1), adjoint=adjoint)
    output = layer(batch, seed=0)
    parameters = list(layer.parameters())
    loss = output.y1.square().mean()
    joint = torch.autograd.grad(loss + output.penalty, parameters, retain_graph=True)
    parts = [torch.autograd.grad(part, parameters, retain_graph=True) for part in (loss, output.penalty)]
    for total, one, two in zip(joint, *parts, strict=True):
        assert one.any() and two.any()
        torch.testing.assert_close(total, one + two, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "regularizer", [nde.regularize.StepCount(0.1), nde.regularize.GlobalError(5.0)], ids=["StepCount", "GlobalError"]
)
def test_training_with_a_penalty_lowers_the_number_of_steps(regularizer) -> None:
    y0, counts = torch.randn(64, 2, dtype=torch.float64), []
    for penalty in (None, regularizer):
        torch.manual_seed(1)
        layer = nde.NeuralSDE(
            Net(size=2, hidden=16), Diffusion(), regularizer=penalty, method="sosri2", rtol=1e-2, atol=1e-2
        )
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
        for _ in range(40):
            output = layer(y0)
            # a rotation by a quarter of a turn, which the mean of the noisy paths is to make
            loss = (output.y1 - 2 * y0.roll(1, 1)).square().mean() + output.penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        counts.append(sum(layer.eval()(y0, seed=seed).stats.n_accepted for seed in range(5)))
    without, with_penalty = counts
    assert with_penalty < 0.8 * without


def test_times_and_arguments_of_a_call_reach_the_solve(batch) -> None:
    rate = double(0.5).requires_grad_()
    layer = nde.NeuralSDE(lambda t, y, rate: -rate * y, lambda t, y, rate: 0 * y, rtol=1e-6, atol=1e-6)
    output = layer(batch, (0.0, 0.1, 0.2), (rate,), seed=0)
    assert output.ys.shape == (3, 4, 2)
    # without noise, the exact solution of the ordinary equation, to a multiple of the tolerance
    torch.testing.assert_close(output.y1, batch * torch.exp(-0.2 * rate), rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(output.y1.square().sum(), rate)
    expected = -0.4 * (batch * torch.exp(-0.2 * rate.detach())).square().sum()
    torch.testing.assert_close(gradient.squeeze(), expected, rtol=1e-4, atol=0)


def test_states_may_be_nested_where_the_noise_is_diagonal(batch) -> None:
    layer = nde.NeuralSDE(
        lambda t, y: {"a": -y["a"], "b": torch.sin(y["b"])}, lambda t, y: {"a": 0.1 + 0 * y["a"], "b": 0.2 * y["b"]}
    )
    output = layer({"a": batch, "b": batch[:, 0]}, seed=0)
    assert output.y1["a"].shape == (4, 2) and output.y1["b"].shape == (4,)


def test_layer_can_be_copied_pickled_and_converted(batch) -> None:
    layer = layer_of(nde.regularize.GlobalError())
    expected = layer(batch, seed=0).y1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(batch, seed=0).y1, expected)
    assert layer.float()(batch.float()).y1.dtype is torch.float32


def test_failures_raise_or_not_as_the_layer_was_told() -> None:
    blow_up, none = lambda t, y: y**2, lambda t, y: 0 * y
    with pytest.raises(nde.SolverError):
        nde.NeuralSDE(blow_up, none, (0.0, 2.0), max_steps=500)(double(1.0))
    assert not nde.NeuralSDE(blow_up, none, (0.0, 2.0), max_steps=500, throw=False)(double(1.0)).solution.success


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"method": "sosri3"}, ValueError, "Did you mean 'sosri"),
        ({"method": "heun"}, ValueError, "does not converge to the ito solution"),
        ({"method": "euler"}, ValueError, "has no error estimate"),
        ({"noise": "general"}, ValueError, "has no error estimate"),
        ({"noise": "diagonl"}, ValueError, "Did you mean 'diagonal'"),
        ({"calculus": "itoh"}, ValueError, "Did you mean 'ito'"),
        ({"adjoint": "discreet"}, ValueError, "Did you mean 'discrete'"),
        ({"controller": 0.1}, TypeError, "controller must be a Controller"),
        ({"regularizer": 0.1}, TypeError, "regularizer must be a Penalty, but is a float"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
        ({"throw": 1}, TypeError, "throw must be True or False"),
    ],
)
def test_wrong_options_are_refused_when_the_layer_is_built(options, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        nde.NeuralSDE(Net(size=2), Diffusion(), **options)


@pytest.mark.parametrize(("drift", "diffusion", "name"), [(3, Diffusion(), "drift"), (Net(), None, "diffusion")])
def test_functions_that_cannot_be_called_are_refused_when_the_layer_is_built(drift, diffusion, name) -> None:
    with pytest.raises(TypeError, match=f"{name} must be callable"):
        nde.NeuralSDE(drift, diffusion)


def test_representation_names_the_solver() -> None:
    expected = "noise='diagonal', calculus='ito', method='sosri2', rtol=0.01, atol=0.001, adjoint='discrete'"
    assert expected in repr(layer_of())


@each_adjoint
@pytest.mark.parametrize(
    "options",
    [
        {"per_sample": True},
        {"per_sample": True, "events": nde.Event(lambda t, y: y[:, 0] - 0.9, terminal=True)},
        {"dense": True, "step_ts": [0.3], "jump_ts": (0.7,)},
    ],
    ids=["per sample", "events", "dense and forced times"],
)
def test_layer_passes_on_what_concerns_the_solve(batch, adjoint, options) -> None:
    drift, diffusion = Net(size=2), Diffusion()
    layer = nde.NeuralSDE(drift, diffusion, adjoint=adjoint, regularizer=nde.regularize.StepCount(0.1), **options)
    output = layer(batch, seed=0)
    solution = nde.solve_sde(drift, diffusion, batch, (0.0, 1.0), adjoint=adjoint, seed=0, **options)
    torch.testing.assert_close(output.y1, solution.y1, rtol=0, atol=0)
    torch.testing.assert_close(output.penalty, nde.regularize.StepCount(0.1)(solution), rtol=0, atol=0)
    (output.y1.square().sum() + output.penalty).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in layer.parameters())
