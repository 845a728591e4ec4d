"""Every method converges, estimates its error, interpolates and is stable as it claims, seen from outside.

The order conditions of the tableaus are tested elsewhere; here the whole solver runs, so that a wrong time of a stage,
a reused stage that does not belong to the step, or a misplaced output shows as a wrong order.
"""

import numpy
import pytest
import torch

import nde
from nde.solvers import find_method
from tests.problems import ADAPTIVE, METHODS, Manufactured, slope

PROBLEM = Manufactured()

# Range of the number of steps over the span in which the leading error term dominates: with fewer the next term is
# seen, with more the rounding of double precision (dopri8 is at 1e-15 with 48 steps already).
ASYMPTOTIC = {
    "euler": (128, 192, 256, 384),
    "midpoint": (32, 64, 96, 128),
    "heun": (32, 64, 96, 128),
    "ralston": (32, 64, 96, 128),
    "bosh3": (32, 48, 64, 96),
    "rk4": (16, 32, 48, 64),
    "dopri5": (48, 64, 96, 128),
    "tsit5": (96, 128, 160, 192),
    "dopri8": (6, 8, 12, 16, 24),
}

# Sizes of single steps, for local errors, chosen likewise.
STEP_SIZES = dict.fromkeys(METHODS, (0.04, 0.02, 0.01)) | {"dopri8": (0.4, 0.3, 0.2, 0.15)}
# dopri8 folds estimates of orders 6 and 4 into one of order 8, which shows only where the first is much the smaller.
ESTIMATE_SIZES = STEP_SIZES | {"dopri8": (0.1, 0.05, 0.025)}
STARTS = (0.1, 0.5, 0.9, 1.3, 1.8, 2.3, 2.5)

# The next term of the error expansion moves the slope by less than this in the ranges above.
ORDER_TOLERANCE = 0.15


def rms(value: torch.Tensor) -> float:
    return float(value.square().mean().sqrt())


def exact(times) -> torch.Tensor:
    return torch.stack([PROBLEM.solution(float(time)) for time in times])


def solve(method: str, times, size: float, **options) -> nde.Solution:
    start = PROBLEM.solution(float(times[0]))
    return nde.solve_ode(PROBLEM, start, times, method=method, controller=nde.FixedStep(size), **options)


def test_every_registered_explicit_method_is_tested_here() -> None:
    assert set(METHODS) <= set(nde.method_names())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("direction", [1, -1], ids=["forward", "backward"])
def test_error_at_the_ends_of_steps_has_the_claimed_order(method: str, direction: int) -> None:
    counts = ASYMPTOTIC[method]
    errors = []
    for count in counts:
        times = numpy.linspace(*PROBLEM.span[::direction], count + 1)
        ys = nde.solve_ode(PROBLEM, PROBLEM.solution(times[0]), times, method=method, controller=nde.StepTo()).ys
        errors.append(rms(ys - exact(times)))
    assert slope([1 / count for count in counts], errors) == pytest.approx(
        find_method(method).order, abs=ORDER_TOLERANCE
    )


