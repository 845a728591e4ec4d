"""One step anywhere on a trajectory is the step that a solver takes there, and penalises any solver's solves."""

import math

import pytest
import torch

import nde
from nde.regularize import GlobalError, GlobalErrorSquared, GlobalStiffness, StepCount, step_at
from tests.problems import Net, double

TIGHT = {"rtol": 1e-7, "atol": 1e-9}


def batch() -> torch.Tensor:
    return torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3"])
def test_the_mean_over_the_span_is_the_global_penalty(method) -> None:
    net, y0 = Net(), batch()
    with torch.no_grad():
        solve = nde.solve_ode(net, y0, (0.0, 4.0), method=method, dense=True, **TIGHT)
        times = [0.04 * (index + 0.5) for index in range(95)]  # the rest is for the last step, which the end cuts
        errors = [float(GlobalError()(step_at(net, solve(t), t, 4.0, method=method, **TIGHT))) for t in times]
    kept = solve.steps.t + solve.steps.h <= 3.8
    error, h = solve.steps.error[kept], solve.steps.h[kept]
    # the sizes are found, not those of the solve
    assert sum(errors) / len(errors) == pytest.approx(float((error * h).sum() / h.sum()), rel=0.25)


def test_it_is_the_step_of_a_solve_that_begins_there_with_the_size_that_it_settled_on() -> None:
    net, y = Net(), batch()
    step = step_at(net, y, 0.5, 3.0, **TIGHT)
    ahead = nde.solve_ode(net, y, (0.5, 3.0), max_steps=4, throw=False, **TIGHT)
    assert len(step.steps) == 1 and float(step.steps.t[0]) == 0.5
    assert float(step.steps.h[0]) == pytest.approx(float(ahead.steps.h[-1]), rel=1e-12)
    size = float(step.steps.h[0])
    alone = nde.solve_ode(net, y, (0.5, 0.5 + size), controller=nde.FixedStep(size), **TIGHT)
    torch.testing.assert_close(step.steps.error, alone.steps.error)
    assert 0.01 < step.steps.error[0].item() < 3  # not the vanishing error of the automatic first step


def test_gradients_reach_the_weights_and_the_state_unless_that_is_detached() -> None:
    net, y0 = Net(), batch().requires_grad_()
    for penalty in (GlobalError(), GlobalErrorSquared(), GlobalStiffness(), StepCount(set_point=0.5)):
        value = penalty(step_at(net, y0 * 2, 0.0, 2.0, **TIGHT))
        gradients = torch.autograd.grad(value, [y0, *net.parameters()])
        assert all(float(gradient.abs().max()) > 0 for gradient in gradients)
    assert not step_at(net.requires_grad_(False), y0.detach(), 0.0, 2.0, **TIGHT).steps.error.requires_grad


def test_the_gradient_is_that_of_a_step_of_constant_size() -> None:
    net, y = Net(), batch().requires_grad_()
    step = step_at(net, y, 0.3, 2.0)
    size = float(step.steps.h[0])

    def error(state):
        solve = nde.solve_ode(net, state, (0.3, 0.3 + size), controller=nde.FixedStep(size), adjoint="direct")
        return solve.steps.error

    torch.testing.assert_close(torch.autograd.grad(step.steps.error, y), torch.autograd.grad(error(y), y))
    assert torch.autograd.gradcheck(error, (y,))


def test_a_step_ends_where_the_span_does_and_time_may_run_backward() -> None:
    net, y = Net(), batch()
    assert float(step_at(net, y, 1.0, 1.0 + 1e-4).steps.h[0]) == pytest.approx(1e-4)
    back = step_at(net, y, 1.0, -1.0, **TIGHT).steps
    assert float(back.h[0]) < 0 and float(back.t[0]) == 1.0


def test_nested_states_and_arguments_go_through() -> None:
    state = {"a": double(1.0, 2.0), "b": (double(0.5),)}
    field = lambda t, s, rate: {"a": -rate * s["a"] * s["b"][0], "b": (torch.sin(s["b"][0] + t),)}
    rate = double(1.5).requires_grad_()
    (gradient,) = torch.autograd.grad(GlobalError()(step_at(field, state, 0.0, 1.0, (rate,))), rate)
    assert math.isfinite(float(gradient)) and float(gradient) != 0


def test_a_torchdiffeq_style_solve_is_penalised_without_bias_of_its_gradient() -> None:
    from nde.compat.torchdiffeq import odeint_adjoint

    net, y0 = Net(), batch()
    ys = odeint_adjoint(net, y0, double(0.0, 0.7, 2.0), rtol=1e-10, atol=1e-10)
    step = step_at(net, ys[1], 0.7, 2.0, **TIGHT)
    size = float(step.steps.h[0])
    through = torch.autograd.grad(GlobalError()(step), list(net.parameters()))
    ts = (0.0, 0.7, 0.7 + size)
    whole = nde.solve_ode(net, y0, ts[:2], adjoint="direct", rtol=1e-10, atol=1e-10)
    direct = nde.solve_ode(net, whole.y1, ts[1:], controller=nde.FixedStep(size), adjoint="direct", **TIGHT)
    expected = torch.autograd.grad(GlobalError()(direct), list(net.parameters()))
    for one, two in zip(through, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_failures_and_wrong_times_are_told() -> None:
    y = double(1.0)
    with pytest.raises(ValueError, match="t and end must be two finite times"):
        step_at(lambda t, y: -y, y, 1.0, 1.0)
    with pytest.raises(nde.SolverError) as caught:
        step_at(lambda t, y: y * math.nan, y, 0.0, 1.0)
    assert caught.value.status is nde.Status.NON_FINITE
    with pytest.raises(ValueError, match="controller"):
        step_at(lambda t, y: -y, y, 0.0, 1.0, method="rk4")
