"""Problems at the edges of what floats hold, and callers who reuse their memory, get right answers or clear errors."""

import math

import pytest
import torch

import nde
from tests.problems import double


def rotation(t, y):
    return torch.stack([y[1], -y[0]])


@pytest.mark.parametrize("atol", [0.0, 1e-300, 1e-160, 1e-100])
def test_an_entry_that_is_zero_needs_no_absolute_tolerance(atol: float) -> None:
    found = nde.solve_ode(rotation, double(1.0, 0.0), (0.0, 3.0), rtol=1e-6, atol=atol).y1
    # a few steps of the relative tolerance
    torch.testing.assert_close(found, double(math.cos(3.0), -math.sin(3.0)), rtol=1e-5, atol=1e-5)


def test_states_whose_squares_overflow_are_solved() -> None:
    found = nde.solve_ode(rotation, double(1e200, 0.0), (0.0, 3.0), rtol=1e-6).y1
    torch.testing.assert_close(found / 1e200, double(math.cos(3.0), -math.sin(3.0)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_infinite_tolerances_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        nde.solve_ode(rotation, double(1.0, 0.0), (0.0, 1.0), **{name: math.inf})


def test_the_guess_of_the_first_step_does_not_fall_below_the_smallest_step() -> None:
    solution = nde.solve_ode(lambda t, y: t.cos().expand_as(y), double(0.0), (0.0, 1.0), dt_min=1e-3)
    assert float(solution.steps.h[0]) >= 1e-3
    torch.testing.assert_close(solution.y1, double(math.sin(1.0)), rtol=1e-4, atol=1e-5)


def test_fixed_steps_below_the_smallest_step_are_a_contradiction() -> None:
    with pytest.raises(ValueError, match="dt_min"):
        nde.solve_ode(rotation, double(1.0, 0.0), (0.0, 1.0), controller=nde.FixedStep(0.1), dt_min=0.2)


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_changing_the_initial_state_afterwards_changes_no_result(adjoint: str) -> None:
    y0 = torch.nn.Parameter(double(1.0, 0.5))
    solution = nde.solve_ode(rotation, y0, (0.0, 0.5, 1.0), adjoint=adjoint)
    (before,) = torch.autograd.grad(solution.ys.square().sum(), y0, retain_graph=True)
    again = nde.solve_ode(rotation, y0, (0.0, 0.5, 1.0), adjoint=adjoint)
    with torch.no_grad():
        y0.mul_(100)
    assert again.ys[0].tolist() == [1.0, 0.5]
    (after,) = torch.autograd.grad(again.ys.square().sum(), y0)
    assert torch.equal(before, after)


def test_a_field_may_return_a_view_of_one_buffer_every_time() -> None:
    buffer = torch.empty(2, dtype=torch.float64)

    def fresh(t, y):
        return torch.stack([y[1], 20 * (1 - y[0] ** 2) * y[1] - y[0]])

    def view(t, y):
        return buffer.copy_(fresh(t, y)).view(2)

    options = {"rtol": 1e-6, "atol": 1e-8}
    with torch.no_grad():
        wanted = nde.solve_ode(fresh, double(2.0, 0.0), (0.0, 20.0), **options)
        found = nde.solve_ode(view, double(2.0, 0.0), (0.0, 20.0), **options)
        (nested,) = nde.solve_ode(lambda t, y: (view(t, y[0]),), (double(2.0, 0.0),), (0.0, 20.0), **options).y1
    assert wanted.stats.n_rejected > 0
    assert torch.equal(found.y1, wanted.y1) and torch.equal(nested, wanted.y1)


@pytest.mark.parametrize("size", [1.0, 1e-14, 1e-20, 1e8])
def test_stiffness_does_not_depend_on_the_units_of_the_state(size: float) -> None:
    solution = nde.solve_ode(lambda t, y: -3 * y, size * double(1.0, 0.5), (0.0, 1.0), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(solution.steps.stiffness, torch.full_like(solution.steps.h, 3.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("span", [1.0, 0.1, 0.01, 1e-3])
def test_stiffness_of_short_steps_is_no_amplified_rounding(span: float) -> None:
    # the two stages that dopri8 compares differ by a high power of the step size: below rounding, for short steps
    torch.manual_seed(0)
    weights = torch.randn(4, 4, dtype=torch.float64)
    y0 = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    gradients = []
    for adjoint in ("direct", "discrete"):
        solution = nde.solve_ode(
            lambda t, y: torch.tanh(y @ weights) * t.cos(), y0, (0.0, span), method="dopri8", rtol=1e-7, adjoint=adjoint
        )
        gradients.append(torch.autograd.grad(solution.steps.stiffness.sum(), y0)[0])
    # the adjoints round differently; the stiffness and its derivatives are of order one, and so would noise be
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=1e-2)
