"""First and second derivatives of implicit solves are exact, for both adjoints and for everything they depend on."""

import pytest
import torch

import nde
from nde.solvers import find_method
from nde.solvers.structure import StateStructure
from tests.problems import Counted, Net, double
from tests.solvers.test_implicit_orders import IMPLICIT

each = pytest.mark.parametrize("method", IMPLICIT)
both = pytest.mark.parametrize("adjoint", ["direct", "discrete"])


def stiff(t, y, rate):
    x, v = y.unbind(-1)
    return torch.stack([v * torch.cos(t), rate * ((1 - x * x) * v - x)], -1)


def solve(y0, ts, rate, method: str, adjoint: str):
    # outputs inside steps, at their ends, and between
    return nde.solve_ode(stiff, y0, ts, args=(rate,), method=method, adjoint=adjoint, controller=nde.FixedStep(0.25)).ys


def inputs():
    y0, ts, rate = double(1.2, -0.4), double(0.0, 0.3, 0.6), torch.tensor(3.0, dtype=torch.float64)
    return tuple(value.requires_grad_() for value in (y0, ts, rate))


@each
@both
def test_gradients_of_an_implicit_solve_equal_finite_differences(method: str, adjoint: str) -> None:
    assert torch.autograd.gradcheck(lambda *values: solve(*values, method, adjoint), inputs())


@pytest.mark.parametrize("method", ["trapezoid", "sdirk2", "radau_iia5"])
@both
def test_second_derivatives_of_an_implicit_solve_equal_finite_differences(method: str, adjoint: str) -> None:
    assert torch.autograd.gradgradcheck(lambda *values: solve(*values, method, adjoint), inputs())


@pytest.mark.parametrize("method", ["trbdf2", "radau_iia5", "gauss4"])
def test_parameter_gradients_of_both_adjoints_agree_on_a_batch(method: str) -> None:
    net, y0 = Net(), torch.randn(4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = []
    for adjoint in ("direct", "discrete"):
        solution = nde.solve_ode(
            net, y0, (0.0, 0.4, 1.0), method=method, adjoint=adjoint, controller=nde.FixedStep(0.3)
        )
        found.append(torch.autograd.grad(solution.ys.square().sum(), list(net.parameters())))
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)


@both
def test_gradients_through_samples_that_interact_equal_finite_differences(adjoint: str) -> None:
    y0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()

    def end(start):
        field = lambda t, y: -(y**3) + 2 * torch.sin(y.mean(0))
        return nde.solve_ode(
            field, start, (0.0, 1.0), method="radau_iia5", adjoint=adjoint, controller=nde.FixedStep(0.5)
        ).y1

    assert torch.autograd.gradcheck(end, (y0,))
    assert torch.autograd.gradgradcheck(end, (y0,))


@pytest.mark.parametrize("method", ["trapezoid", "radau_iia5"])
def test_function_transforms_agree_with_the_tape(method: str) -> None:
    y0, ts, rate = inputs()

    def end(start):
        return solve(start, ts.detach(), rate.detach(), method, "direct")[-1]

    expected = torch.autograd.functional.jacobian(end, y0.detach())
    (by_grad,) = torch.func.vjp(end, y0.detach())[1](double(1.0, 2.0))
    torch.testing.assert_close(by_grad, expected.T @ double(1.0, 2.0), rtol=1e-12, atol=0)
    _, by_jvp = torch.func.jvp(end, (y0.detach(),), (double(1.0, 2.0),))
    torch.testing.assert_close(by_jvp, expected @ double(1.0, 2.0), rtol=1e-12, atol=0)


def test_vmap_is_refused_with_what_to_do_instead() -> None:
    def end_of_captured(rate):
        options = {"method": "gauss4", "controller": nde.FixedStep(0.5)}
        return nde.solve_ode(lambda t, y: -rate * y, double(1.0, 2.0).view(2, 1), (0.0, 1.0), **options).y1

    with pytest.raises(RuntimeError, match="PerSample"):
        torch.func.vmap(end_of_captured)(double(1.0, 2.0))
    with pytest.raises(RuntimeError, match="first axis of y0"):
        torch.func.vmap(
            lambda start: (
                nde.solve_ode(lambda t, y: -y, start, (0.0, 1.0), method="gauss4", controller=nde.FixedStep(0.5)).y1
            )
        )(torch.ones(3, 2))


def test_vmap_over_an_argument_is_refused_too() -> None:
    def end(rate):
        options = {"method": "gauss4", "controller": nde.FixedStep(0.5)}
        return nde.solve_ode(lambda t, y: -rate * y, torch.ones(2), (0.0, 1.0), **options).y1

    with pytest.raises(RuntimeError, match="first axis of y0"):
        torch.func.vmap(end)(torch.ones(3))


@pytest.mark.parametrize("method", ["trbdf2", "radau_iia5"])
def test_gradients_of_rows_with_times_of_their_own_equal_finite_differences(method: str) -> None:
    solver = find_method(method)
    y = double(1.0, 0.3, 0.5, -1.0, 2.0, 0.1).view(3, 2)
    t, h = double(0.0, 1.0, 2.0).view(3, 1), double(0.1, 0.2, -0.05).view(3, 1)
    theta, rate = double(0.3, 0.4, 0.5).view(3, 1), double(4.0)

    def step(t, h, y, theta, rate):
        def rows(t, y):
            return torch.stack([y[:, 1] * torch.cos(t[:, 0]), rate * ((1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0])], 1)

        rows.structure = StateStructure(y[0].detach())
        result = solver.step(rows, t, h, y, None)
        return result.y1, solver.interpolate(rows, t, h, y, result, [theta])

    values = tuple(value.requires_grad_() for value in (t, h, y, theta, rate))
    assert torch.autograd.gradcheck(step, values)
    assert torch.autograd.gradgradcheck(step, values)


@both
def test_a_gradient_costs_the_same_for_a_batch_as_for_a_sample(adjoint: str) -> None:
    calls = []
    for count in (1, 64):
        field = Counted(stiff)
        y0 = double(1.2, -0.4).expand(count, 2).clone().requires_grad_()
        options = {"args": (3.0,), "method": "radau_iia5", "adjoint": adjoint, "controller": nde.FixedStep(0.25)}
        nde.solve_ode(field, y0, (0.0, 0.5), **options).y1.sum().backward()
        calls.append(field.calls)
    assert calls[0] == calls[1]
