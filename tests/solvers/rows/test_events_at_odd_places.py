"""Events at output times, at the ends of spans, at the same time as others, and where conditions are no numbers."""

from __future__ import annotations

import pytest
import torch

import nde

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drift(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(y)


@pytest.mark.parametrize("with_ts", [False, True])
@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_an_output_at_the_time_of_a_jump_is_the_state_before_it(adjoint, with_ts) -> None:
    # the state is still, so that the place of the event is found to the last digit
    jump = nde.Event(lambda t, y: t - 0.5 + 0 * y.sum(), terminal=False, apply=lambda t, y: y + 1)
    ts = double(0.0, 0.5, 1.0).requires_grad_(with_ts)
    sol = nde.solve_ode(lambda t, y: 0 * y, double(1.0), ts, events=jump, adjoint=adjoint, step_ts=(0.5,), dense=True)
    assert sol.ys[:, 0].tolist() == [1.0, 1.0, 2.0]
    assert sol(0.5).tolist() == [1.0]


@pytest.mark.parametrize("end", [0.3, 0.5, 1.0, 2.25])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("forced", [False, True])
def test_a_jump_at_the_end_of_the_span_or_at_a_forced_time_happens_once(end, terminal, forced) -> None:
    # a condition of the time alone, because the state would bring its rounding
    back = nde.Event(lambda t, y: t - end + 0 * y[0], terminal=terminal, apply=lambda t, y: -y)
    span = (0.0, 2 * end) if forced else (0.0, end)
    sol = nde.solve_ode(
        lambda t, y: torch.stack([y[1], 0 * y[1]]),
        double(end, -1.0),
        span,
        events=back,
        step_ts=(end,) if forced else (),
        **TIGHT,
    )
    assert len(sol.events[0]) == 1
    assert float(sol.y1[1]) == 1.0
    # the path is straight, which the method follows to rounding
    assert sol.t1 == pytest.approx(end if terminal else span[1], abs=1e-13)


def test_a_condition_that_is_not_a_number_is_no_event() -> None:
    root = nde.Event(lambda t, y: torch.sqrt(y[0]) - 1, terminal=False)
    sol = nde.solve_ode(drift, double(-1.0), (0.0, 4.0), events=root, dt_max=0.2, **TIGHT)
    # found where the interpolant is exact but for rounding
    torch.testing.assert_close(sol.events[0].t, double(2.0), rtol=0, atol=1e-12)


def test_a_condition_that_is_a_truth_value_is_refused() -> None:
    with pytest.raises(TypeError, match="truth value"):
        nde.solve_ode(drift, double(0.0), (0.0, 2.0), events=nde.Event(lambda t, y: (y > 1).any()))


def test_function_transforms_differentiate_through_jumps() -> None:
    def fall(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([y[..., 1], torch.full_like(y[..., 1], -9.81)], -1)

    floor = nde.Event(
        lambda t, y: y[..., 0],
        terminal=False,
        direction=-1,
        apply=lambda t, y: torch.stack([0 * y[..., 0], -0.8 * y[..., 1]], -1),
    )
    start = double(1.0, 0.3)
    for per_sample in (False, True):

        def end(start: torch.Tensor, per_sample: bool = per_sample) -> torch.Tensor:
            y0 = start[None] if per_sample else start
            sol = nde.solve_ode(fall, y0, (0.0, 1.0), events=floor, per_sample=per_sample, **TIGHT)
            return sol.y1.sum() + sol.events[0].t.sum()

        first = torch.autograd.functional.jacobian(end, start)
        second = torch.autograd.functional.hessian(end, start)
        # the same derivatives of the same steps, in another order of summation
        for transform in (torch.func.grad, torch.func.jacfwd, torch.func.jacrev):
            torch.testing.assert_close(transform(end)(start), first, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(torch.func.hessian(end)(start), second, rtol=1e-6, atol=1e-6)
        with torch.no_grad():
            slope = torch.func.jvp(end, (start,), (double(1.0, 0.0),))[1]
        torch.testing.assert_close(slope, first[0], rtol=1e-9, atol=1e-9)


def reflection(axis: int, direction: int) -> nde.Event:
    def apply(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        sign = torch.ones_like(y)
        sign[..., 3 + axis] = -1
        return y * sign

    return nde.Event(lambda t, y: y[..., axis], terminal=False, direction=direction, apply=apply)


@pytest.mark.parametrize("direction", [-1, 0])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_a_particle_that_meets_three_walls_at_once_is_reflected_by_each(adjoint, per_sample, direction) -> None:
    start = double(1.0, 1.0, 1.0, -1.0, -1.0, -1.0)

    def end(start: torch.Tensor) -> torch.Tensor:
        sol = nde.solve_ode(
            lambda t, y: torch.cat([y[..., 3:], 0 * y[..., 3:]], -1),
            start[None] if per_sample else start,
            (0.0, 3.0),
            events=[reflection(axis, direction) for axis in range(3)],
            per_sample=per_sample,
            adjoint=adjoint,
            **TIGHT,
        )
        assert [len(found) for found in sol.events] == [1, 1, 1]
        return sol.y1.reshape(-1)

    # the path is made of straight pieces, which the method follows to rounding
    torch.testing.assert_close(end(start), double(2.0, 2.0, 2.0, 1.0, 1.0, 1.0), rtol=0, atol=1e-12)
    wanted = -torch.eye(6, dtype=torch.float64)
    wanted[:3, 3:] = -3 * torch.eye(3)
    torch.testing.assert_close(torch.autograd.functional.jacobian(end, start), wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("terminal", [False, 3])
@pytest.mark.parametrize("per_sample", [False, True])
def test_an_event_at_the_time_of_another_ones_jump_is_not_lost(order, terminal, per_sample) -> None:
    bounce = nde.Event(
        lambda t, y: y[..., 0],
        terminal=False,
        direction=-1,
        apply=lambda t, y: torch.stack([0 * y[..., 0], -0.8 * y[..., 1]], -1),
    )
    # the same height, with another rounding
    count = nde.Event(lambda t, y: (3 * y[..., 0] + y[..., 1]) - y[..., 1], terminal=terminal, direction=-1)
    start = double(1.0, 0.0)
    sol = nde.solve_ode(
        lambda t, y: torch.stack([y[..., 1], torch.full_like(y[..., 1], -9.81)], -1),
        start[None] if per_sample else start,
        (0.0, 2.5),
        events=[(bounce, count)[index] for index in order],
        per_sample=per_sample,
        **TIGHT,
    )
    times = [found.t for found in sol.events]
    first = (2 / 9.81) ** 0.5
    expected = first * double(1.0, 2.6, 3.88, 4.904)
    expected = expected[: terminal or 4]
    for found in times:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert float(sol.t1) == pytest.approx(float(expected[-1]) if terminal else 2.5, abs=1e-9)
    if terminal:  # the jump acts on the last occurrence too
        assert float(sol.y1.reshape(-1)[1]) > 0
