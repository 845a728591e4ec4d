"""The reversible Heun method for ordinary equations has the orders that it claims."""

import math

import numpy
import pytest
import torch

import nde
from nde.solvers import find_method
from tests.problems import Counted, Manufactured, double, slope

PROBLEM = Manufactured()
FACTS = find_method("reversible_heun")
STARTS = (0.1, 0.5, 0.9, 1.3, 1.8, 2.3, 2.5)
# The next term of the error expansion moves the slope by less than this for the step sizes below.
ORDER_TOLERANCE = 0.15


def rms(value: torch.Tensor) -> float:
    return float(value.square().mean().sqrt())


def exact(times) -> torch.Tensor:
    return torch.stack([PROBLEM.solution(float(time)) for time in times])


def solve(times, **options) -> nde.Solution:
    return nde.solve_ode(PROBLEM, PROBLEM.solution(float(times[0])), times, method="reversible_heun", **options)


@pytest.mark.parametrize("direction", [1, -1], ids=["forward", "backward"])
@pytest.mark.parametrize("inside", [1, 4], ids=["at the ends of steps", "inside them"])
def test_the_error_has_the_claimed_order(direction: int, inside: int) -> None:
    counts, errors = (64, 96, 128, 192), []
    for count in counts:
        times = numpy.linspace(*PROBLEM.span[::direction], inside * count + 1)
        controller = nde.FixedStep((PROBLEM.span[1] - PROBLEM.span[0]) / count)
        solution = solve(times, controller=controller)
        assert len(solution.steps) == count
        errors.append(rms(solution.ys - exact(times)))
    assert FACTS.order == 2
    assert slope([1 / count for count in counts], errors) == pytest.approx(2, abs=ORDER_TOLERANCE)


def test_dense_output_and_error_estimate_of_one_step_have_the_claimed_orders() -> None:
    sizes, dense, estimates = (0.04, 0.02, 0.01), [], []
    for size in sizes:
        outputs = estimate = 0.0
        for start in STARTS:
            times = [start, *(start + theta * size for theta in (0.25, 0.5, 0.8)), start + size]
            solution = solve(times, controller=nde.FixedStep(size), local_errors=True)
            outputs += rms((solution.ys - exact(times))[1:-1]) ** 2
            estimate += rms(solution.steps.local_error) ** 2
        dense.append(math.sqrt(outputs))
        estimates.append(math.sqrt(estimate))
    assert slope(sizes, dense) == pytest.approx(FACTS.interpolation_order + 1, abs=ORDER_TOLERANCE)
    assert slope(sizes, estimates) == pytest.approx(FACTS.error_order, abs=ORDER_TOLERANCE)


def test_the_first_step_is_the_trapezoid_and_the_second_carries_the_other_state_along() -> None:
    def field(t, y):
        return torch.cos(t) * y + y.square()

    y0, h = double(0.3, -0.2), 0.1
    time = torch.tensor([0.0, h, 2 * h], dtype=torch.float64)
    z1 = y0 + h * field(time[0], y0)
    y1 = y0 + h / 2 * (field(time[0], y0) + field(time[1], z1))
    z2 = 2 * y1 - z1 + h * field(time[1], z1)
    y2 = y1 + h / 2 * (field(time[1], z1) + field(time[2], z2))
    solution = nde.solve_ode(field, y0, time, method="reversible_heun", controller=nde.StepTo(), local_errors=True)
    torch.testing.assert_close(solution.ys, torch.stack([y0, y1, y2]), rtol=0, atol=1e-15)
    torch.testing.assert_close(solution.steps.local_error[0], y1 - y0 - h * field(time[0], y0), rtol=0, atol=1e-15)
    torch.testing.assert_close(solution.carry1[0], z2, rtol=0, atol=1e-15)


def test_the_controller_keeps_to_the_tolerance_with_one_evaluation_per_step() -> None:
    counted = Counted(lambda t, y: torch.cos(t) * y)
    errors = []
    for tolerance in (1e-4, 1e-6):
        counted.calls = 0
        solution = nde.solve_ode(
            counted, double(1.0), (0.0, 6.0), method="reversible_heun", rtol=tolerance, atol=tolerance
        )
        # the carry of the first step, and one evaluation that chose its size
        assert counted.calls == solution.stats.n_steps + 2
        errors.append(abs(float(solution.y1) - math.exp(math.sin(6.0))))
    assert errors[1] < errors[0] / 20 and errors[1] < 1e-4


def test_it_is_stable_on_an_interval_of_the_imaginary_axis_alone() -> None:
    rotation = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)

    def growth(matrix):
        solution = nde.solve_ode(
            lambda t, y: matrix @ y, double(1.0, 0.5), (0.0, 200.0), method="reversible_heun",
            controller=nde.FixedStep(1.0),
        )  # fmt: skip
        return rms(solution.y1)

    assert growth(0.99 * rotation) < 10 < 1e3 < growth(1.05 * rotation)
    assert growth(-0.2 * torch.eye(2, dtype=torch.float64)) > 1e3
    assert FACTS.stability is None
