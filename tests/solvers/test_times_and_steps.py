"""Times of any kind, and the steps between them: what controllers and limits promise."""

import math

import numpy
import pytest
import torch

import nde
from tests.problems import METHODS, Net, double, van_der_pol


@pytest.mark.parametrize(
    "ts",
    [
        (0, 1, 2),
        [0.0, 1.0, 2.0],
        numpy.array([0.0, 1.0, 2.0]),
        numpy.array([0, 1, 2]),
        numpy.array([0.0, 1.0, 2.0], dtype=numpy.float32),
        torch.tensor([0.0, 1.0, 2.0]),
        torch.tensor([0, 1, 2]),
        torch.arange(3, dtype=torch.float64),
        torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16),
        range(3),
    ],
    ids=lambda ts: f"{type(ts).__name__} {getattr(ts, 'dtype', '')}",
)
def test_times_of_any_kind_give_bitwise_the_same_solution(ts) -> None:
    expected = nde.solve_ode(van_der_pol, double(2.0, 0.0), double(0.0, 1.0, 2.0))
    solution = nde.solve_ode(van_der_pol, double(2.0, 0.0), ts)
    assert torch.equal(solution.ys, expected.ys)
    assert solution.ts.tolist() == [0, 1, 2]


def test_times_in_single_precision_may_be_differentiated() -> None:
    ts = torch.tensor([0.0, 1.0], requires_grad=True)
    nde.solve_ode(lambda t, y: -y, double(1.0), ts, rtol=1e-8, atol=1e-8).y1.sum().backward()
    assert ts.grad.dtype is torch.float32
    assert float(ts.grad[1]) == pytest.approx(-math.exp(-1), rel=1e-5)  # single precision of the gradient


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_large_times_do_not_cost_accuracy_of_a_single_precision_state(offset: float) -> None:
    # t itself is not representable to 1e-3 in float32 at 1e6, but an autonomous field does not see it
    solution = nde.solve_ode(lambda t, y: -y, torch.ones(1), (offset, offset + 1), rtol=1e-5, atol=1e-6)
    assert float(solution.y1) == pytest.approx(math.exp(-1), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_backward_time_is_forward_time_of_the_mirrored_field(method: str) -> None:
    net = Net(size=2)
    y0 = double(0.4, -0.7)
    options = {"method": method, "controller": nde.FixedStep(0.3)}
    backward = nde.solve_ode(net, y0, (0.5, 0.1, -0.5), **options)
    mirrored = nde.solve_ode(lambda s, y: -net(-s, y), y0, (-0.5, -0.1, 0.5), **options)
    torch.testing.assert_close(backward.ys, mirrored.ys, rtol=1e-14, atol=1e-15)  # the same sums with other signs
    assert (backward.steps.h < 0).all()
    if backward.steps.error is not None:
        torch.testing.assert_close(backward.steps.error, mirrored.steps.error, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 5.0])
@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0), (-0.35, 2.0)])
def test_fixed_steps_have_their_size_but_for_the_last(size: float, span: tuple[float, float]) -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), span, controller=nde.FixedStep(size))
    length = abs(span[1] - span[0])
    assert len(solution.steps) == math.ceil(length / size - 1e-9)
    sizes = solution.steps.h.abs().tolist()
    assert sizes[:-1] == pytest.approx([size] * (len(sizes) - 1), rel=1e-12)  # differences of rounded times
    assert 0 < sizes[-1] <= size * (1 + 1e-9)
    assert solution.t1 == span[1]


def test_steps_between_given_times_end_there() -> None:
    times = (0.75, 0.25, -1.0, 0.5, 5.0, 0.25)  # unordered, repeated, partly outside
    for span in ((0.0, 1.0), (1.0, 0.0)):
        solution = nde.solve_ode(lambda t, y: -y, double(1.0), span, controller=nde.StepTo(times))
        ends = sorted((solution.steps.t + solution.steps.h).tolist(), reverse=span[0] > span[1])
        expected = sorted({0.25, 0.5, 0.75, span[1]}, reverse=span[0] > span[1])
        assert ends == expected


