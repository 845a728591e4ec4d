"""Langevin methods converge with their strong order, to the solution of the equation, and to its invariant law."""

import math

import numpy
import pytest
import scipy.stats
import torch

import nde
from nde.solvers.brownian import BrownianIncrement
from nde.solvers.sde import find_sde_method, sde_method_names

METHODS = sde_method_names("ito", "langevin")
PATH = nde.BrownianPath(
    0.0, 2.0, (200, 2), seed=3, levy_area="space-time-time", grid=torch.linspace(0, 2, 1025, dtype=torch.float64),
    dtype=torch.float64,
)  # fmt: skip
X0 = torch.linspace(-1, 1, 400, dtype=torch.float64).view(200, 2)


def gradient(t, x):
    """A potential that moves in time and couples the entries."""
    return x**3 - x + torch.cos(2 * t) * torch.sin(x.flip(-1))


def end(method, steps, gamma=1.3, u=0.7):
    solution = nde.solve_langevin(
        gradient, X0, 0.5 * X0, (0.0, 2.0), gamma=gamma, u=u, method=method, path=PATH,
        controller=nde.FixedStep(2.0 / steps),
    )  # fmt: skip
    return torch.cat(solution.y1)


def error(found, exact):
    return float((found - exact).square().mean().sqrt())


def slope(sizes, errors):
    return numpy.polyfit(numpy.log(sizes), numpy.log(errors), 1)[0]


@pytest.mark.parametrize("method", METHODS)
def test_strong_order_on_a_potential_that_moves_in_time(method) -> None:
    # the reference is another method of order 3, whose error with 1024 steps is a five hundredth of the finest here
    exact = end("should" if method == "quicsort" else "quicsort", 1024)
    steps = numpy.array([8, 16, 32, 64, 128])
    found = slope(1 / steps, [error(end(method, count), exact) for count in steps])
    assert found == pytest.approx(find_sde_method(method, "ito", "langevin").strong_orders["langevin"], abs=0.15)


def test_the_equation_is_the_one_that_solve_sde_solves() -> None:
    gamma, u, steps = 1.3, 0.7, 1024
    path = nde.BrownianPath(
        0.0, 2.0, (200, 1), seed=4, levy_area="space-time", grid=torch.linspace(0, 2, steps + 1, dtype=torch.float64),
        dtype=torch.float64,
    )  # fmt: skip

    def force(t, x):
        return x**3 - x + torch.cos(2 * t)

    y0, fixed = X0.clone(), nde.FixedStep(2.0 / steps)
    whole = nde.solve_sde(
        lambda t, y: torch.stack([y[:, 1], -gamma * y[:, 1] - u * force(t, y[:, 0])], -1),
        lambda t, y: torch.tensor([[0.0], [math.sqrt(2 * gamma * u)]], dtype=torch.float64).expand(200, 2, 1),
        y0, (0.0, 2.0), noise="additive", method="sosra", path=path, controller=fixed,
    ).y1  # fmt: skip
    x, v = nde.solve_langevin(
        force, y0[:, :1], y0[:, 1:], (0.0, 2.0), gamma=gamma, u=u, method="align", path=path, controller=fixed
    ).y1
    # the error of a method of order 1.5 with 1024 steps; the state is of size 1
    assert error(torch.cat([x, v], 1), whole) < 1e-4


class _Units:
    """A path whose samples 2 to 7 have one part of one half, or of the whole, and nothing else."""

    t0, t1, shape = 0.0, 4.0, (8, 1)

    def __init__(self, middle):
        self.middle = middle

    def __call__(self, s, t):
        parts = torch.zeros(3, 8, 1, dtype=torch.float64)
        first = 2 if s < self.middle else 5
        for part, scale in enumerate((1.0, 12.0, 720.0)):
            parts[part, first + part] = math.sqrt((t - s) / scale)
        return BrownianIncrement(*parts, None)


