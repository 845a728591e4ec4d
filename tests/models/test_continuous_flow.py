"""A continuous flow is a density: it integrates to one, and is what the change of variables says."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import nde
from nde.models import Hutchinson, HutchPlusPlus, TimeConditionedField
from tests.problems import Net, double, each_adjoint

TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def wild(size: int) -> Net:
    """Return a field that carries the normal density far from itself."""
    net = Net(size=size, hidden=6)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    return net


@pytest.mark.parametrize(("size", "points", "reach"), [(1, 801, 12.0), (2, 161, 10.0)])
@torch.no_grad()
def test_the_density_integrates_to_one(size, points, reach) -> None:
    flow = nde.ContinuousFlow(wild(size), size, rtol=1e-6, atol=1e-6)
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * size).reshape(-1, size)
    log_prob = flow.log_prob(grid)
    # the trapezoidal rule converges exponentially for smooth densities that vanish at the ends
    assert float(log_prob.exp().sum()) * (2 * reach / (points - 1)) ** size == pytest.approx(1, abs=1e-5)
    normal = -0.5 * (grid.square() + math.log(2 * math.pi)).sum(-1)
    assert float((log_prob.exp() - normal.exp()).abs().max()) > 0.05  # not the base's density


LINEAR = double(0.3, -1.2, 0.4, 0.9, -0.5, 0.2, 0.1, 0.6, 0.4).reshape(3, 3)
SHIFT = double(0.5, -0.2, 1.0)


class Linear(nn.Module):
    def forward(self, t, z):
        return (z - SHIFT) @ LINEAR.T


@pytest.mark.parametrize("control_density", [True, False])
@pytest.mark.parametrize("per_sample", [True, False])
def test_log_prob_of_a_linear_flow_is_that_of_the_matrix_exponential(control_density, per_sample) -> None:
    flow = nde.ContinuousFlow(
        Linear(), 3, (0.0, 0.7), control_density=control_density, per_sample=per_sample, rtol=1e-10, atol=1e-10
    )
    x = torch.randn(5, 3, dtype=torch.float64)
    matrix = torch.linalg.matrix_exp(0.7 * LINEAR)
    # z = shift + matrix (x - shift) is normal, so that x is
    inverse = torch.linalg.inv(matrix)
    law = MultivariateNormal(SHIFT - inverse @ SHIFT, inverse @ inverse.T)
    output = flow(x)
    torch.testing.assert_close(output.y1, SHIFT + (x - SHIFT) @ matrix.T, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(output.log_det, (0.7 * LINEAR.trace()).expand(5), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(output.log_prob, law.log_prob(x), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(flow.log_prob(x), output.log_prob, rtol=0, atol=0)


def test_samples_have_the_law_of_the_density() -> None:
    flow = nde.ContinuousFlow(Linear(), 3, (0.0, 0.7)).double()
    inverse = torch.linalg.inv(torch.linalg.matrix_exp(0.7 * LINEAR))
    with torch.no_grad():
        drawn = flow.sample(20_000, seed=0)
    mean, covariance = SHIFT - inverse @ SHIFT, inverse @ inverse.T
    error = covariance.diagonal().sqrt() / math.sqrt(20_000)
    assert bool(((drawn.mean(0) - mean).abs() < 3.5 * error).all())
    spread = torch.outer(*[covariance.diagonal().sqrt()] * 2)
    # the standard error of a covariance is at most sqrt(2 / n) times the product of the deviations
    assert bool(((drawn.T.cov() - covariance).abs() < 4 * math.sqrt(2 / 20_000) * spread).all())


@pytest.mark.parametrize("trace", ["exact", Hutchinson(2), HutchPlusPlus(3)], ids=["exact", "hutchinson", "hutch++"])
def test_inverse_undoes_forward_and_its_determinant(trace) -> None:
    flow = nde.ContinuousFlow(wild(4), 4, (0.2, 0.5, 1.0), trace=trace, **TIGHT)
    x = torch.randn(5, 4, dtype=torch.float64)
    with torch.no_grad():
        forth = flow(x, seed=3)
        back = flow.inverse(forth.y1, seed=3)  # the same directions
    assert float((forth.y1 - x).abs().max()) > 0.5
    # ten times the tolerance
    torch.testing.assert_close(back.y1, x, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(back.ys.flip(0), forth.ys, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(back.log_det, -forth.log_det, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.log_prob, forth.log_prob, rtol=1e-5, atol=1e-5)


def test_the_mean_of_estimated_densities_is_the_exact_one() -> None:
    flow = nde.ContinuousFlow(wild(4), 4, method="rk4", controller=nde.FixedStep(0.1))
    x = torch.randn(1, 4, dtype=torch.float64)
    exact, many = flow.log_prob(x), x.expand(4_000, 4)
    for trace in (Hutchinson(1), Hutchinson(1, "gaussian"), HutchPlusPlus(3)):
        with torch.no_grad():
            found = flow.log_prob(many, trace=trace, seed=0)
        error = float(found.std()) / math.sqrt(len(found))
        assert 1e-6 < error < 0.1
        assert float(found.mean()) == pytest.approx(float(exact.detach()), abs=3.5 * error)


def test_steps_are_those_of_the_states_alone_when_the_density_takes_no_part() -> None:
    x, net = torch.randn(5, 2, dtype=torch.float64), wild(2)
    plain = nde.solve_ode(net, x, (0.0, 1.0))
    alone, together = (nde.ContinuousFlow(net, 2, control_density=flag)(x) for flag in (False, True))
    # the integrals in the vector change the order of the sums in the norm, and so the last digits of a step
    torch.testing.assert_close(alone.solution.steps.h, plain.steps.h, rtol=1e-9, atol=0)
    torch.testing.assert_close(alone.solution.steps.error, plain.steps.error, rtol=1e-7, atol=1e-12)
    assert not torch.equal(together.solution.steps.h, alone.solution.steps.h)


@each_adjoint
@pytest.mark.parametrize("trace", ["exact", Hutchinson(2)], ids=["exact", "hutchinson"])
def test_gradients_are_those_of_finite_differences(adjoint, trace) -> None:
    net = Net(size=3)
    flow = nde.ContinuousFlow(
        net,
        3,
        trace=trace,
        adjoint=adjoint,
        controller=nde.FixedStep(0.25),
        regularizer=nde.regularize.GlobalError(0.1),
    )
    x = torch.linspace(-1, 1, 6).double().reshape(2, 3).requires_grad_()
    inputs = [x, *net.parameters()]

    def loss():
        output = flow(x, seed=0)
        return output.log_prob.sum() + output.ys.sin().sum() + output.penalty

    gradient = torch.autograd.grad(loss(), inputs)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    values, step = [], 1e-5
    with torch.no_grad():
        for sign in (1, -2, 1):
            for tensor, part in zip(inputs, gradient, strict=True):
                tensor.add_(part / norm, alpha=sign * step)
            values.append(float(loss()))
    assert all(part.any() for part in gradient)
    # the third derivative over the step squared; the values are of the size 10
    assert float(norm) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-7)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("trace", ["exact", HutchPlusPlus(3)], ids=["exact", "hutch++"])
def test_the_adjoint_solved_backwards_gives_the_gradients_of_the_direct_one(trace, per_sample) -> None:
    net, x = Net(size=4), torch.randn(3, 4, dtype=torch.float64)
    found = []
    for adjoint in ("direct", "backsolve"):
        flow = nde.ContinuousFlow(net, 4, trace=trace, adjoint=adjoint, per_sample=per_sample, **TIGHT)
        found.append(torch.autograd.grad(flow.log_prob(x, seed=0).sum(), list(net.parameters())))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def mixture() -> MixtureSameFamily:
    angles = torch.arange(4) * math.pi / 2
    centres = 2 * torch.stack([angles.cos(), angles.sin()], -1)
    return MixtureSameFamily(Categorical(torch.ones(4)), Independent(Normal(centres, 0.4 * torch.ones(4, 2)), 1))


@pytest.mark.slow
def test_a_small_mixture_is_learned() -> None:
    torch.manual_seed(0)
    data, held_out = mixture().sample((256,)), mixture().sample((512,))
    flow = nde.ContinuousFlow(
        TimeConditionedField(2, 16, 1), 2, method="rk4", controller=nde.FixedStep(0.25), trace="hutchinson"
    )
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.03)
    with torch.no_grad():
        before = float(flow.log_prob(held_out, trace="exact").mean())
    for _ in range(80):
        loss = -flow.log_prob(data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        after = float(flow.log_prob(held_out, trace="exact").mean())
    best_normal = float(MultivariateNormal(data.mean(0), data.T.cov()).log_prob(held_out).mean())
    assert after > before + 1.2
    assert after > best_normal + 0.8  # no normal density does as well
    assert after < float(mixture().log_prob(held_out).mean())  # and none does better than the truth


def test_a_field_takes_arguments_that_condition_the_density() -> None:
    class Conditional(nn.Module):
        def forward(self, t, z, centre):
            return -centre.expand_as(z)

    flow = nde.ContinuousFlow(Conditional(), 2, per_sample=True)
    x, centre = torch.randn(4, 2), torch.arange(4.0).unsqueeze(1)
    found = flow.log_prob(x, args=(nde.PerSample(centre),))
    torch.testing.assert_close(found, Normal(centre, 1.0).log_prob(x).sum(-1), rtol=1e-5, atol=1e-5)


def test_a_base_can_be_given() -> None:
    base = Independent(Normal(double(1.0, -1.0), double(0.5, 2.0)), 1)
    flow = nde.ContinuousFlow(Net(size=2), 2, base=base)
    output = flow(torch.randn(3, 2, dtype=torch.float64))
    torch.testing.assert_close(output.log_prob, base.log_prob(output.y1) + output.log_det, rtol=0, atol=0)
    assert flow.sample(7).shape == (7, 2)
    with pytest.raises(ValueError, match="seed must be None"):
        flow.sample(7, seed=0)
    with pytest.raises(ValueError, match=r"Try torch\.distributions.Independent"):
        nde.ContinuousFlow(Net(size=2), 2, base=Normal(double(1.0, -1.0), 1.0)).log_prob(torch.zeros(3, 2).double())


def test_calls_are_new_draws_and_a_seed_repeats_one() -> None:
    flow, x = nde.ContinuousFlow(Net(size=2), 2, trace="hutchinson").double(), torch.randn(3, 2).double()
    assert not torch.equal(flow.log_prob(x), flow.log_prob(x)) and not torch.equal(flow.sample(3), flow.sample(3))
    assert torch.equal(flow.log_prob(x, seed=1), flow.log_prob(x, seed=1))
    assert torch.equal(flow.sample(3, seed=1), flow.sample(3, seed=1))


def test_layer_can_be_copied_pickled_and_converted() -> None:
    flow, x = nde.ContinuousFlow(Net(size=2), 2), torch.randn(3, 2).double()
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(twin.log_prob(x), flow.log_prob(x))
    assert "size=2" in repr(flow) and "ExactTrace" in repr(flow)
    assert flow.float().sample(3).dtype is torch.float32


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"field": 3}, TypeError, "field must be callable"),
        ({"trace": "hutch++"}, ValueError, "costs as much as the exact trace"),
        ({"base": 3}, TypeError, "base must have log_prob and sample"),
        ({"control_density": 1}, TypeError, "control_density must be True or False"),
        ({"method": "rk4"}, ValueError, "has no error estimate"),
        ({"adjoint": "discreet"}, ValueError, "Did you mean 'discrete'"),
    ],
)
def test_wrong_options_are_refused_when_the_layer_is_built(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        nde.ContinuousFlow(**({"field": Net(size=2), "size": 2} | options))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda flow: flow(torch.zeros(3, 4)), ValueError, r"x must have shape \(\*batch, 2\), but has shape"),
        (lambda flow: flow(torch.zeros(3, 2, dtype=torch.int64)), TypeError, "x must be a floating point tensor"),
        (lambda flow: flow.sample(0), ValueError, "samples must be at least 1"),
        (lambda flow: flow(torch.zeros(3, 2), args=3), TypeError, "args must be a tuple"),
    ],
)
def test_wrong_arguments_of_a_call_are_explained(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call(nde.ContinuousFlow(lambda t, z: z, 2))


def test_a_field_of_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"field\(t, z\) must return the shape of z, \(3, 2\), but returned shape"):
        nde.ContinuousFlow(lambda t, z: z[:, :1], 2)(torch.zeros(3, 2))