@pytest.mark.parametrize("method", METHODS)
def test_dense_output_within_one_step_has_one_order_more_than_claimed(method: str) -> None:
    # from the exact state, so that nothing but the error of the interpolant is seen: h^(q + 1)
    sizes, errors = STEP_SIZES[method], []
    for size in sizes:
        squares = 0.0
        for start in STARTS:
            times = [start, *(start + theta * size for theta in (0.25, 0.5, 0.8)), start + size]
            solution = solve(method, times, size)
            assert len(solution.steps) == 1
            squares += rms((solution.ys - exact(times))[1:-1]) ** 2
        errors.append(squares**0.5)
    expected = find_method(method).interpolation_order + 1
    assert slope(sizes, errors) == pytest.approx(expected, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize("method", METHODS)
def test_outputs_inside_the_steps_of_a_long_solve_keep_the_lower_of_both_orders(method: str) -> None:
    counts, errors = ASYMPTOTIC[method], []
    for count in counts:
        times = numpy.linspace(*PROBLEM.span, 4 * count + 1)
        solution = solve(method, times, (PROBLEM.span[1] - PROBLEM.span[0]) / count)
        assert len(solution.steps) == count
        errors.append(rms(solution.ys - exact(times)))
    facts = find_method(method)
    expected = min(facts.order, facts.interpolation_order + 1)
    assert slope([1 / count for count in counts], errors) == pytest.approx(expected, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_error_estimate_is_proportional_to_the_claimed_power_of_the_step_size(method: str) -> None:
    sizes, vectors, ratios = ESTIMATE_SIZES[method], [], []
    for size in sizes:
        squares, scaled = 0.0, 0.0
        for start in STARTS:
            # with an absolute tolerance alone, the scaled error is the rms of the vector over it
            solution = solve(method, (start, start + size), size, local_errors=True, rtol=0.0, atol=1e-3)
            squares += rms(solution.steps.local_error) ** 2
            scaled += float(solution.steps.error.square().sum())
        vectors.append(squares**0.5)
        ratios.append(scaled**0.5)
    expected = find_method(method).error_order
    assert slope(sizes, vectors) == pytest.approx(expected, abs=ORDER_TOLERANCE)
    assert slope(sizes, ratios) == pytest.approx(expected, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize(("method", "error_order"), [("tsit5", 5), ("dopri5", 5), ("bosh3", 3), ("heun", 2)])
def test_halving_the_step_divides_the_error_estimate_by_two_to_its_order(method: str, error_order: int) -> None:
    coarse = solve(method, (0.5, 0.52), 0.02, local_errors=True).steps.local_error
    fine = solve(method, (0.5, 0.51), 0.01, local_errors=True).steps.local_error
    # the next power of h changes the quotient by some h = 1% times the ratio of the coefficients
    assert rms(coarse) / rms(fine) == pytest.approx(2**error_order, rel=0.1)


def test_error_estimate_of_the_trapezoid_is_the_difference_to_euler() -> None:
    start, size = PROBLEM.solution(0.5), 0.1
    solution = solve("heun", (0.5, 0.5 + size), size, local_errors=True)
    euler = start + size * PROBLEM(torch.tensor(0.5), start)
    # two sums of numbers below 3 in different order
    torch.testing.assert_close(solution.steps.local_error[0], solution.y1 - euler, rtol=0, atol=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_facts_of_a_solution_are_those_of_its_method(method: str) -> None:
    facts = find_method(method)
    steps = solve(method, (0.0, 0.1), 0.1).steps
    assert (steps.error is None) == (facts.error_order is None)
    assert (steps.stiffness is None) == (not facts.has_stiffness)
    assert steps.error_order == facts.error_order
    assert steps.stability == facts.stability


# Shampine's and Hairer's tables: tsit5, dopri5 and rk4 to the digits published, the two-stage methods exactly.
@pytest.mark.parametrize(
    ("method", "length", "digits"),
    [
        ("euler", 2.0, 1e-12),
        ("midpoint", 2.0, 1e-12),
        ("heun", 2.0, 1e-12),
        ("ralston", 2.0, 1e-12),
        ("rk4", 2.785, 5e-4),
        ("dopri5", 3.3066, 5e-5),
        ("tsit5", 3.5068, 5e-5),
    ],
)
def test_stability_length_equals_the_published_one(method: str, length: float, digits: float) -> None:
    assert find_method(method).stability == pytest.approx(length, abs=digits)


@pytest.mark.parametrize("method", METHODS)
def test_a_decay_is_damped_just_inside_the_stability_length_and_grows_just_outside(method: str) -> None:
    length = find_method(method).stability

    def growth(product: float) -> float:
        start = torch.ones(1, dtype=torch.float64)
        solution = nde.solve_ode(lambda t, y: -product * y, start, (0.0, 1.0), method=method, controller=nde.StepTo())
        return abs(float(solution.y1))

    assert growth(0.999 * length) < 1 < growth(1.001 * length)


@pytest.mark.parametrize("method", ["rk4", "dopri5", "tsit5", "dopri8"])
def test_stiffness_of_a_diagonal_system_is_its_fastest_rate(method: str) -> None:
    # one step with both stages excited: the quotient of norms lies between the rates, near the one that dominates
    rates = torch.tensor([50.0, 0.1], dtype=torch.float64)
    start = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    solution = nde.solve_ode(lambda t, y: -rates * y, start, (0.0, 0.02), method=method, controller=nde.StepTo())
    assert float(solution.steps.stiffness) == pytest.approx(50.0, rel=1e-6)  # the slow part enters squared, as 1e-6


@pytest.mark.parametrize("method", ["rk4", "dopri5", "tsit5", "dopri8"])
def test_stiffness_does_not_depend_on_the_sign_of_time(method: str) -> None:
    start = torch.tensor([1.0, 2.0], dtype=torch.float64)
    forward = nde.solve_ode(lambda t, y: -3 * y, start, (0.0, 0.1), method=method, controller=nde.StepTo())
    backward = nde.solve_ode(lambda t, y: 3 * y, start, (0.0, -0.1), method=method, controller=nde.StepTo())
    # the same arithmetic but for signs; differences of states near 1 lose some digits
    torch.testing.assert_close(forward.steps.stiffness, backward.steps.stiffness, rtol=1e-12, atol=0)
    assert float(forward.steps.stiffness) == pytest.approx(3.0, rel=1e-9)
