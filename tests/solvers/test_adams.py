"""Adams methods have their orders from the first step on, at any step sizes, and the right derivatives."""

import math

import numpy
import pytest
import torch

import nde
from nde.solvers import ExplicitAdams, ImplicitAdams
from nde.solvers.adams import adams_weights
from tests.problems import double

FAMILIES = [ExplicitAdams, ImplicitAdams]


END = 6.0
TIMES = torch.linspace(0, END, 21, dtype=torch.float64)
START = double(0.7, 1.1)


def field(t, y):
    return y * torch.cos(2 * t) - 0.3 * y * y * torch.sin(t)


@pytest.fixture(scope="module")
def reference():
    inner = TIMES[1:-1]
    return nde.solve_ode(field, START, TIMES, method="dopri8", rtol=1e-13, atol=1e-14, step_ts=inner).ys


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", range(1, 9))
def test_the_observed_order_is_the_stated_one(family, order, reference) -> None:
    # step sizes between the asymptotic range and rounding
    count = 200 if family is ImplicitAdams and order > 6 else 800 if order == 5 else 400
    errors = []
    for steps in (count, 2 * count):
        solution = nde.solve_ode(
            field, START, TIMES, method=family(order), controller=nde.FixedStep(END / steps), adjoint="direct"
        )
        errors.append(float((solution.ys - reference).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("family", FAMILIES)
def test_polynomials_are_integrated_exactly_at_unequal_steps(family) -> None:
    ts = double(0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.9, 1.0, 1.3)
    for order in (2, 4, 6):
        solution = nde.solve_ode(
            lambda t, y, order=order: order * t ** (order - 1) + 0 * y,
            double(0.0),
            ts,
            method=family(order),
            controller=nde.StepTo(),
        )
        torch.testing.assert_close(solution.ys[:, 0], ts**order, rtol=1e-12, atol=1e-13)


def test_weights_at_equal_steps_are_the_published_ones() -> None:
    # Hairer, Norsett, Wanner, Solving ODEs I, III.1: Adams-Bashforth and Adams-Moulton of four and three steps
    found = adams_weights(double(0.0, -1.0, -2.0, -3.0), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(found, double(55, -59, 37, -9) / 24, rtol=1e-13, atol=0)
    found = adams_weights(double(1.0, 0.0, -1.0, -2.0), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(found, double(9, 19, -5, 1) / 24, rtol=1e-13, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_gradients_are_those_of_finite_differences(family, adjoint) -> None:
    weight, y0 = double(1.3).requires_grad_(), double(0.7, -0.2).requires_grad_()
    ts = double(0.0, 0.35, 0.8, 1.0).requires_grad_()

    def solve(y0, weight, ts, controller=None):
        return nde.solve_ode(
            lambda t, y, w: torch.sin(w * t * y) - y,
            y0,
            ts,
            (weight,),
            method=family(3),
            controller=controller or nde.FixedStep(0.1),
            adjoint=adjoint,
        ).ys

    assert torch.autograd.gradcheck(lambda *inputs: solve(*inputs)[-1], (y0, weight, ts.detach()))
    assert torch.autograd.gradcheck(lambda *inputs: solve(*inputs, nde.StepTo()), (y0, weight, ts))


def test_explicit_steps_cost_one_evaluation() -> None:
    solution = nde.solve_ode(field, double(0.7), (0.0, 1.0), method=ExplicitAdams(4), controller=nde.FixedStep(0.01))
    # the first slope, three steps of DOP853 with eleven stages more, and one slope behind each step
    assert solution.stats.n_field_evals == 1 + 3 * 12 + 100


def test_time_runs_backward_too() -> None:
    solution = nde.solve_ode(field, double(0.7), (0.0, -2.0), method="implicit_adams", controller=nde.FixedStep(0.01))
    reference = nde.solve_ode(field, double(0.7), (0.0, -2.0), method="dopri8", rtol=1e-12, atol=1e-12)
    numpy.testing.assert_allclose(solution.y1, reference.y1, rtol=1e-6)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="order"):
        ExplicitAdams(9)
    with pytest.raises(ValueError, match="max_iterations"):
        ImplicitAdams(4, max_iterations=0)
    with pytest.raises(ValueError, match="per_sample=True"):
        nde.solve_ode(
            field, double([0.7]), (0.0, 1.0), method="explicit_adams", controller=nde.FixedStep(0.1), per_sample=True
        )
