"""Penalties along the trajectory are the integrals that they claim to be, on systems whose integrals are known."""

import math

import numpy
import pytest
import torch
from torch import Tensor

import nde
from nde.models import NeuralODE
from nde.regularize import JacobianFrobenius, JacobianNuclear, Kinetic, Taylor, TrajectoryPenalty, TrajectoryPoint
from tests.problems import Net, double

TIGHT = {"method": "dopri8", "rtol": 1e-9, "atol": 1e-9}


def point(field, t: float, y: Tensor, samples: int | None = None) -> TrajectoryPoint:
    time = torch.tensor(t, dtype=y.dtype)
    return TrajectoryPoint(field, time, y, field(time, y), (), samples)


def quadrature(function, t0: float, t1: float) -> float:
    places, weights = numpy.polynomial.legendre.leggauss(40)
    times = t0 + (t1 - t0) * (places + 1) / 2
    return float((t1 - t0) / 2 * sum(weight * function(time) for time, weight in zip(times, weights, strict=True)))


def squared_derivative(order: int, t: float) -> float:
    """Return the square of a derivative of ``exp(sin(t))``, the solution of ``y' = cos(t) y``."""
    rate, first, second, third = math.cos(t), -math.sin(t), -math.cos(t), math.sin(t)
    factor = {
        2: first + rate**2,
        3: second + 3 * rate * first + rate**3,
        4: third + 4 * rate * second + 3 * first**2 + 6 * rate**2 * first + rate**4,
    }[order]
    return (factor * math.exp(math.sin(t))) ** 2


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("ts", [(0.0, 1.5), (0.0, 0.2, 1.5)])
def test_kinetic_energy_of_exponential_decay_is_the_closed_form(per_sample: bool, ts) -> None:
    y0 = double(1.0, -2.0, 0.5, 3.0, 1.0, 0.1).reshape(3, 2)
    rate = 0.7
    layer = NeuralODE(lambda t, y: -rate * y, ts, regularizer=Kinetic(3.0), per_sample=per_sample, **TIGHT)
    expected = 3.0 * 0.5 * rate**2 * y0.square().mean() * (1 - math.exp(-2 * rate * 1.5)) / (2 * rate)
    torch.testing.assert_close(layer(y0).penalty, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_integral_of_a_total_derivative_of_a_linear_equation_is_the_closed_form(order: int, per_sample: bool) -> None:
    y0 = double(1.0, -2.0, 0.5, 3.0).reshape(2, 2)
    layer = NeuralODE(
        lambda t, y: torch.cos(t) * y, (0.0, 1.0), regularizer=Taylor(order), per_sample=per_sample, **TIGHT
    )
    expected = y0.square().mean() * quadrature(lambda t: squared_derivative(order, t), 0.0, 1.0)
    torch.testing.assert_close(layer(y0).penalty, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_total_derivative_of_a_nonlinear_field_is_that_of_repeated_chain_rules(order: int) -> None:
    torch.manual_seed(0)
    net = Net(size=3)

    def higher(function):
        def along(t: Tensor, y: Tensor) -> Tensor:
            by_time, by_state = torch.func.jacrev(function, argnums=(0, 1))(t, y)
            return by_time + by_state @ net(t, y)

        return along

    derivative = net
    for _ in range(order - 1):
        derivative = higher(derivative)
    y = double(0.3, -0.5, 1.1)
    expected = derivative(torch.tensor(0.4, dtype=torch.float64), y).square().mean()
    torch.testing.assert_close(Taylor(order).integrand(point(net, 0.4, y)), expected, rtol=1e-12, atol=0)


def test_forward_mode_derivatives_see_a_state_of_several_tensors() -> None:
    def nested(t: Tensor, y: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"a": y["b"].sum() * y["a"], "b": t * y["b"]}

    def joined(t: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y[2:].sum() * y[:2], t * y[2:]])

    y = double(0.3, -0.5, 1.1, 0.2, 0.7)
    state = {"a": y[:2], "b": y[2:]}
    time = torch.tensor(0.4, dtype=torch.float64)
    for penalty in (Taylor(3), Kinetic()):
        of_nested = penalty.integrand(TrajectoryPoint(nested, time, state, nested(time, state), (), None))
        torch.testing.assert_close(of_nested, penalty.integrand(point(joined, 0.4, y)))


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
def test_projected_jacobian_of_a_linear_field_has_its_frobenius_norm_as_mean(distribution: str) -> None:
    torch.manual_seed(1)
    matrix, count = torch.randn(4, 4, dtype=torch.float64), 4000
    penalty = JacobianFrobenius(distribution=distribution, seed=5)
    layer = NeuralODE(lambda t, y: y @ matrix.T, (0.0, 0.5), regularizer=penalty)
    found = float(layer(torch.zeros(count, 4, dtype=torch.float64)).penalty)
    product = matrix @ matrix.T
    spread = 2 * product.square().sum()
    if distribution == "rademacher":
        spread -= 2 * product.diagonal().square().sum()
    tolerance = 4 * 0.5 / 4 * float(spread / count) ** 0.5
    expected = 0.5 * float(matrix.square().sum()) / 4
    assert tolerance < 0.1 * expected
    assert abs(found - expected) < tolerance


def test_projection_of_a_nonlinear_field_is_the_product_with_its_jacobian() -> None:
    net, y = Net(size=3), double(0.3, -0.5, 1.1)
    penalty = JacobianFrobenius(distribution="gaussian", seed=2)
    probe = penalty.probe(torch.zeros((), dtype=torch.float64), y)
    time = torch.tensor(0.4, dtype=torch.float64)
    found = penalty.integrand(TrajectoryPoint(net, time, y, net(time, y), probe, None))
    jacobian = torch.func.jacrev(lambda y: net(time, y))(y)
    torch.testing.assert_close(found, (probe @ jacobian).square().mean())


@pytest.mark.parametrize("estimator", ["projection", "denoising"])
def test_bound_of_a_balanced_composition_is_the_nuclear_norm_of_its_jacobian(estimator: str) -> None:
    torch.manual_seed(3)
    left, values, right = torch.linalg.svd(torch.randn(4, 4, dtype=torch.float64))
    root = values.sqrt()
    count = 20_000

    def inner(t: Tensor, y: Tensor) -> Tensor:
        return y @ (root[:, None] * right).T

    def outer(t: Tensor, features: Tensor) -> Tensor:
        return features @ (left * root).T

    penalty = JacobianNuclear(inner, outer, estimator=estimator, seed=7)
    layer = NeuralODE(lambda t, y: outer(t, inner(t, y)), (0.0, 1.0), regularizer=penalty)
    found = float(layer(torch.zeros(count, 4, dtype=torch.float64)).penalty)
    expected = float(values.sum()) / 4
    # each of the two terms is a quadratic form of a normal vector, of variance 2 |M|_F^2 with M = diag(values)
    tolerance = 4 * 0.5 * (2 * 2 * float(values.square().sum()) / count) ** 0.5 / 4
    assert tolerance < 0.05 * expected
    assert abs(found - expected) < tolerance


def test_both_estimators_of_the_nuclear_norm_agree_on_a_nonlinear_field_with_one_sample_each() -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Linear(3, 5).double(), torch.nn.Linear(5, 3).double()

    def inner(t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(first(y) + t)

    def outer(t: Tensor, features: Tensor) -> Tensor:
        return second(features).sin()

    y = torch.randn(2, 3, dtype=torch.float64)
    time = torch.tensor(0.2, dtype=torch.float64)
    jacobians = (
        torch.func.jacrev(lambda y: inner(time, y))(y[0]),
        torch.func.jacrev(lambda x: outer(time, x))(inner(time, y[0])),
    )
    means = {}
    for estimator in ("projection", "denoising"):
        penalty = JacobianNuclear(inner, outer, estimator=estimator, sigma=1e-5)
        copies = y[:1].repeat(40_000, 1)
        probe = penalty.probe(time, copies)
        values = penalty.integrand(TrajectoryPoint(inner, time, copies, copies, probe, 40_000))
        assert values.shape == (40_000,)
        means[estimator] = float(values.mean().detach())
    expected = float(sum(jacobian.square().sum() for jacobian in jacobians).detach()) / 2 / 3
    for mean in means.values():
        assert abs(mean - expected) < 0.03 * expected


class Quadratic(torch.nn.Module):
    """A nonlinear field that depends on time, with few parameters, in two maps."""

    def __init__(self, inner: Tensor, outer: Tensor) -> None:
        super().__init__()
        self.matrices = (inner, outer)

    def inner(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.matrices[0] + t)

    def outer(self, t: Tensor, features: Tensor) -> Tensor:
        return features @ self.matrices[1] - 0.1 * features.square().sum(-1, keepdim=True)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.outer(t, self.inner(t, y))


def made(name: str, field: Quadratic, form: str) -> TrajectoryPenalty:
    if name == "nuclear":
        return JacobianNuclear(field.inner, field.outer, form=form)
    if name == "denoising":
        return JacobianNuclear(field.inner, field.outer, form=form, estimator="denoising", sigma=0.1)
    return {
        "kinetic": lambda: Kinetic(form=form),
        "frobenius": lambda: JacobianFrobenius(form=form),
        "taylor": lambda: Taylor(2, form=form),
        "taylor 3": lambda: Taylor(3, form=form),
        "taylor 4": lambda: Taylor(4, form=form),
    }[name]()


NAMES = [
    *("kinetic", "frobenius", "nuclear", "denoising", "taylor"),
    *(pytest.param(f"taylor {order}", marks=pytest.mark.slow) for order in (3, 4)),
]


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("form", ["augmented", "local"])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_with_fixed_steps_is_that_of_finite_differences(name: str, form: str, per_sample: bool) -> None:
    torch.manual_seed(0)
    matrices = [(0.5 * torch.randn(2, 2, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    y0 = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def penalty(inner: Tensor, outer: Tensor, y0: Tensor) -> Tensor:
        field = Quadratic(inner, outer)
        layer = NeuralODE(
            field,
            (0.0, 0.6),
            regularizer=made(name, field, form),  # the same draws in every call
            controller=nde.FixedStep(0.3),
            method="heun",
            per_sample=per_sample,
        )
        return layer(y0).penalty

    assert torch.autograd.gradcheck(penalty, (*matrices, y0))


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("form", ["augmented", "local"])
@pytest.mark.parametrize("name", NAMES)
def test_every_adjoint_gives_the_gradient_of_the_direct_one(
    name: str, form: str, per_sample: bool, adjoint: str
) -> None:
    torch.manual_seed(0)
    matrices = [(0.5 * torch.randn(2, 2, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    y0 = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    grads = {}
    options = {"method": "dopri8", "rtol": 1e-11, "atol": 1e-11}  # quadratures of the adjoint have no tolerance either
    for used in ("direct", adjoint):
        field = Quadratic(*matrices)
        layer = NeuralODE(
            field, (0.0, 0.6), regularizer=made(name, field, form), adjoint=used, per_sample=per_sample, **options
        )
        output = layer(y0)
        grads[used] = torch.autograd.grad(output.penalty + output.y1.sum(), [*matrices, y0])
    for found, expected in zip(grads[adjoint], grads["direct"], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_mean_of_the_local_form_over_many_draws_is_the_augmented_form(name: str) -> None:
    """One draw for each sample of a batch of equal ones."""
    torch.manual_seed(0)
    field = Quadratic(*(0.5 * torch.randn(2, 2, dtype=torch.float64) for _ in range(2)))
    y0 = double(0.4, -1.0).expand(2000, 2)
    penalty = made(name, field, "local")
    found = NeuralODE(field, (0.5, 2.0), regularizer=penalty, per_sample=True, rtol=1e-7, atol=1e-7)(y0).solution
    whole = made(name, field, "augmented")
    expected = NeuralODE(field, (0.5, 2.0), regularizer=whole, rtol=1e-7, atol=1e-7)(y0).solution
    draws = found.integrals[penalty].detach()
    assert draws.shape == (2000,)
    error = float(draws.std()) / 2000**0.5
    noise = 0.0 if name == "kinetic" or "taylor" in name else error  # probes differ too
    assert error < 0.1 * float(draws.mean())
    assert abs(float(draws.mean() - expected.integrals[whole])) < 4 * (error**2 + noise**2) ** 0.5


def test_local_form_is_the_integrand_at_the_drawn_time_on_the_interpolant() -> None:
    penalty = Kinetic(form="local", seed=4)
    layer = NeuralODE(lambda t, y: -0.7 * y, (1.0, 3.0), regularizer=penalty, **TIGHT)
    y0 = double(1.0, 2.0)
    times = [1.0 + 2.0 * float(nde.regularize.draws.Draws(4).uniform(()))]
    second = nde.regularize.draws.Draws(4)
    second.count = 1
    times.append(1.0 + 2.0 * float(second.uniform(())))
    for time in times:
        expected = 2.0 * 0.5 * (0.7 * y0 * math.exp(-0.7 * (time - 1.0))).square().mean()
        torch.testing.assert_close(layer(y0).penalty, expected, rtol=1e-7, atol=0)


def test_backwards_in_time_the_integral_is_the_same() -> None:
    y0 = double(1.0, 2.0)
    forward = NeuralODE(lambda t, y: -0.7 * y, (0.0, 1.0), regularizer=Kinetic(), **TIGHT)(y0)
    backward = NeuralODE(lambda t, y: -0.7 * y, (1.0, 0.0), regularizer=Kinetic(), **TIGHT)(forward.y1)
    torch.testing.assert_close(backward.penalty, forward.penalty, rtol=1e-8, atol=0)
    local = NeuralODE(lambda t, y: -0.7 * y, (1.0, 0.0), regularizer=Kinetic(form="local"), **TIGHT)(forward.y1)
    assert float(local.penalty) > 0


@pytest.mark.parametrize("form", ["augmented", "local"])
def test_gradient_by_the_end_of_the_span_is_the_integrand_there(form: str) -> None:
    ts = double(0.0, 1.0).requires_grad_()
    penalty = Kinetic(form=form)
    layer = NeuralODE(lambda t, y: 0 * y + torch.ones(2, dtype=torch.float64), ts, regularizer=penalty, **TIGHT)
    (found,) = torch.autograd.grad(layer(double(0.0, 0.0)).penalty, ts)
    torch.testing.assert_close(found, double(-0.5, 0.5))


def test_unknown_names_and_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of"):
        Kinetic(form="global")
    with pytest.raises(ValueError, match="order must be 2, 3 or 4"):
        Taylor(5)
    with pytest.raises(ValueError, match="distribution must be one of"):
        JacobianFrobenius(distribution="uniform")
    with pytest.raises(ValueError, match="estimator must be one of"):
        JacobianNuclear(torch.add, torch.add, estimator="exact")
    with pytest.raises(ValueError, match="sigma must be positive"):
        JacobianNuclear(torch.add, torch.add, sigma=0.0)
    with pytest.raises(TypeError, match="inner must be callable"):
        JacobianNuclear(3, torch.add)
    with pytest.raises(TypeError, match="seed must be an integer"):
        Kinetic(seed=0.5)


def test_a_solution_without_integrals_is_refused() -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="holds no integral of Kinetic"):
        Kinetic()(solution)


def test_place_in_the_schedule_and_the_draws_are_saved() -> None:
    first = JacobianFrobenius(nde.regularize.Linear(1.0, 0.0, 10), form="local", seed=1)
    first.step()
    first.uniform(())
    second = JacobianFrobenius(nde.regularize.Linear(1.0, 0.0, 10), form="local", seed=1)
    second.load_state_dict(first.state_dict())
    assert second.weight == first.weight
    assert torch.equal(second.uniform(()), first.uniform(()))
