"""Gradients of per-sample solves and of events: both adjoints and orders, finite differences and solo solves."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from tests.problems import double

BOTH = pytest.mark.parametrize("adjoint", ["direct", "discrete"])
RATES = double(0.6, 1.5, 3.0)
START = double([1.0, 0.2], [0.5, -0.4], [-0.3, 0.8])
SPANS = double([0.0, 0.4, 1.0], [0.3, 0.6, 0.7], [1.0, 0.5, 0.2])


def field(t, y, scale, rate):
    """A nonlinear, time-dependent field with a shared and a per-sample argument."""
    x, v = y[..., :1], y[..., 1:]
    rate = rate.reshape(-1, 1)
    return torch.cat([v + scale * torch.sin(t).reshape(-1, 1) * x, -rate * torch.sin(x) - 0.1 * scale * v**3], -1)


def solve(y0, ts, scale, rate, **options):
    options = {"rtol": 1e-6, "atol": 1e-8, "per_sample": True, **options}
    return nde.solve_ode(field, y0, ts, (scale, nde.PerSample(rate)), **options)


def leaves(ts=SPANS):
    return tuple(leaf.clone().requires_grad_() for leaf in (START, ts, double(0.7).squeeze(), RATES))


@BOTH
@pytest.mark.parametrize("ts", [SPANS, double(0.0, 0.3, 0.8), double(0.5, 0.1)], ids=["own", "shared", "reversed"])
def test_first_and_second_derivatives_of_fixed_steps_are_those_of_finite_differences(adjoint, ts) -> None:
    def outputs(*inputs):
        solution = solve(*inputs, method="rk4", controller=nde.FixedStep(0.13), adjoint=adjoint)
        return solution.ys, solution.y1

    assert gradcheck(outputs, leaves(ts))
    assert gradgradcheck(outputs, leaves(ts), atol=1e-4)


@BOTH
def test_estimates_have_the_derivatives_of_finite_differences(adjoint) -> None:
    def estimates(*inputs):
        # no step is short: the two differences of a stiffness estimate shrink with its fifth power, rounding does not
        solution = solve(*inputs, controller=nde.FixedStep(0.2), adjoint=adjoint, local_errors=True)
        return solution.steps.error, solution.steps.stiffness, solution.steps.local_error

    y0, ts, scale, rate = leaves()
    assert gradcheck(lambda *free: estimates(free[0], ts.detach(), *free[1:]), (y0, scale, rate), atol=1e-4)
    assert gradgradcheck(lambda *free: estimates(free[0], ts.detach(), *free[1:]), (y0, scale, rate), atol=1e-3)


def loss_of(solution):
    weights = torch.arange(1.0, 1 + solution.y1.numel(), dtype=torch.float64).reshape(solution.y1.shape)
    loss = (solution.y1.sin() * weights).sum() + solution.ys.cos().sum()
    return loss + 0.3 * solution.steps.error.square().sum() + 0.01 * solution.steps.stiffness.sum()


def gradients(adjoint, order, **options):
    inputs = leaves()
    solution = solve(*inputs, adjoint=adjoint, **options)
    first = torch.autograd.grad(loss_of(solution), inputs, create_graph=order == 2)
    if order == 1:
        return solution, first
    return solution, torch.autograd.grad(sum((part**2).sum() for part in first), inputs)


class Coarse(nde.IController):
    """Step sizes of two digits, which rounding in the estimates does not change; the first ones are too large."""

    def begin(self, error_order):
        state = super().begin(error_order)
        decide = state.decide

        def coarse(h, ratio):
            decision = decide(h, ratio)
            return decision._replace(h=float(f"{decision.h:.1e}"))

        state.decide = coarse
        return state

    def first_step(self):
        return 0.8


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("method", ["tsit5", "dopri8"])
def test_direct_and_discrete_gradients_agree_through_rejected_steps(order, method) -> None:
    options = {"method": method, "controller": Coarse(), "rtol": 1e-8, "atol": 1e-9}
    direct, expected = gradients("direct", order, **options)
    discrete, found = gradients("discrete", order, **options)
    assert torch.equal(direct.steps.h, discrete.steps.h)
    assert direct.stats.n_rejected >= 2
    for one, other in zip(found, expected, strict=True):
        # estimates in units of such a tolerance are known to rounding over it
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_direct_and_discrete_gradients_of_fixed_steps_agree_to_rounding(order) -> None:
    _, expected = gradients("direct", order, controller=nde.FixedStep(0.07))
    _, found = gradients("discrete", order, controller=nde.FixedStep(0.07))
    for one, other in zip(found, expected, strict=True):
        # an estimate is a small difference, of which rounding leaves ten digits
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-7)


@BOTH
def test_gradients_are_those_of_solving_each_sample_alone(adjoint) -> None:
    inputs = leaves()
    solution = solve(*inputs, adjoint=adjoint)
    together = torch.autograd.grad(loss_of(solution), inputs)
    weights = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(3, 2)
    y0, ts, scale, rate = leaves()
    loss = 0.0
    for i in range(3):
        alone = nde.solve_ode(field, y0[i : i + 1], ts[i], (scale, rate[i : i + 1]), rtol=1e-6, atol=1e-8)
        loss = loss + (alone.y1[0].sin() * weights[i]).sum() + alone.ys.cos().sum()
        loss = loss + 0.3 * alone.steps.error.square().sum() + 0.01 * alone.steps.stiffness.sum()
    for one, other in zip(together, torch.autograd.grad(loss, (y0, ts, scale, rate)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@BOTH
@pytest.mark.parametrize("trouble", ["root", "blow up"])
def test_a_sample_that_fails_does_not_spoil_the_gradients_of_the_others(adjoint, trouble) -> None:
    weight = double(0.5).requires_grad_()

    def decays(t, y, kind):
        if trouble == "root":
            return -(weight - torch.where(kind > 0, 0.3 + weight - t, 1.0 + 0 * t).sqrt() * kind) * y
        return torch.where(kind > 0, weight * y * y * y, -weight * y)

    y0 = double([1.0], [2.0], [3.0]).requires_grad_()
    kind = double([0.0], [1.0], [0.0])
    options = {"per_sample": True, "adjoint": adjoint, "throw": False, "max_steps": 300}
    solution = nde.solve_ode(decays, y0, (0.0, 1.0), (nde.PerSample(kind),), **options)
    assert [status is nde.Status.SUCCESS for status in solution.statuses] == [True, False, True]
    found = torch.autograd.grad(solution.y1[0].sum() + solution.y1[2].sum(), (y0, weight))
    other = torch.zeros(1, 1, dtype=torch.float64)
    expected = [
        torch.autograd.grad(
            nde.solve_ode(decays, y0[i : i + 1], (0.0, 1.0), (other,), adjoint=adjoint).y1.sum(), (y0, weight)
        )
        for i in (0, 2)
    ]
    for index in range(2):
        torch.testing.assert_close(found[index], expected[0][index] + expected[1][index], rtol=1e-8, atol=1e-10)


@BOTH
def test_recurring_events_have_first_and_second_derivatives(adjoint) -> None:
    """A ball on a floor whose height, and whose bounce, are parameters."""

    def falls(t, y, gravity, floor, bounce):
        return torch.stack([y[..., 1], -gravity.expand_as(y[..., 1]) - 0.05 * y[..., 1]], -1)

    def height(t, y, gravity, floor, bounce):
        return y[..., 0] - floor

    def reflects(t, y, gravity, floor, bounce):
        return torch.stack([floor.expand_as(y[..., 0]), -bounce * y[..., 1]], -1)

    event = nde.Event(height, terminal=False, direction=-1, apply=reflects)

    def outputs(y0, ts, gravity, floor, bounce):
        solution = nde.solve_ode(
            falls,
            y0,
            ts,
            (gravity, floor, bounce),
            method="dopri8",
            rtol=1e-11,
            atol=1e-11,
            per_sample=True,
            events=event,
            adjoint=adjoint,
        )
        return solution.ys, solution.events[0].t, solution.events[0].y

    inputs = (double([1.0, 0.3], [1.7, -0.2]), double(0.1, 0.6, 1.3), *(double(v).squeeze() for v in (9.81, 0.1, 0.8)))
    inputs = tuple(value.requires_grad_() for value in inputs)
    counts = outputs(*inputs)[1].shape[0]
    assert counts >= 3
    assert gradcheck(outputs, inputs, eps=1e-5, atol=1e-4)
    assert gradgradcheck(outputs, inputs, eps=1e-5, atol=1e-3)


def derivatives_of_event_times(adjoint, tolerance):
    """Return the largest relative errors of the first and of the second derivatives of the times of decays."""
    y0, rate, level = (double(*v).requires_grad_() for v in ((1.0, 2.0, 4.0), (0.5, 1.0, 2.0), (0.25,)))
    solution = nde.solve_ode(
        lambda t, y, rate, level: -rate.reshape(-1, 1) * y,
        y0[:, None],
        (0.0, 50.0),
        (nde.PerSample(rate), level),
        per_sample=True,
        events=nde.Event(lambda t, y, rate, level: y[:, 0] - level, terminal=True),
        adjoint=adjoint,
        rtol=tolerance,
        atol=tolerance / 10,
    )
    event = solution.events[0]
    times, expected = event.t[torch.argsort(event.sample)], torch.log(y0 / level) / rate
    torch.testing.assert_close(times, expected, rtol=100 * tolerance, atol=100 * tolerance)
    weights, inputs, errors = double(1.0, -2.0, 0.5), (y0, rate, level), []
    found, wanted = (times * weights).sum(), (expected * weights).sum()
    for _ in range(2):
        one, other = (torch.autograd.grad(value, inputs, create_graph=True) for value in (found, wanted))
        errors.append(max(float(((a - b) / b).detach().abs().max()) for a, b in zip(one, other, strict=True)))
        found, wanted = (sum((part**2).sum() for part in parts) for parts in (one, other))
    return errors


@BOTH
def test_the_derivatives_of_a_terminal_events_time_converge_to_those_of_its_closed_form(adjoint) -> None:
    # the second ones hold the second derivative of the dense output, which converges more slowly than the states
    first, second = zip(
        *(derivatives_of_event_times(adjoint, tolerance) for tolerance in (1e-7, 1e-9, 1e-11)), strict=True
    )
    assert first[-1] < 1e-8
    assert second[2] < 0.2 * second[1] < 0.2 * 0.5 * second[0]
    assert second[-1] < 1e-5


@BOTH
@pytest.mark.parametrize("begin", [math.nan, -1.0])
def test_a_sample_that_cannot_even_begin_does_not_spoil_the_gradients_of_the_others(adjoint, begin) -> None:
    def found(*values: float) -> tuple[torch.Tensor, ...]:
        weight = double(0.5).requires_grad_()
        y0 = double(*([value] for value in values)).requires_grad_()
        solution = nde.solve_ode(
            lambda t, y: -weight * y.sqrt(), y0, (0.0, 1.0), per_sample=True, adjoint=adjoint, throw=False
        )
        good = [status is nde.Status.SUCCESS for status in solution.statuses]
        at_state, at_weight = torch.autograd.grad(solution.y1[torch.tensor(good)].sum(), (y0, weight))
        return at_state[torch.tensor(good)], at_weight

    # the same steps of the same samples
    torch.testing.assert_close(found(1.0, begin, 2.0), found(1.0, 2.0), rtol=1e-12, atol=0)


@BOTH
def test_any_part_of_the_outputs_can_be_used_alone_and_twice(adjoint) -> None:
    inputs = leaves()
    solution = solve(*inputs, adjoint=adjoint)
    for part in (solution.ys[1], solution.y1, solution.steps.error, solution.steps.stiffness):
        once = torch.autograd.grad(part.sum(), inputs, retain_graph=True, allow_unused=True)
        twice = torch.autograd.grad(part.sum(), inputs, retain_graph=True, allow_unused=True)
        assert all(torch.equal(a, b) and bool(a.isfinite().all()) for a, b in zip(once, twice, strict=True))


@BOTH
def test_single_precision_and_frozen_parameters(adjoint) -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    y0 = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    solution = nde.solve_ode(lambda t, y: torch.tanh(layer(y)), y0, (0.0, 1.0), per_sample=True, adjoint=adjoint)
    solution.y1.sum().backward()
    assert layer.bias.grad is None
    assert math.isfinite(float(layer.weight.grad.norm()))
    assert y0.grad.dtype == torch.float32


def test_function_transforms_differentiate_a_solve_per_sample() -> None:
    y0, ts, scale, rate = (leaf.detach() for leaf in leaves())

    def end(y0, rate):
        return (solve(y0, ts, scale, rate, adjoint="direct").y1 ** 2).sum()

    free = y0.clone().requires_grad_(), rate.clone().requires_grad_()
    expected = torch.autograd.grad(end(*free), free)
    for found, wanted in zip(torch.func.grad(end, argnums=(0, 1))(y0, rate), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    tangents = torch.ones_like(y0), torch.ones_like(rate)
    slope = torch.func.jvp(end, (y0, rate), tangents)[1]
    torch.testing.assert_close(slope, expected[0].sum() + expected[1].sum())