def test_steps_between_the_outputs_end_there() -> None:
    times = [0.0, 0.2, 0.21, 0.9, 1.0]
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), times, method="rk4", controller=nde.StepTo())
    assert (solution.steps.t + solution.steps.h).tolist() == pytest.approx(times[1:], rel=1e-15)
    assert len(solution.steps) == 4


def test_largest_step_is_respected() -> None:
    field = lambda t, y: -0.01 * y
    free = nde.solve_ode(field, double(1.0), (0.0, 10.0))
    limited = nde.solve_ode(field, double(1.0), (0.0, 10.0), dt_max=0.5)
    assert float(free.steps.h.max()) > 0.5
    assert float(limited.steps.h.max()) <= 0.5 * 1.01  # a step may stretch by a hundredth to reach the end
    assert len(limited.steps) >= 20 - 1


@pytest.mark.parametrize("controller", [nde.IController(), nde.PIController(), nde.PIDController(p=0.2, i=0.4, d=0.1)])
def test_step_sizes_change_by_no_more_than_the_factors(controller) -> None:
    solution = nde.solve_ode(van_der_pol, double(2.0, 0.0), (0.0, 8.0), rtol=1e-6, controller=controller)
    # the last two steps are cut to reach the end
    factors = (solution.steps.h[1:] / solution.steps.h[:-1])[:-2]
    assert float(factors.max()) <= controller.max_factor * (1 + 1e-9)
    narrow = type(controller)(p=controller.p, i=controller.i, d=controller.d, max_factor=1.5, initial=1e-4)
    limited = nde.solve_ode(van_der_pol, double(2.0, 0.0), (0.0, 8.0), rtol=1e-6, controller=narrow)
    assert float((limited.steps.h[1:] / limited.steps.h[:-1])[:-2].max()) == pytest.approx(1.5, rel=1e-9)


def test_rejected_steps_shrink_by_the_smallest_factor_at_most() -> None:
    # a field that breaks beyond 0.1 makes each rejection the strongest: 1 -> 0.5 -> 0.25 -> 0.125 -> 0.0625
    field = lambda t, y: -y if float(t) < 0.1 else y * math.nan
    solution = nde.solve_ode(
        field, double(1.0), (0.0, 0.0999), controller=nde.IController(initial=0.05), rtol=1e-3, atol=1e-3
    )
    assert solution.stats.n_rejected == 0
    broken = nde.solve_ode(
        field,
        double(1.0),
        (0.0, 1.0),
        controller=nde.IController(initial=1.0 / 1.02, min_factor=0.5),
        max_steps=5,
        rtol=0.5,
        atol=0.5,
        throw=False,
    )
    assert broken.stats.n_rejected >= 4
    assert float(broken.steps.h[0]) == pytest.approx(1.0 / 1.02 / 16, rel=1e-12)


def test_proportional_control_rejects_fewer_steps_where_stability_limits_them() -> None:
    # a fast decay to a slow solution: the elementary controller runs into the stability limit again and again
    field = lambda t, y: -200.0 * (y - torch.cos(t))
    options = {"rtol": 1e-3, "atol": 1e-3, "method": "tsit5"}
    elementary = nde.solve_ode(field, double(1.0), (0.0, 5.0), controller=nde.IController(), **options).stats
    proportional = nde.solve_ode(field, double(1.0), (0.0, 5.0), controller=nde.PIController(), **options).stats
    assert elementary.n_rejected > 10
    assert proportional.n_rejected < elementary.n_rejected / 2


def test_controllers_keep_the_error_near_their_set_point() -> None:
    # exponential growth with a relative tolerance has steps of one size, where the error is the set point
    for controller in (nde.IController(), nde.PIController(), nde.PIDController(p=0.1, i=0.5)):
        solution = nde.solve_ode(lambda t, y: y, double(1.0), (0.0, 60.0), rtol=1e-5, atol=0.0, controller=controller)
        assert solution.steps.set_point == pytest.approx(0.9 ** (5 / controller.i), rel=1e-12)
        inner = solution.steps.error[len(solution.steps) // 2 : -2]
        # the estimate is proportional to h^5 only up to a few percent at this size
        assert float(inner.mean()) == pytest.approx(solution.steps.set_point, rel=0.1)
