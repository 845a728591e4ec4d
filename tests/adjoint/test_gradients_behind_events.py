"""Derivatives of what comes after an event, at times that do not move with it."""

from __future__ import annotations

import pytest
import torch

import nde

GRAVITY, RESTITUTION = 9.81, 0.8
ADJOINTS = ["direct", "discrete", "backsolve"]


def fall(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.stack([y[..., 1], torch.full_like(y[..., 1], -GRAVITY)], -1)


def bounce(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.stack([0 * y[..., 0], -RESTITUTION * y[..., 1]], -1)


def ground(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y[..., 0]


FLOOR = nde.Event(ground, terminal=False, direction=-1, apply=bounce)


def after_one_bounce(start: torch.Tensor, t: float) -> torch.Tensor:
    """Return height and speed after the first bounce, in closed form."""
    height, speed = start
    impact = (speed**2 + 2 * GRAVITY * height).sqrt()
    since = t - (speed + impact) / GRAVITY
    up = RESTITUTION * impact
    return torch.stack([up * since - GRAVITY * since**2 / 2, up - GRAVITY * since])


def flight(start: torch.Tensor, adjoint: str, per_sample: bool) -> torch.Tensor:
    y0 = start.unsqueeze(0) if per_sample else start
    sol = nde.solve_ode(
        fall, y0, (0.0, 0.7, 0.9), events=FLOOR, per_sample=per_sample, adjoint=adjoint, rtol=1e-9, atol=1e-9
    )
    assert len(sol.events[0]) == 1
    return sol.ys[1:].reshape(2, 2)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_state_at_a_constant_time_behind_a_bounce_has_the_derivatives_of_the_closed_form(
    adjoint, per_sample
) -> None:
    start = torch.tensor([1.0, 0.3], dtype=torch.float64)

    def solved(start: torch.Tensor) -> torch.Tensor:
        return flight(start, adjoint, per_sample)

    def exact(start: torch.Tensor) -> torch.Tensor:
        return torch.stack([after_one_bounce(start, t) for t in (0.7, 0.9)])

    first = torch.autograd.functional.jacobian(solved, start)
    # the flight is a parabola, which the method follows to rounding; the tolerance of the backward solve is 1e-9
    torch.testing.assert_close(first, torch.autograd.functional.jacobian(exact, start), rtol=1e-7, atol=1e-7)
    if adjoint != "backsolve":  # which is differentiated once only
        second = torch.autograd.functional.hessian(lambda start: solved(start).prod(), start)
        wanted = torch.autograd.functional.hessian(lambda start: exact(start).prod(), start)
        torch.testing.assert_close(second, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_dense_output_has_the_derivatives_of_finite_differences_many_steps_behind_a_jump(
    adjoint, per_sample
) -> None:
    def pendulum_at(inputs: torch.Tensor, adjoint: str = "direct") -> torch.Tensor:
        stiffness, begin = inputs

        def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.stack([y[..., 1], -stiffness * torch.sin(y[..., 0]) - 0.1 * y[..., 1]], -1)

        wall = nde.Event(
            ground, terminal=False, apply=lambda t, y: torch.stack([y[..., 0], -RESTITUTION * y[..., 1]], -1)
        )
        start = torch.tensor([1.0, 0.0], dtype=torch.float64)
        sol = nde.solve_ode(
            field,
            start.unsqueeze(0) if per_sample else start,
            torch.stack([begin, torch.full_like(begin, 4.0)]),
            events=wall,
            dense=True,
            adjoint=adjoint,
            per_sample=per_sample,
            rtol=1e-9,
            atol=1e-9,
        )
        assert len(sol.events[0]) == 1  # at 1.73
        return torch.stack([sol(time).reshape(-1)[0] for time in (0.2, 1.0, 1.74, 2.2, 3.0, 3.9)])

    inputs = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = torch.autograd.functional.jacobian(lambda inputs: pendulum_at(inputs, adjoint), inputs)
    step = 1e-5
    columns = [(pendulum_at(inputs + step * d) - pendulum_at(inputs - step * d)) / (2 * step) for d in torch.eye(2)]
    # a hundred times the tolerance of the dense output, whose differences are taken over 1e-5
    torch.testing.assert_close(found, torch.stack(columns, 1), rtol=1e-6, atol=1e-6)
