"""Splitting Runge-Kutta methods: coefficients, orders on hard equations, error estimates, and what they ask for."""

import dataclasses
import functools

import numpy
import pytest
import torch

import nde
from nde.solvers.sde import find_sde_method, sde_method_names, splitting_tables
from tests.solvers.sde.problems import CASES, GENERAL, TablePath, additive, bent
from tests.solvers.sde.test_srk_order_conditions import full
from tests.solvers.sde.test_strong_orders import slope

TABLES = ("SEA", "SHARK", "GENERAL_SHARK", "SLOW_RK", "SPARK")
NAMES = ("sea", "shark", "general_shark", "slow_rk", "spark")


def arrays(name):
    tableau = getattr(splitting_tables, name)
    matrices = [full(getattr(tableau, key)) for key in ("a", "a_w", "a_h")]
    return [*matrices, *(numpy.array(getattr(tableau, key)) for key in ("c", "b", "b_w", "b_h"))]


@pytest.mark.parametrize("name", TABLES)
def test_coefficients_give_the_integrals_of_linear_changes_in_time(name) -> None:
    # of the noise: int u dW = W / 2 - H over a step of length 1
    _, _, _, c, _, b_w, b_h = arrays(name)
    numpy.testing.assert_allclose([b_w @ c, b_h @ c], [1 / 2, -1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", TABLES)
def test_coefficients_follow_the_integral_of_the_path_in_the_drift(name) -> None:
    # int W du = W / 2 + H over a step of length 1
    _, a_w, a_h, _, b, _, _ = arrays(name)
    numpy.testing.assert_allclose([b @ a_w.sum(1), b @ a_h.sum(1)], [1 / 2, 1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "SEA"])
def test_coefficients_of_order_1_5_match_the_second_moment_of_the_path_in_the_drift(name) -> None:
    # E int W^2 du = 1 / 2, where W has the variance 1 and H 1 / 12; and the drift at the middle of the step
    _, a_w, a_h, c, b, _, _ = arrays(name)
    moment = b @ (a_w.sum(1) ** 2 + a_h.sum(1) ** 2 / 12)
    numpy.testing.assert_allclose([moment, b @ c], [1 / 2, 1 / 2], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["GENERAL_SHARK", "SLOW_RK", "SPARK"])
def test_coefficients_match_the_double_integral_of_noise_and_the_brackets_mean_area(name) -> None:
    # g' g (W^2 / 2), and g_l' g_k (H_k W_l - W_k H_l) given (W, H) where the noise does not commute
    _, a_w, a_h, _, _, b_w, b_h = arrays(name)
    square, inner, outer = b_w @ a_w.sum(1), b_w @ a_h.sum(1), b_h @ a_w.sum(1)
    wanted = [1 / 2, 0.0, 0.0] if name == "SLOW_RK" else [1 / 2, 1.0, -1.0]  # it ignores the area
    numpy.testing.assert_allclose([square, inner, outer], wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b_w": (1.0,)}, r"b_w must have \d entries"),
        ({"a": ((1.0,),) * 7}, "a must have rows"),
        ({"b": None}, "b must sum to 1"),
        ({"b_h": None}, "b_h must sum to 0"),
        ({"c": None}, r"of a must sum to c\["),
        ({"errors": None, "error_order": 1.0}, "given together"),
    ],
)
def test_coefficients_that_contradict_each_other_are_refused(name, changes, message) -> None:
    tableau = getattr(splitting_tables, name)
    changes = {
        key: tuple(entry + 0.25 for entry in getattr(tableau, key)) if value is None and key != "errors" else value
        for key, value in changes.items()
    }
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tableau, **changes)


@functools.cache
def bent_case():
    path, case = TablePath(0.0, 1.0, (1000, 3), 4096, seed=3), bent()
    end = case.exact(path)
    return case._replace(exact=lambda path: end), path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["slow_rk", "general_shark", "spark", "log_ode"])
def test_strong_order_with_noise_that_commutes_and_a_drift_that_does_not(method, monkeypatch) -> None:
    monkeypatch.setattr("tests.solvers.sde.test_strong_orders.STEPS", (64, 128, 256, 512))
    case, path = bent_case()
    expected = find_sde_method(method, "stratonovich", "commutative").strong_orders["commutative"]
    assert slope(case, method, path) == pytest.approx(expected, abs=0.15)


def problem(method):
    """A case that the method takes."""
    return additive("stratonovich") if method in ("sea", "shark") else CASES["geometric", "stratonovich"]


@functools.cache
def path_for(channels):
    return TablePath(0.0, 1.0, (500,) if channels is None else (500, channels), 512, seed=8)


def solve(case, method, y0=None, ts=(0.0, 1.0), path=None, **options):
    path = path_for(case.channels) if path is None else path
    if y0 is None:
        y0 = torch.full(case.shape(path), case.y0, dtype=torch.float64)
    return nde.solve_sde(
        case.drift,
        case.diffusion,
        y0,
        ts,
        noise=case.noise,
        calculus=case.calculus,
        method=method,
        path=path,
        **options,
    )