def invariant_covariance(method, h, stiffness, gamma, u):
    """Return the covariance of a step's invariant law on a quadratic potential: a step is linear in state and noise."""
    x0, v0 = torch.zeros(2, 8, 1, dtype=torch.float64)
    x0[0], v0[1] = 1.0, 1.0
    x, v = nde.solve_langevin(
        lambda t, x: stiffness * x, x0, v0, (0.0, h), gamma=gamma, u=u, method=method, path=_Units(0.5 * h),
        controller=nde.StepTo(),
    ).y1  # fmt: skip
    columns = torch.stack([x[:, 0], v[:, 0]]).numpy()
    return scipy.linalg.solve_discrete_lyapunov(columns[:, :2], columns[:, 2:] @ columns[:, 2:].T)


@pytest.mark.parametrize("method", METHODS)
def test_the_invariant_law_on_a_quadratic_potential_is_that_of_the_equation_to_at_least_the_order(method) -> None:
    stiffness, gamma, u = 1.7, 1.2, 0.6
    exact, sizes = numpy.diag([1 / stiffness, u]), numpy.array([0.4, 0.2, 0.1])
    errors = [numpy.abs(invariant_covariance(method, float(h), stiffness, gamma, u) - exact).max() for h in sizes]
    kind = find_sde_method(method, "ito", "langevin")
    assert slope(sizes, errors) > (kind.weak_order or kind.strong_orders["langevin"]) - 0.15
    assert errors[-1] < 0.005


def test_baoab_has_the_exact_invariant_law_of_positions_with_any_step() -> None:
    for h in (0.1, 0.5, 1.2):
        found = invariant_covariance("baoab", h, 1.7, 1.2, 0.6)
        assert found[0, 0] == pytest.approx(1 / 1.7, rel=1e-10)


def test_the_invariant_law_of_a_double_well_is_sampled() -> None:
    count, u = 40_000, 0.5
    solution = nde.solve_langevin(
        lambda t, x: 4 * x * (x**2 - 1) + 0.5, torch.ones(count, dtype=torch.float64),
        torch.zeros(count, dtype=torch.float64), (0.0, 40.0), gamma=1.0, u=u, method="quicsort", seed=11,
        controller=nde.FixedStep(0.2),
    )  # fmt: skip
    x, v = (part.numpy() for part in solution.y1)
    grid = numpy.linspace(-4, 4, 20_001)

    def distribution(heat):
        density = numpy.exp(-((grid**2 - 1) ** 2 + 0.5 * grid) / heat)
        cumulated = density.cumsum()
        return lambda at: numpy.interp(at, grid, cumulated / cumulated[-1])

    assert scipy.stats.kstest(x, distribution(1.0)).pvalue > 0.01
    assert scipy.stats.kstest(v, scipy.stats.norm(scale=math.sqrt(u)).cdf).pvalue > 0.01
    # the tests have the power to see a temperature that is off by a tenth
    assert scipy.stats.kstest(x, distribution(1.1)).pvalue < 1e-3
    assert scipy.stats.kstest(v, scipy.stats.norm(scale=math.sqrt(1.1 * u)).cdf).pvalue < 1e-3


def test_error_estimates_of_align_are_proportional_to_the_square_of_the_step() -> None:
    sizes, means = numpy.array([2 / 64, 2 / 128, 2 / 256]), []
    for size in sizes:
        solution = nde.solve_langevin(
            gradient, X0, X0, (0.0, 2.0), gamma=1.3, method="align", path=PATH, controller=nde.FixedStep(float(size))
        )
        means.append(float(solution.steps.error.mean()))
    assert slope(sizes, means) == pytest.approx(find_sde_method("align", "ito", "langevin").error_order, abs=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_small_frictions_leave_the_equation_of_motion_and_large_ones_stay_finite(method) -> None:
    # without friction and noise: the leapfrog's problem, solved by a fine step of order 3
    tiny = end(method, 256, gamma=1e-14)
    exact = end("quicsort", 1024, gamma=1e-14)
    assert error(tiny, exact) < 1e-3
    assert bool(end(method, 256, gamma=1e8).isfinite().all())
