"""Steps at given discontinuities: no side is seen from the other, wherever they lie, and they do not move."""

import math

import pytest
import torch

import nde
from tests.problems import double

adjoints = pytest.mark.parametrize("adjoint", ["direct", "discrete"])
each = pytest.mark.parametrize("per_sample", [False, True])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@each
@pytest.mark.parametrize(
    ("jump", "span"),
    [
        (0.0, (-1.0, 1.0)),
        (0.0, (1.0, -1.0)),
        (1e-3, (-20.0, 1.0)),
        (1e-6, (1.0, -1.0)),
        (0.0, (0.0, 1.0)),
        (1.0, (0.0, 1.0)),
        (0.0, (1.0, 0.0)),
        (0.3, (0.0, 3 * 0.1)),
        (0.3, (3 * 0.1, 1.0)),
    ],
)
def test_no_step_sees_both_sides(jump, span, per_sample, dtype) -> None:
    sides = []

    def field(t, y):
        sides.append((t.detach().double() - jump).reshape(-1).sign())
        return torch.where(t < jump, 0.0, 1.0) * torch.ones_like(y)

    # with and without a tape, stages have arithmetic of their own
    for needed in (False, True):
        sides.clear()
        y0 = torch.zeros(1, 1, dtype=dtype, requires_grad=needed)
        solution = nde.solve_ode(
            field, y0, span, method="rk4", controller=nde.FixedStep(0.1), jump_ts=[jump], per_sample=per_sample,
            adjoint="direct",
        )  # fmt: skip
        assert not bool((torch.cat(sides) == 0).any())
        # a stage that sees the other side would change the result by a sixth of a step
        expected = torch.full_like(y0, max(span[1] - jump, 0.0) - max(span[0] - jump, 0.0))
        torch.testing.assert_close(solution.y1, expected, rtol=1e-5, atol=1e-6)


def test_discontinuities_at_points_of_a_fixed_grid_make_no_steps_of_rounding_size() -> None:
    for jumps in ([0.3], [0.1 * number for number in range(1, 10)], [number / 10 for number in range(1, 10)]):
        solution = nde.solve_ode(
            lambda t, y: t - y, double(1.0), (0.0, 1.0), method="rk4", controller=nde.FixedStep(0.1), jump_ts=jumps
        )
        torch.testing.assert_close(solution.steps.h, torch.full((10,), 0.1, dtype=torch.float64), rtol=1e-12, atol=0)


def test_discontinuities_within_rounding_of_each_other_are_one() -> None:
    solution = nde.solve_ode(lambda t, y: t - y, double(1.0), (0.0, 1.0), jump_ts=[0.5, 0.5 + 2e-16])
    assert bool((solution.steps.h > 1e-3).all())
    torch.testing.assert_close(solution.y1, double(2 * math.exp(-1)), rtol=1e-4, atol=0)


@each
@adjoints
def test_a_discontinuity_does_not_move_with_the_initial_time(per_sample, adjoint) -> None:
    ts = double(0.0, 0.5, 1.7, 2.0).requires_grad_()

    def field(t, y):
        return torch.where(t < 1.0, 1.0, 3.0) * torch.ones_like(y)

    solution = nde.solve_ode(field, double([0.0]), ts, jump_ts=[1.0], adjoint=adjoint, per_sample=per_sample)
    (last,) = torch.autograd.grad(solution.y1.sum(), ts, retain_graph=True)
    (inner,) = torch.autograd.grad(solution.ys[2].sum(), ts)
    torch.testing.assert_close(last, double(-1.0, 0.0, 0.0, 3.0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inner, double(-1.0, 0.0, 3.0, 0.0), rtol=1e-12, atol=1e-12)


@each
@adjoints
def test_a_discontinuity_does_not_move_with_an_event_before_it(per_sample, adjoint) -> None:
    height = double([0.25]).requires_grad_()
    event = nde.Event(lambda t, y: y[..., 0], apply=lambda t, y: y + 1.0, terminal=False, direction=-1)

    def field(t, y):
        return torch.where(t < 1.0, -1.0, 3.0) * torch.ones_like(y)

    y0 = height if per_sample else height[0]
    solution = nde.solve_ode(field, y0, (0.0, 2.0), events=event, jump_ts=[1.0], adjoint=adjoint, per_sample=per_sample)
    torch.testing.assert_close(solution.y1.reshape(-1), double(0.25 - 1.0 + 1.0 + 3.0), rtol=1e-10, atol=0)
    (found,) = torch.autograd.grad(solution.y1.sum(), height)
    torch.testing.assert_close(found, double([1.0]), rtol=1e-10, atol=0)


@each
@adjoints
def test_gradients_with_forced_times_equal_finite_differences(per_sample, adjoint) -> None:
    def value(scale, y0, ts):
        solution = nde.solve_ode(
            lambda t, y, a: torch.where(t < 0.7, torch.sin(a * y), a * torch.cos(3 * t) - y),
            y0, ts, (scale,), jump_ts=[0.7], step_ts=[0.4, 1.1], adjoint=adjoint, per_sample=per_sample,
            controller=nde.FixedStep(0.17),
        )  # fmt: skip
        return solution.ys.square().sum() + solution.steps.error.sum()

    scale, y0, ts = double(1.2), double([0.3], [1.0]), double(0.05, 0.8, 1.93)
    assert torch.autograd.gradcheck(value, [part.requires_grad_() for part in (scale, y0, ts)], atol=1e-6)


@adjoints
def test_an_output_at_a_discontinuity_is_the_value_that_both_sides_share(adjoint) -> None:
    solution = nde.solve_ode(
        lambda t, y: torch.where(t < 1.0, 1.0, 3.0) * torch.ones_like(y),
        double(0.0), (0.0, 1.0, 2.0), jump_ts=[1.0], adjoint=adjoint, dense=True,
    )  # fmt: skip
    torch.testing.assert_close(solution.ys[1], double(1.0), rtol=1e-14, atol=0)
    torch.testing.assert_close(solution(1.0), double(1.0), rtol=1e-14, atol=0)
    torch.testing.assert_close(solution.derivative(double(0.999, 1.001)), double([1.0], [3.0]), rtol=1e-10, atol=0)