@pytest.mark.parametrize(
    ("method", "case", "order"),
    [
        ("shark", additive("stratonovich"), 1.5),
        ("spark", CASES["geometric", "stratonovich"], 1.5),
        ("spark", GENERAL["stratonovich"], 1.0),
    ],
)
def test_error_estimates_are_proportional_to_a_power_of_the_step(method, case, order) -> None:
    # the claim of spark, 1, is for noise that does not commute
    sizes = (64, 128, 256)
    means = [float(solve(case, method, controller=nde.FixedStep(1 / n)).steps.error.mean()) for n in sizes]
    assert -numpy.polyfit(numpy.log(sizes), numpy.log(means), 1)[0] == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("method", ["shark", "spark"])
def test_tighter_tolerances_come_nearer_to_a_fine_solve_on_the_same_path(method) -> None:
    case = problem(method)
    shape = (200,) if case.channels is None else (200, case.channels)
    path = nde.BrownianPath(0.0, 1.0, shape, seed=2, levy_area="space-time", dtype=torch.float64)
    fine, errors, steps = solve(case, method, path=path, controller=nde.FixedStep(2.0**-10)).y1, [], []
    for tolerance in (1e-1, 1e-2, 1e-3):
        solution = solve(case, method, path=path, rtol=tolerance, atol=tolerance)
        errors.append(float((solution.y1 - fine).abs().mean()))
        steps.append(solution.stats.n_accepted)
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("method", NAMES)
def test_going_back_on_the_same_path_undoes_a_solve_to_the_order_of_the_method(method) -> None:
    case, errors = problem(method), []
    start = torch.full(case.shape(path_for(case.channels)), case.y0, dtype=torch.float64)
    for steps in (64, 256):
        forward = solve(case, method, controller=nde.FixedStep(1 / steps)).y1
        back = solve(case, method, forward, (1.0, 0.0), controller=nde.FixedStep(1 / steps)).y1
        errors.append(float((back - start).abs().median()))
    order = find_sde_method(method, "stratonovich", case.noise).strong_orders[case.noise]
    assert errors[1] < 1.4 * 4.0**-order * errors[0] and errors[0] < 0.1


@pytest.mark.parametrize("method", NAMES)
def test_a_solve_in_float32_agrees_with_one_in_float64(method) -> None:
    case = problem(method)
    y0 = torch.full(case.shape(path_for(case.channels)), case.y0, dtype=torch.float64)
    single = case._replace(diffusion=lambda t, y: case.diffusion(t, y).to(y.dtype))
    low = solve(single, method, y0.float(), controller=nde.FixedStep(1 / 16)).y1
    assert low.dtype == torch.float32
    high = solve(case, method, y0, controller=nde.FixedStep(1 / 16)).y1
    torch.testing.assert_close(low.double(), high, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", NAMES)
def test_a_path_without_the_space_time_area_is_refused(method) -> None:
    case = problem(method)
    shape = path_for(case.channels).shape
    path = nde.BrownianPath(0.0, 1.0, shape, seed=2, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=f"path must have levy_area='space-time' for method='{method}', but has 'none'"
    ):
        solve(case, method, path=path, controller=nde.FixedStep(0.25))


def test_all_other_areas_serve_methods_that_ask_for_the_space_time_one() -> None:
    case = additive("stratonovich")
    for area in ("space-time", "space-time-time", "davie", "foster"):
        path = nde.BrownianPath(0.0, 1.0, (20, 3), seed=2, levy_area=area, dtype=torch.float64)
        assert bool(solve(case, "shark", path=path, controller=nde.FixedStep(0.25)).y1.isfinite().all())


def test_methods_for_additive_noise_alone_are_the_same_in_both_calculi() -> None:
    for name in ("sea", "shark"):
        ends = [
            solve(additive(calculus), name, controller=nde.FixedStep(0.25)).y1 for calculus in ("ito", "stratonovich")
        ]
        assert torch.equal(*ends)
        assert name in sde_method_names("ito", "additive") and name not in sde_method_names("ito", "diagonal")


@pytest.mark.parametrize(
    ("method", "drifts", "diffusions"),
    [("sea", 1, 2), ("shark", 2, 2), ("general_shark", 2, 3), ("slow_rk", 2, 5), ("spark", 3, 3)],
)
def test_a_step_evaluates_only_the_stages_that_its_coefficients_use(method, drifts, diffusions) -> None:
    case, counts = problem(method), [0, 0]

    def counted(index, function):
        def call(t, y):
            counts[index] += 1
            return function(t, y)

        return call

    case = case._replace(drift=counted(0, case.drift), diffusion=counted(1, case.diffusion))
    totals = []
    for steps in (4, 8):
        counts[:] = [0, 0]
        solve(case, method, controller=nde.FixedStep(1 / steps))
        totals.append(tuple(counts))
    # the difference leaves out what a solve evaluates once
    assert [new - old for old, new in zip(*totals, strict=True)] == [4 * drifts, 4 * diffusions]
