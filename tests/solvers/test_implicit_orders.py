"""Implicit methods converge with the order that they claim, down to rounding, and so does their dense output."""

import numpy
import pytest
import torch

import nde
from nde.solvers import find_method
from tests.problems import Manufactured, slope

PROBLEM = Manufactured()
# numbers of steps in which the leading error term dominates; the last ones come near rounding
COUNTS = {
    "implicit_euler": (128, 256, 512),
    "implicit_midpoint": (32, 64, 128),
    "trapezoid": (32, 64, 128),
    "sdirk2": (32, 64, 128),
    "trbdf2": (32, 64, 128),
    "radau_iia3": (32, 64, 128),
    "gauss4": (16, 32, 64, 128),
    "radau_iia5": (16, 32, 64, 128, 256),
    "gauss6": (8, 16, 32, 64, 128),
}
IMPLICIT = tuple(COUNTS)
each = pytest.mark.parametrize("method", IMPLICIT)
ORDER_TOLERANCE = 0.15


def rms(value: torch.Tensor) -> float:
    return float(value.square().mean().sqrt())


def exact(times) -> torch.Tensor:
    return torch.stack([PROBLEM.solution(float(time)) for time in times])


@each
@pytest.mark.parametrize("direction", [1, -1], ids=["forward", "backward"])
def test_implicit_error_at_the_ends_of_steps_has_the_claimed_order(method: str, direction: int) -> None:
    errors = []
    for count in COUNTS[method]:
        times = numpy.linspace(*PROBLEM.span[::direction], count + 1)
        ys = nde.solve_ode(PROBLEM, PROBLEM.solution(times[0]), times, method=method, controller=nde.StepTo()).ys
        errors.append(rms(ys - exact(times)))
    assert slope([1 / count for count in COUNTS[method]], errors) == pytest.approx(
        find_method(method).order, abs=ORDER_TOLERANCE
    )


@pytest.mark.parametrize("method", ["radau_iia5", "gauss6"])
def test_high_order_does_not_stall_above_rounding(method: str) -> None:
    times = numpy.linspace(*PROBLEM.span, 257)
    ys = nde.solve_ode(PROBLEM, PROBLEM.solution(0.0), times, method=method, controller=nde.StepTo()).ys
    assert rms(ys - exact(times)) < 5e-13


@each
def test_implicit_dense_output_within_one_step_has_one_order_more_than_claimed(method: str) -> None:
    sizes, errors = (0.04, 0.02, 0.01), []
    for size in sizes:
        squares = 0.0
        for start in (0.1, 0.5, 0.9, 1.3, 1.8, 2.3, 2.5):
            times = [start, *(start + theta * size for theta in (0.2, 0.45, 0.8)), start + size]
            solution = nde.solve_ode(
                PROBLEM, PROBLEM.solution(start), times, method=method, controller=nde.FixedStep(size)
            )
            squares += rms((solution.ys - exact(times))[1:-1]) ** 2
        errors.append(squares**0.5)
    expected = find_method(method).interpolation_order + 1
    assert slope(sizes, errors) == pytest.approx(expected, abs=ORDER_TOLERANCE)


@each
def test_facts_of_implicit_methods(method: str) -> None:
    facts = find_method(method)
    assert facts.error_order is None and facts.stability is None and facts.rows
    assert facts.source and method in nde.method_names() and method in repr(facts)
