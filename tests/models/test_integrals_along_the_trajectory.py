"""Layers make the integrals that penalties are made of, and return the solution as if they had not."""

import copy

import pytest
import torch
from torch import Tensor

import nde
from nde.models import NeuralODE, NeuralSDE
from nde.regularize import GlobalError, GlobalStiffness, JacobianFrobenius, Kinetic, LocalError, NFEBudget, Taylor
from tests.models import test_latent_ode as latent_ode
from tests.problems import Net, double, van_der_pol


@pytest.fixture
def y0() -> Tensor:
    return torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("method", ["tsit5", "dopri8", "bosh3"])
def test_augmented_states_leave_steps_and_errors_as_they_are(y0: Tensor, method: str, per_sample: bool) -> None:
    penalty = Kinetic() + JacobianFrobenius() + Kinetic(2.0)
    options = {"method": method, "rtol": 1e-5, "atol": 1e-7, "per_sample": per_sample}
    layer = NeuralODE(van_der_pol, (0.0, 0.5, 2.0), regularizer=penalty, **options)
    trained, plain = layer(y0), layer.eval()(y0)
    assert trained.stats.n_rejected == plain.stats.n_rejected and trained.stats.n_accepted > 5
    torch.testing.assert_close(trained.solution.steps.h, plain.solution.steps.h, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(trained.solution.steps.error, plain.solution.steps.error, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(trained.ys, plain.ys, rtol=1e-8, atol=1e-10)


def test_single_precision_and_a_norm_of_the_users_leave_the_steps_too(y0: Tensor) -> None:
    for options in ({}, {"norm": lambda error: error.abs().max()}):
        layer = NeuralODE(van_der_pol, regularizer=Kinetic(), rtol=1e-4, atol=1e-5, **options)
        trained, plain = layer(y0.float()), layer.eval()(y0.float())
        torch.testing.assert_close(trained.solution.steps.h, plain.solution.steps.h, rtol=1e-3, atol=0)
        assert trained.y1.dtype == torch.float32 and trained.penalty.dtype == torch.float32


def test_tolerances_of_a_nested_state_are_kept() -> None:
    def field(t: Tensor, y: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"a": -y["a"] * y["b"].sum(), "b": torch.cos(3 * t) * y["b"]}

    y0 = {"a": double(1.0, 2.0), "b": double(0.5, 1.0, 2.0)}
    tolerances = {"rtol": {"a": 1e-6, "b": 1e-4}, "atol": {"a": double(1e-8, 1e-6), "b": 1e-5}}
    layer = NeuralODE(field, regularizer=Kinetic(), **tolerances)
    trained, plain = layer(y0), layer.eval()(y0)
    torch.testing.assert_close(trained.solution.steps.h, plain.solution.steps.h, rtol=1e-8, atol=0)
    assert trained.y1.keys() == y0.keys() and trained.ys["b"].shape == (2, 3)
    local = NeuralODE(field, regularizer=Kinetic(form="local"), **tolerances)(y0)
    assert local.ys["b"].shape == (2, 3) and float(local.penalty) > 0


def test_local_form_adds_an_output_and_no_step(y0: Tensor) -> None:
    layer = NeuralODE(van_der_pol, (0.0, 0.5, 2.0), regularizer=Kinetic(form="local") + Taylor(2, form="local"))
    trained, plain = layer(y0), layer.eval()(y0)
    assert torch.equal(trained.solution.steps.h, plain.solution.steps.h)
    assert torch.equal(trained.ys, plain.ys) and torch.equal(trained.solution.ts, plain.solution.ts)
    assert trained.stats.n_field_evals == plain.stats.n_field_evals
    assert float(trained.penalty) > 0 and float(plain.penalty) == 0


def test_evaluation_mode_and_a_zero_weight_solve_for_nothing_else(y0: Tensor) -> None:
    class Refusing(Kinetic):
        def integrand(self, point):
            raise AssertionError("no integral is due")

    layer = NeuralODE(Net(size=2), regularizer=Refusing())
    assert float(layer.eval()(y0).penalty) == 0
    silent = NeuralODE(Net(size=2), regularizer=Refusing(nde.regularize.Constant(0.0)) + GlobalError())
    assert float(silent(y0).penalty.detach()) > 0


def test_penalties_of_every_kind_add_up(y0: Tensor) -> None:
    parts = [
        lambda: GlobalError(0.5),
        lambda: Kinetic(0.1),
        lambda: 2.0 * Taylor(2, 0.01, form="local"),
        lambda: LocalError(0.3),
        lambda: NFEBudget(30, JacobianFrobenius(0.1)),
    ]
    joint = NeuralODE(Net(size=2), regularizer=sum(part() for part in parts), rtol=1e-6)(y0)
    alone = [NeuralODE(Net(size=2), regularizer=part(), rtol=1e-6)(y0).penalty for part in parts]
    torch.testing.assert_close(joint.penalty, torch.stack(alone).sum(), rtol=1e-6, atol=0)
    assert all(float(value.detach()) > 0 for value in alone)
    assert joint.solution.steps.y.shape == (joint.stats.n_accepted, 4, 2)


@pytest.mark.parametrize("form", ["augmented", "local"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (5, 1, 2, 2)])
def test_states_of_any_shape_have_a_penalty(shape: tuple[int, ...], form: str) -> None:
    y0 = torch.ones(shape, dtype=torch.float64)
    output = NeuralODE(lambda t, y: -y, regularizer=Kinetic(form=form))(y0)
    assert output.penalty.shape == () and output.y1.shape == shape
    if shape:
        rows = NeuralODE(lambda t, y: -y, regularizer=Kinetic(form=form), per_sample=True)(y0)
        assert rows.penalty.shape == () and rows.ys.shape == (2, *shape)
        assert next(iter(rows.solution.integrals.values())).shape == shape[:1]


def test_complex_states_have_the_energy_of_both_parts() -> None:
    y0 = torch.tensor([1.0 + 2.0j, 0.5j], dtype=torch.complex128)
    output = NeuralODE(lambda t, y: 1j * y, regularizer=Kinetic(), rtol=1e-9, atol=1e-9)(y0)
    torch.testing.assert_close(output.penalty, 0.5 * y0.abs().square().mean(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("form", ["augmented", "local"])
def test_samples_with_spans_of_their_own_have_integrals_over_them(form: str) -> None:
    nan = float("nan")
    ts = torch.tensor([[0.0, 1.0, 2.0], [0.5, 1.0, nan], [3.0, 2.5, nan]], dtype=torch.float64)
    y0 = torch.ones(3, 2, dtype=torch.float64)
    penalty = Kinetic(form=form)
    output = NeuralODE(lambda t, y: 0 * y + 2.0, ts, regularizer=penalty, per_sample=True)(y0)
    torch.testing.assert_close(output.solution.integrals[penalty], double(4.0, 1.0, 1.0))
    assert output.ys.shape == (3, 3, 2)
    assert torch.equal(output.ys[..., 0].isnan(), ts.T.isnan())
    plain = NeuralODE(lambda t, y: 0 * y + 2.0, ts, per_sample=True)(y0)
    torch.testing.assert_close(output.ys, plain.ys, equal_nan=True)
    assert bool(output.solution.succeeded.all())


def test_arguments_of_a_sample_reach_the_field_in_integrands(y0: Tensor) -> None:
    rates = double(1.0, 2.0, 3.0, 4.0).reshape(4, 1)
    values = []
    for form in ("augmented", "local"):
        penalty = Kinetic(form=form)
        layer = NeuralODE(lambda t, y, rate: 0 * y + rate, regularizer=penalty, per_sample=True)
        values.append(layer(y0, args=(nde.PerSample(rates),)).solution.integrals[penalty])
    for value in values:
        torch.testing.assert_close(value, 0.5 * rates.squeeze(1) ** 2)


@pytest.mark.parametrize("form", ["augmented", "local"])
def test_wrong_times_are_refused_as_by_the_solver(y0: Tensor, form: str) -> None:
    layer = NeuralODE(Net(size=2), regularizer=Kinetic(form=form), per_sample=True)
    with pytest.raises(ValueError, match="strictly increasing or decreasing"):
        layer(y0, (0.0, 1.0, 0.5))
    with pytest.raises(ValueError, match=r"in ts\[2\]"):
        layer(y0, [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])


def test_what_does_not_go_together_is_refused_when_the_layer_is_made() -> None:
    net = Net(size=2)
    event = nde.Event(lambda t, y: y.sum())
    with pytest.raises(ValueError, match="events do not go with"):
        NeuralODE(net, regularizer=Kinetic(form="local"), events=event)
    with pytest.raises(ValueError, match="dense=True does not go with"):
        NeuralODE(net, regularizer=Kinetic(), dense=True)
    with pytest.raises(ValueError, match="GlobalStiffness does not go with"):
        NeuralODE(net, regularizer=GlobalStiffness() + 0.1 * Kinetic())
    with pytest.raises(ValueError, match="regularizer must not hold Taylor"):
        NeuralSDE(net, net, regularizer=Taylor(2, form="local"))
    with pytest.raises(ValueError, match="which needs a state of several tensors"):
        NeuralSDE(net, net, noise="general", regularizer=Kinetic(), controller=nde.FixedStep(0.1))
    with pytest.raises(ValueError, match="regularizer must not hold Taylor"):
        nde.models.LatentSDE(net, net, net, 2, regularizer=Taylor(2))
    with pytest.raises(ValueError, match="which needs a state of several tensors"):
        nde.models.SDEGenerator(2, regularizer=Kinetic())


def test_dense_output_goes_with_the_local_form(y0: Tensor) -> None:
    output = NeuralODE(Net(size=2), regularizer=Kinetic(form="local"), dense=True)(y0)
    torch.testing.assert_close(output.solution(1.0), output.y1)
    assert output.solution.derivative(0.5).shape == (4, 2)


def test_a_copy_of_a_layer_draws_what_the_layer_draws(y0: Tensor) -> None:
    layer = NeuralODE(Net(size=2), regularizer=JacobianFrobenius(form="local", seed=3))
    state = torch.get_rng_state()
    first = layer(y0).penalty
    assert torch.equal(torch.get_rng_state(), state)  # draws of its own
    twin = copy.deepcopy(layer)
    second = layer(y0).penalty
    assert torch.equal(twin(y0).penalty, second) and not torch.equal(first, second)


class Decay(torch.nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(double(rate))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.rate * y


def test_kinetic_energy_of_a_drift_is_the_sum_over_the_steps_of_a_path(y0: Tensor) -> None:
    layer = NeuralSDE(
        Decay(0.7),
        lambda t, y: 0.3 + 0 * y,
        torch.linspace(0, 1, 9, dtype=torch.float64),
        method="euler",
        controller=nde.FixedStep(1 / 8),
        regularizer=Kinetic(),
    )
    path = nde.BrownianPath(0.0, 1.0, (4, 2), seed=0, dtype=torch.float64)
    output = layer(y0, path=path)
    plain = layer.eval()(y0, path=path)
    assert torch.equal(output.ys, plain.ys)
    expected = (0.5 * (0.7 * output.ys[:-1]).square().mean((1, 2)) / 8).sum()
    torch.testing.assert_close(output.penalty, expected)


@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
@pytest.mark.parametrize("form", ["augmented", "local"])
def test_gradients_of_the_energy_of_a_drift_are_those_of_finite_differences(
    y0: Tensor, form: str, adjoint: str
) -> None:
    path = nde.BrownianPath(0.0, 1.0, (4, 2), seed=0, dtype=torch.float64)

    def penalty(rate: float, used: str) -> tuple[Tensor, Tensor]:
        drift = Decay(rate)
        layer = NeuralSDE(
            drift,
            lambda t, y: 0.3 * torch.cos(y),
            calculus="stratonovich",
            method="midpoint",
            controller=nde.FixedStep(1 / 128),
            adjoint=used,
            regularizer=Kinetic(form=form),
        )
        return layer(y0, path=path).penalty, drift.rate

    value, rate = penalty(0.7, adjoint)
    (found,) = torch.autograd.grad(value, rate)
    above, below = (penalty(0.7 + shift, "discrete")[0].detach() for shift in (1e-5, -1e-5))
    # the continuous adjoint has an error of the order of the step
    tolerance = 1e-2 if adjoint == "backsolve" else 1e-7
    torch.testing.assert_close(found, ((above - below) / 2e-5).reshape(1), rtol=tolerance, atol=0)


@pytest.mark.parametrize("noise", ["scalar", "general", "additive"])
def test_local_form_works_with_noise_of_every_kind(y0: Tensor, noise: str) -> None:
    def diffusion(t: Tensor, y: Tensor) -> Tensor:
        return 0.1 * torch.ones(4, 2, 1 if noise == "scalar" else 3, dtype=torch.float64)

    layer = NeuralSDE(
        Decay(0.7), diffusion, noise=noise, regularizer=Kinetic(form="local"), controller=nde.FixedStep(0.25)
    )
    output = layer(y0, seed=0)
    assert output.ys.shape == (2, 4, 2) and float(output.penalty.detach()) > 0


def test_every_sample_of_a_stochastic_equation_has_an_integral_of_its_own(y0: Tensor) -> None:
    for form in ("augmented", "local"):
        penalty = Kinetic(form=form)
        layer = NeuralSDE(Decay(0.7), lambda t, y: 0.1 + 0 * y, regularizer=penalty, per_sample=True, method="sriw1")
        output = layer(y0, seed=0)
        assert output.solution.integrals[penalty].shape == (4,) and output.ys.shape == (2, 4, 2)
    path = nde.BrownianPath(0.0, 1.0, (4, 2), seed=0, dtype=torch.float64)
    with pytest.raises(ValueError, match="path does not go with"):
        NeuralSDE(Decay(0.7), lambda t, y: 0.1 + 0 * y, regularizer=Kinetic(), per_sample=True)(y0, path=path)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("form", ["augmented", "local"])
def test_a_latent_ode_has_the_penalty_of_its_latent_solve(form: str, per_sample: bool) -> None:
    penalty = Kinetic(form=form, seed=3)
    layer = latent_ode.model(regularizer=penalty, per_sample=per_sample, rtol=1e-8, atol=1e-8)
    values, mask = latent_ode.series()
    output = layer(latent_ode.TIMES, values, mask, draw=False)
    z0 = layer.encoder(latent_ode.TIMES, values, mask, 0.0).mean
    twin = NeuralODE(
        layer.field,
        latent_ode.TIMES,
        regularizer=Kinetic(form=form, seed=3),
        per_sample=per_sample,
        rtol=1e-8,
        atol=1e-8,
    )
    torch.testing.assert_close(output.penalty, twin(z0).penalty)
    count = penalty.draws.count
    layer.sample(3, latent_ode.TIMES)
    assert penalty.draws.count == count  # draws from the prior are not penalised
    plain = layer.eval()(latent_ode.TIMES, values, mask, draw=False)
    torch.testing.assert_close(output.latents, plain.latents, rtol=1e-10, atol=1e-12)


def test_appended_zeros_are_part_of_the_penalised_state(y0: Tensor) -> None:
    output = NeuralODE(lambda t, y: 0 * y + 2.0, augment=1, regularizer=Kinetic())(y0)
    assert output.y1.shape == (4, 3)
    torch.testing.assert_close(output.penalty.detach(), torch.tensor(2.0, dtype=torch.float64))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("control_density", [False, True])
@pytest.mark.parametrize("form", ["augmented", "local"])
def test_a_flow_has_the_penalty_of_its_states(form: str, control_density: bool, per_sample: bool, y0: Tensor) -> None:
    options = {"per_sample": per_sample, "rtol": 1e-8, "atol": 1e-8}
    made = [lambda: Kinetic(form=form, seed=1), lambda: Taylor(2, form=form, seed=1)]
    for penalty in made:
        flow = nde.ContinuousFlow(
            Net(size=2), 2, regularizer=penalty(), control_density=control_density, trace="hutchinson", **options
        )
        output = flow(y0, seed=0)
        twin = NeuralODE(flow.field, regularizer=penalty(), **options)(y0)
        torch.testing.assert_close(output.penalty, twin.penalty, rtol=1e-6, atol=0)
        grads = torch.autograd.grad(output.penalty + output.log_prob.mean(), list(flow.parameters()))
        assert all(bool(grad.any()) for grad in grads)
        plain = flow.eval()(y0, seed=0)
        torch.testing.assert_close(output.log_prob, plain.log_prob, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(output.solution.steps.h, plain.solution.steps.h, rtol=1e-6, atol=0)
