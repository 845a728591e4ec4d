"""Every method converges with its strong order, on paths that all step sizes share."""

import functools
import math

import numpy
import pytest
import torch

import nde
from nde.solvers.sde import find_sde_method, sde_method_names
from tests.solvers.sde.problems import CASES, GENERAL, TablePath, additive, commutative, scalar

# the slope over these sizes is that of the order to 0.15: statistical and asymptotic errors are below that
STEPS = (16, 32, 64, 128)
CELLS = 256


def slope(case, method, path, **options):
    errors, target = [], case.exact(path)
    for steps in STEPS:
        y0 = torch.as_tensor(case.y0, dtype=torch.float64).expand(case.shape(path)).clone()
        solution = nde.solve_sde(
            case.drift, case.diffusion, y0, (path.t0, path.t1), noise=case.noise, calculus=case.calculus, method=method,
            path=path, controller=nde.FixedStep((path.t1 - path.t0) / steps), **options,
        )  # fmt: skip
        errors.append(float((solution.y1 - target).square().mean().sqrt()))
    return -numpy.polyfit(numpy.log(STEPS), numpy.log(errors), 1)[0]


def converging(calculus, noise):
    """The methods that converge strongly; others have tests of their law."""
    names = sde_method_names(calculus, noise)
    return [name for name in names if find_sde_method(name, calculus, noise).strong_orders[noise] is not None]


@functools.cache
def paths(*shape, cells=CELLS):
    return TablePath(0.0, 1.0, shape, cells, seed=3)


@pytest.mark.parametrize(
    ("name", "calculus", "method"),
    [(name, calculus, method) for name, calculus in CASES for method in converging(calculus, "diagonal")],
)
def test_strong_order_with_diagonal_noise(name, calculus, method) -> None:
    expected = find_sde_method(method, calculus, "diagonal").strong_orders["diagonal"]
    assert slope(CASES[name, calculus], method, paths(2000, 1)) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
@pytest.mark.parametrize("noise", ["scalar", "additive"])
def test_strong_order_with_scalar_and_additive_noise(noise, calculus) -> None:
    case = scalar(calculus) if noise == "scalar" else additive(calculus)
    for method in converging(calculus, noise):
        expected = find_sde_method(method, calculus, noise).strong_orders[noise]
        path = paths(2000, 1) if noise == "scalar" else paths(500, 3, cells=2048)
        found = slope(case, method, path)
        assert found == pytest.approx(expected, abs=0.15), method


@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
def test_strong_order_with_noise_that_does_not_commute(calculus) -> None:
    case = GENERAL[calculus]
    for method in converging(calculus, "general"):
        expected = find_sde_method(method, calculus, "general").strong_orders["general"]
        assert slope(case, method, paths(500, 2, cells=2048)) == pytest.approx(expected, abs=0.15), method


@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
def test_strong_order_with_noise_that_commutes(calculus) -> None:
    for method in converging(calculus, "commutative"):
        expected = find_sde_method(method, calculus, "commutative").strong_orders["commutative"]
        assert slope(commutative(calculus), method, paths(2000, 2)) == pytest.approx(expected, abs=0.15), method


def test_the_two_calculi_differ_by_the_drift_g_dg_2() -> None:
    # without the correction, one method would pass for the other calculus: the cases must tell them apart
    case = CASES["geometric", "ito"]
    wrong = case._replace(calculus="stratonovich")
    assert abs(slope(wrong, "heun", paths(2000))) < 0.1


@pytest.mark.parametrize("method", ["sriw1", "sosri"])
def test_error_estimates_of_methods_of_order_1_5_are_proportional_to_the_step_to_the_1_5(method) -> None:
    case, path, sizes, means = CASES["arsinh", "ito"], paths(2000), (16, 32, 64), []
    for steps in sizes:
        solution = nde.solve_sde(
            case.drift, case.diffusion, torch.full((2000,), 0.3, dtype=torch.float64), (0.0, 1.0), method=method,
            path=path, controller=nde.FixedStep(1 / steps),
        )  # fmt: skip
        means.append(float(solution.steps.error.mean()))
    order = -numpy.polyfit(numpy.log(sizes), numpy.log(means), 1)[0]
    assert order == pytest.approx(find_sde_method(method, "ito", "diagonal").error_order, abs=0.15)


def test_the_tables_paths_have_the_laws_they_claim() -> None:
    path = paths(2000)
    found = path(0.25, 0.75)
    # of 2000 samples, a variance is known to 3 % (one standard deviation)
    assert float(found.w.var()) == pytest.approx(0.5, rel=0.12)
    assert float(found.h.var()) == pytest.approx(0.5 / 12, rel=0.12)
    assert abs(float((found.w * found.h).mean())) < 4 * math.sqrt(0.5 * 0.5 / 12 / 2000)
