"""The solution between its output times: order, shapes, derivatives by everything, cost."""

import math

import pytest
import torch

import nde
from tests.problems import double

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
adjoints = pytest.mark.parametrize("adjoint", ["direct", "discrete"])


def field(t, y):
    return torch.sin(t * y) + torch.cos(3 * t)


def start():
    return double(0.3, 1.0, -2.0)


@pytest.mark.parametrize("method", ["tsit5", "dopri8", "rk4", "radau_iia5", "explicit_adams", "implicit_adams"])
@pytest.mark.parametrize("span", [(0.0, 3.0), (3.0, 0.0)], ids=["up", "down"])
def test_the_dense_output_equals_the_outputs_of_the_solve(method, span) -> None:
    ts = torch.linspace(*span, 23, dtype=torch.float64)
    steps = {} if method in ("tsit5", "dopri8") else {"controller": nde.FixedStep(0.1)}
    solution = nde.solve_ode(field, start(), ts, method=method, dense=True, **steps)
    mixed = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    # the order of sums differs
    torch.testing.assert_close(solution(ts[mixed]), solution.ys[mixed], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("method", "order"), [("bosh3", 3), ("tsit5", 4), ("dopri8", 7), ("rk4", 3)])
def test_the_dense_output_converges_inside_the_steps(method, order) -> None:
    def logistic(t, y):
        return y * (1 - y) * (1 + torch.cos(2 * t))

    def exact(t):
        growth = torch.exp(t + torch.sin(2 * t) / 2)
        return 0.1 * growth / (0.9 + 0.1 * growth)

    errors = []
    sizes = (0.2, 0.1) if order < 7 else (0.5, 0.25)
    for size in sizes:
        solution = nde.solve_ode(
            logistic, double(0.1), (0.0, 3.0), method=method, controller=nde.FixedStep(size), dense=True
        )
        t = torch.linspace(0, 3, 601, dtype=torch.float64)
        errors.append(float((solution(t).squeeze(-1) - exact(t)).abs().max()))
    # an interpolant of order p errs by h^(p+1) within a step, and the solution it joins by at least that
    assert math.log2(errors[0] / errors[1]) > order - 0.15


def test_the_dense_output_has_the_shape_of_its_times_and_the_structure_of_the_state() -> None:
    state = {"a": double(1.0, 2.0), "b": (torch.ones(2, 3, dtype=torch.complex128),)}
    solution = nde.solve_ode(lambda t, y: {"a": -y["a"], "b": (1j * y["b"][0],)}, state, (0.0, 1.0), dense=True)
    for value in (solution(torch.rand(4, 5)), solution.derivative(torch.rand(4, 5))):
        assert value["a"].shape == (4, 5, 2)
        assert value["b"][0].shape == (4, 5, 2, 3)
    assert solution(0.5)["a"].shape == (2,)
    assert solution(torch.empty(0, 2))["a"].shape == (0, 2, 2)


def test_the_derivative_is_that_of_the_interpolant_and_is_differentiable() -> None:
    y0 = start().requires_grad_()
    solution = nde.solve_ode(field, y0, (0.0, 2.0), dense=True, adjoint="direct")
    t = double(0.05, 0.7, 1.1, 1.9).requires_grad_()
    slope = solution.derivative(t)
    (along,) = torch.autograd.grad(solution(t).sum(), t, create_graph=True)
    torch.testing.assert_close(along, slope.sum(-1), rtol=1e-12, atol=1e-12)
    step = 1e-6
    difference = (solution(t.detach() + step) - solution(t.detach() - step)) / (2 * step)
    # central differences of a value of size 1 are right to about 1e-16 / 1e-6
    torch.testing.assert_close(slope, difference, rtol=1e-8, atol=1e-8)
    for wanted in (y0, t):
        (one,) = torch.autograd.grad(slope.sum(), wanted, retain_graph=True)
        (other,) = torch.autograd.grad(along.sum(), wanted, retain_graph=True)
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@adjoints
@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_of_the_dense_output_equal_finite_differences(adjoint, per_sample) -> None:
    def value(scale, y0, ts):
        solution = nde.solve_ode(
            lambda t, y, a: torch.sin(a * t * y) + torch.cos(3 * t),
            y0, ts, (scale,), dense=True, adjoint=adjoint, per_sample=per_sample, controller=nde.FixedStep(0.17),
        )  # fmt: skip
        return solution(double(0.2, 0.9, 1.5).unsqueeze(-1)).square().sum() + solution.steps.y.sum()

    inputs = double(1.2).requires_grad_(), double([0.3], [1.0]).requires_grad_(), double(0.05, 0.8, 1.93)
    assert torch.autograd.gradcheck(value, (*inputs[:2], inputs[2].requires_grad_()), atol=1e-6)


