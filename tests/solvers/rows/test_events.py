"""Events are found where they are, do what they should, and carry the right derivatives."""

import math

import pytest
import torch

import nde
from tests.problems import double

GRAVITY = 9.81


def falling(t, y):
    return torch.stack([y[..., 1], torch.full_like(y[..., 1], -GRAVITY)], -1)


def height(t, y):
    return y[..., 0]


def bounce(restitution):
    def apply(t, y):
        return torch.stack([torch.zeros_like(y[..., 0]), -restitution * y[..., 1]], -1)

    return nde.Event(height, terminal=20, direction=-1, apply=apply)


def bounce_times(drop, restitution, count=20):
    first = (2 * drop / GRAVITY).sqrt()
    powers = torch.stack([restitution**k for k in range(1, count)]).cumsum(0)
    return torch.cat([first[None], first * (1 + 2 * powers)])


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("method", ["tsit5", "dopri8", "bosh3"])
def test_a_ball_bounces_twenty_times_with_the_gradient_of_the_closed_form(adjoint, method) -> None:
    drop, restitution = double(10.0)[0].requires_grad_(), double(0.9)[0].requires_grad_()
    start = torch.stack([drop, torch.zeros_like(drop)])
    options = {"rtol": 1e-10, "atol": 1e-10, "adjoint": adjoint, "method": method}
    solution = nde.solve_ode(falling, start, (0.0, 100.0), events=bounce(restitution), **options)
    (found,) = solution.events
    expected = bounce_times(drop, restitution)
    assert len(found) == 20
    torch.testing.assert_close(found.t, expected, rtol=1e-9, atol=0)
    assert solution.t1 == pytest.approx(float(expected[-1].detach()), rel=1e-9)
    for index in (0, 1, 7, 19):
        ours = torch.autograd.grad(found.t[index], (drop, restitution), retain_graph=True, materialize_grads=True)
        theirs = torch.autograd.grad(
            expected[index], (drop, restitution), retain_graph=True, materialize_grads=True, allow_unused=True
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_a_thousand_balls_bounce_each_for_itself() -> None:
    drops = torch.linspace(1, 20, 1000, dtype=torch.float64)
    solution = nde.solve_ode(
        falling,
        torch.stack([drops, 0 * drops], -1),
        (0.0, 100.0),
        events=bounce(0.9),
        per_sample=True,
        rtol=1e-8,
        atol=1e-8,
    )
    (found,) = solution.events
    assert len(found) == 20_000
    for sample in (0, 17, 500, 999):
        times, _ = found.of_sample(sample)
        torch.testing.assert_close(times, bounce_times(drops[sample], double(0.9)[0]), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("method", "controller", "tolerance"),
    [
        ("euler", nde.FixedStep(1e-3), 1e-2),
        ("rk4", nde.FixedStep(0.01), 1e-7),
        ("radau_iia5", nde.FixedStep(0.05), 1e-5),
        ("tsit5", None, 1e-8),
        ("dopri8", None, 1e-8),
    ],
)
@pytest.mark.parametrize("span", [(0.0, 10.0), (0.0, -10.0)], ids=["up", "down"])
def test_crossings_of_a_sine_are_found_by_every_family_of_methods(method, controller, tolerance, span) -> None:
    def rotation(t, y):
        return torch.stack([y[1], -y[0]])

    events = [
        nde.Event(lambda t, y: y[0], terminal=False, direction=1),
        nde.Event(lambda t, y: y[0], terminal=False, direction=-1),
        nde.Event(lambda t, y: torch.stack([y[0] - 0.5, y[1] - 0.5]), terminal=False),
    ]
    options = {"method": method, "controller": controller, "rtol": 1e-10, "atol": 1e-10}
    solution = nde.solve_ode(rotation, double(0.0, 1.0), span, events=events, **options)
    rising, falls, both = solution.events
    sign = 1 if span[1] > 0 else -1
    # sin t rises through zero at the even multiples of pi; with time running backward the directions change places
    even, odd = sign * 2 * math.pi * double(1.0), sign * math.pi * double(1.0, 3.0)
    first, second = (even, odd) if sign > 0 else (odd, even)
    start = (rising.t if sign > 0 else falls.t)[:1]
    if (
        start.numel() and abs(float(start)) < 1e-9
    ):  # a condition that is zero at the start has not changed its sign there
        raise AssertionError("the start is no crossing")
    torch.testing.assert_close(rising.t, first.reshape(-1), rtol=0, atol=tolerance)
    torch.testing.assert_close(falls.t, second.reshape(-1), rtol=0, atol=tolerance)
    assert set(both.entry.tolist()) == {0, 1}
    assert len(both) == int(((both.y[:, 0] - 0.5).abs() < 1e-2).sum() + ((both.y[:, 1] - 0.5).abs() < 1e-2).sum())


def test_a_terminal_event_ends_the_solve_and_later_outputs_are_missing() -> None:
    solution = nde.solve_ode(
        falling, double(1.0, 0.0), (0.0, 0.2, 0.4, 2.0), events=nde.Event(height), rtol=1e-9, atol=1e-9
    )
    assert solution.status is nde.Status.SUCCESS
    assert solution.t1 == pytest.approx(math.sqrt(2 / GRAVITY), rel=1e-9)
    expected = 1 - GRAVITY / 2 * double(0.0, 0.2, 0.4) ** 2
    torch.testing.assert_close(solution.ys[:3, 0], expected, rtol=1e-7, atol=1e-9)
    assert bool(solution.ys[3].isnan().all())
    assert abs(float(solution.y1[0])) < 1e-12


def test_pairs_of_changes_within_a_step_are_seen_with_checks() -> None:
    def line(t, y):
        return torch.ones_like(y)

    def dip(t, y):
        return (y - 0.5).square().sum() - 0.01

    missed = nde.solve_ode(
        line, double(0.0), (0.0, 1.0), events=nde.Event(dip, terminal=False), controller=nde.FixedStep(1.0)
    )
    seen = nde.solve_ode(
        line, double(0.0), (0.0, 1.0), events=nde.Event(dip, terminal=False, checks=9), controller=nde.FixedStep(1.0)
    )
    assert len(missed.events[0]) == 0
    torch.testing.assert_close(seen.events[0].t, double(0.4, 0.6), rtol=1e-12, atol=0)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_event_times_and_states_have_the_gradients_of_finite_differences(adjoint, per_sample) -> None:
    def field(t, y, w):
        return torch.stack(
            [y[..., 1], -w * torch.sin(y[..., 0]) - 0.1 * y[..., 1] + 0.2 * torch.cos(t).reshape(y[..., 0].shape)], -1
        )

    y0 = double([1.0, 0.2]) if per_sample else double(1.0, 0.2)
    inputs = (
        y0.requires_grad_(),
        double(2.0)[0].requires_grad_(),
        double(0.3)[0].requires_grad_(),
        double(0.0, 2.5, 5.0).requires_grad_(),
    )

    def observed(start, w, level, ts):
        kick = nde.Event(
            lambda t, y, w: y[..., 0] - level,
            terminal=False,
            direction=-1,
            apply=lambda t, y, w: y * torch.stack([torch.ones_like(level), 1 + level]),
        )
        solution = nde.solve_ode(
            field, start, ts, (w,), events=kick, adjoint=adjoint, per_sample=per_sample, rtol=1e-9, atol=1e-9
        )
        (found,) = solution.events
        assert len(found) >= 1
        return found.t, found.y, solution.ys, solution.y1

    # steps that the controller chooses count as constants, which differences see as errors of the tolerance
    assert torch.autograd.gradcheck(observed, inputs, eps=1e-5, atol=1e-5, rtol=1e-4)


def test_second_derivatives_of_an_event_time() -> None:
    def observed(drop, restitution):
        start = torch.stack([drop, torch.zeros_like(drop)])
        event = nde.Event(height, terminal=3, direction=-1, apply=bounce(restitution).apply)
        return (
            nde.solve_ode(falling, start, (0.0, 100.0), events=event, rtol=1e-9, atol=1e-9, adjoint="direct")
            .events[0]
            .t
        )

    inputs = (double(2.0)[0].requires_grad_(), double(0.8)[0].requires_grad_())
    assert torch.autograd.gradgradcheck(observed, inputs, atol=1e-4, rtol=1e-4)


def test_what_is_no_event_is_named() -> None:
    with pytest.raises(TypeError, match="condition"):
        nde.Event(1.0)
    with pytest.raises(ValueError, match="direction"):
        nde.Event(height, direction=2)
    with pytest.raises(ValueError, match="terminal"):
        nde.Event(height, terminal=-1)
    with pytest.raises(TypeError, match="events must be"):
        nde.solve_ode(falling, double(1.0, 0.0), (0.0, 1.0), events=height)
    with pytest.raises(TypeError, match="condition"):
        nde.solve_ode(falling, double(1.0, 0.0), (0.0, 1.0), events=nde.Event(lambda t, y: 1.0))
    with pytest.raises(ValueError, match="one value per sample"):
        nde.solve_ode(
            falling,
            double([1.0, 0.0]).repeat(2, 1),
            (0.0, 1.0),
            events=nde.Event(lambda t, y: y.sum()),
            per_sample=True,
        )


@pytest.mark.parametrize("method", nde.method_names())
def test_an_event_is_found_on_the_dense_output_of_every_method(method) -> None:
    times = []
    for size in (0.1, 0.05):
        solution = nde.solve_ode(
            lambda t, y: -y * t.cos(),
            double(1.0, 2.0),
            (0.1, 2.0),
            method=method,
            controller=nde.FixedStep(size),
            events=nde.Event(lambda t, y: y[0] - 0.6, terminal=True),
        )
        assert float(solution.events[0].y[0, 0]) == pytest.approx(0.6, abs=1e-12)
        assert float(solution.t1) == float(solution.events[0].t[0])
        times.append(float(solution.events[0].t[0]))
    # y = exp(sin 0.1 - sin t)
    exact = math.asin(math.sin(0.1) - math.log(0.6))
    errors = [abs(time - exact) for time in times]
    assert errors[1] < 0.7 * errors[0] or errors[1] < 1e-10