@adjoints
def test_the_dense_output_moves_with_the_initial_time(adjoint) -> None:
    ts = double(0.0, 1.0, 2.0).requires_grad_()
    solution = nde.solve_ode(field, start(), ts, dense=True, adjoint=adjoint, **TIGHT)
    for time in (0.03, 0.7, 1.5):
        (found,) = torch.autograd.grad(solution(time).sum(), ts, retain_graph=True)
        values = [
            nde.solve_ode(field, start(), (begin, 2.0), dense=True, rtol=1e-12, atol=1e-12)(time).sum()
            for begin in (1e-5, -1e-5)
        ]
        # the tolerance of the solve whose derivative is taken
        torch.testing.assert_close(found, double(float((values[0] - values[1]) / 2e-5), 0.0, 0.0), rtol=1e-6, atol=1e-6)


@adjoints
@pytest.mark.parametrize("per_sample", [False, True])
def test_the_dense_output_moves_with_the_times_of_events(adjoint, per_sample) -> None:
    """A ball falls from a height and bounces; afterwards ``h(t)`` depends on when it did."""

    def fall(t, y):
        return torch.stack([y[..., 1], torch.full_like(y[..., 1], -1.0)], -1)

    def bounce(t, y):
        return torch.stack([y[..., 0], -0.5 * y[..., 1]], -1)

    event = nde.Event(lambda t, y: y[..., 0], apply=bounce, terminal=False, direction=-1)
    height = double(0.5).requires_grad_()
    y0 = torch.stack([height, torch.zeros_like(height)], -1)
    y0 = y0 if per_sample else y0[0]
    solution = nde.solve_ode(fall, y0, (0.0, 1.6), events=event, dense=True, adjoint=adjoint, per_sample=per_sample)
    time = 1.4
    (found,) = torch.autograd.grad(solution(double(time) if per_sample else time)[..., 0].sum(), height)
    # it falls for v = sqrt(2 H), then h = v / 2 (t - v) - (t - v)^2 / 2, so that dh/dv = 3 t / 2 - 2 v
    v = math.sqrt(2 * 0.5)
    torch.testing.assert_close(found, double((1.5 * time - 2 * v) / v), rtol=1e-10, atol=0)


def test_asking_again_costs_no_more_evaluations() -> None:
    calls = []

    def counted(t, y):
        calls.append(t)
        return field(t, y)

    solution = nde.solve_ode(counted, start(), (0.0, 3.0), dense=True)
    one_solve = len(calls)
    t = torch.linspace(0, 3, 50, dtype=torch.float64)
    solution(t)
    assert len(calls) <= 2 * one_solve
    once = len(calls)
    solution(t), solution.derivative(t), solution(1.0)
    assert len(calls) == once


def test_the_states_at_the_ends_of_steps_are_kept() -> None:
    solution = nde.solve_ode(field, start(), (0.0, 3.0), dense=True)
    ends = solution.steps.t + solution.steps.h
    torch.testing.assert_close(solution.steps.y, solution(ends.clamp(max=3.0)), rtol=1e-12, atol=1e-12)


def test_times_outside_the_solved_span_are_refused() -> None:
    solution = nde.solve_ode(field, start(), (0.0, 1.0), dense=True)
    with pytest.raises(ValueError, match=r"from 0 to 1, but is 1\.5"):
        solution(double(0.5, 1.5))
    with pytest.raises(ValueError, match="but is nan"):
        solution(math.nan)
    partial = nde.solve_ode(lambda t, y: y**2, double(1.0), (0.0, 2.0), dense=True, throw=False)
    torch.testing.assert_close(partial(0.5), double(2.0), rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match="span that was solved"):
        partial(1.5)


@pytest.mark.parametrize("options", [{}, {"step_ts": [0.5]}])
@pytest.mark.parametrize("name", ["__call__", "derivative"])
def test_a_solution_that_was_not_kept_says_so(options, name) -> None:
    with pytest.raises(ValueError, match="dense=True"):
        getattr(nde.solve_ode(field, start(), (0.0, 1.0), **options), name)(0.5)
