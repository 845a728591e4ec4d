"""`solve_sde` as a user meets it: paths, adaptive steps, shapes, failures and wrong arguments."""

import math

import pytest
import torch

import nde
from nde.solvers.sde import sde_method_names
from tests.solvers.sde.problems import CASES, TablePath

CASE = CASES["arsinh", "ito"]
Y0 = torch.full((200,), 0.2, dtype=torch.float64)


def solve(y0=Y0, ts=(0.0, 1.0), **options):
    options = {"method": "sosri2", **options}
    return nde.solve_sde(CASE.drift, CASE.diffusion, y0, ts, **options)


def test_a_seed_fixes_the_result_and_another_one_changes_it() -> None:
    assert torch.equal(solve(seed=3).y1, solve(seed=3).y1)
    assert not torch.equal(solve(seed=3).y1, solve(seed=4).y1)


def test_torchs_seed_fixes_the_paths_of_solves_without_a_seed() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append((solve().y1, solve().y1))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert not torch.equal(*found[0])


def test_tighter_tolerances_take_more_steps_and_come_nearer_to_a_fine_solve_on_the_same_path() -> None:
    path = nde.BrownianPath(0.0, 1.0, (200,), seed=2, levy_area="space-time", dtype=torch.float64)
    fine = solve(path=path, controller=nde.FixedStep(2.0**-11)).y1
    errors, steps = [], []
    for tolerance in (1e-1, 1e-2, 1e-3):
        solution = solve(path=path, rtol=tolerance, atol=tolerance)
        errors.append(float((solution.y1 - fine).abs().mean()))
        steps.append(solution.stats.n_accepted)
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and steps[0] < steps[1] < steps[2]


def test_rejected_steps_leave_the_law_of_the_path_as_it_is() -> None:
    # y is the path itself; a drift with a sudden bend makes steps that are rejected, which may not depend on the noise
    def drift(t, y):
        return torch.where(t > 0.5, 200 * torch.cos(300 * t), torch.zeros_like(t)) * torch.ones_like(y)

    y0 = torch.zeros(4_000, dtype=torch.float64)
    solution = nde.solve_sde(drift, lambda t, y: torch.ones_like(y), y0, (0.0, 1.0), method="sosri2", seed=7, rtol=1e-3)
    assert solution.stats.n_rejected >= 3
    shift = float(solution.y1.mean())
    # of 4,000 samples, the variance is known to 2.2 % (one standard deviation)
    assert float(solution.y1.var()) == pytest.approx(1.0, abs=0.09)
    path = nde.BrownianPath(0.0, 1.0, (4_000,), seed=7, levy_area="space-time", dtype=torch.float64)
    torch.testing.assert_close(solution.y1 - shift, path(0.0, 1.0).w - path(0.0, 1.0).w.mean(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_of_another_dtype_than_the_state_serves_it(dtype) -> None:
    path = nde.BrownianPath(0.0, 1.0, (200,), seed=2, levy_area="space-time", dtype=dtype)
    solution = solve(Y0.to(torch.float32), path=path)
    assert solution.y1.dtype == torch.float32


def test_steps_end_on_output_times_and_outputs_are_those_of_a_shorter_solve() -> None:
    path = nde.BrownianPath(0.0, 1.0, (200,), seed=2, levy_area="space-time", dtype=torch.float64)
    whole = solve(ts=(0.0, 0.3, 0.7, 1.0), path=path, rtol=1e-3)
    ends = (whole.steps.t + whole.steps.h).tolist()
    assert all(min(abs(end - time) for end in ends) < 1e-12 for time in (0.3, 0.7, 1.0))
    torch.testing.assert_close(solve(ts=(0.0, 0.3), path=path, rtol=1e-3).y1, whole.ys[1], rtol=1e-12, atol=1e-12)


def test_solving_a_batch_is_solving_each_row_of_its_path() -> None:
    path = nde.BrownianPath(0.0, 1.0, (5, 3), seed=2, levy_area="space-time", dtype=torch.float64)
    y0 = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    together = solve(y0, path=path, controller=nde.FixedStep(0.0625)).y1
    for row in range(5):
        alone = solve(y0[row : row + 1], path=path[row : row + 1], controller=nde.FixedStep(0.0625)).y1
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_states_of_any_shape_and_dtype_with_diagonal_noise(shape, dtype) -> None:
    solution = solve(torch.ones(shape, dtype=dtype), method="sriw1", controller=nde.FixedStep(0.1))
    assert solution.y1.shape == shape and solution.y1.dtype == dtype and bool(solution.y1.isfinite().all())


def test_nested_states_with_diagonal_noise() -> None:
    solution = nde.solve_sde(
        lambda t, y: {"a": -y["a"], "b": (y["b"][0] * 0,)},
        lambda t, y: {"a": 0.1 * y["a"], "b": (torch.ones_like(y["b"][0]),)},
        {"a": torch.ones(3, 2), "b": (torch.zeros(4),)},
        (0.0, 1.0),
        method="euler",
        controller=nde.FixedStep(0.1),
    )
    assert solution.y1["a"].shape == (3, 2) and solution.y1["b"][0].shape == (4,)


def test_going_back_on_the_same_path_undoes_reversible_heun_to_the_order_of_the_method() -> None:
    case = CASES["arsinh", "stratonovich"]
    path = TablePath(0.0, 1.0, (200,), 256, seed=2)
    options = {"calculus": "stratonovich", "method": "reversible_heun", "path": path}
    forward = nde.solve_sde(case.drift, case.diffusion, Y0, (0.0, 1.0), controller=nde.FixedStep(1 / 256), **options)
    back = nde.solve_sde(
        case.drift, case.diffusion, forward.y1, (1.0, 0.0), controller=nde.FixedStep(1 / 256), **options
    )
    # the two solves each have the method's error, some 1e-3, which grows on the way back where the state is large
    assert float((back.y1 - Y0).abs().median()) < 5e-3


def test_fields_that_stop_being_finite_end_the_solve_with_what_was_computed() -> None:
    solution = nde.solve_sde(
        lambda t, y: torch.where(t > 0.45, math.nan, 0.0) * y, lambda t, y: y, Y0, (0.0, 0.4, 1.0), method="euler",
        controller=nde.FixedStep(0.1), throw=False,
    )  # fmt: skip
    assert solution.status is nde.Status.NON_FINITE and 0.4 < solution.t1 < 0.7
    assert bool(solution.ys[1].isfinite().all()) and bool(solution.y1.isfinite().all())


def test_a_limit_of_steps_ends_the_solve() -> None:
    with pytest.raises(nde.SolverError) as caught:
        solve(rtol=1e-5, atol=1e-6, max_steps=5)
    assert caught.value.status is nde.Status.MAX_STEPS


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"noise": "diagonl"}, ValueError, "noise='diagonl' is not known. Did you mean 'diagonal'"),
        ({"calculus": "itô"}, ValueError, "calculus='itô' is not known"),
        ({"method": "sosry"}, ValueError, "method='sosry' is not known.*sosri"),
        ({"method": "heun"}, ValueError, "method='heun' does not converge to the ito solution"),
        ({"method": "sosra"}, ValueError, "method='sosra' does not take noise='diagonal'"),
        ({"method": 3}, TypeError, "method must be a name or an SDEMethod"),
        ({"method": "euler"}, ValueError, "has no error estimate.*FixedStep"),
        ({"rtol": -1.0}, ValueError, "rtol must be zero or positive"),
        ({"path": 3}, TypeError, "path must be callable"),
        ({"path": TablePath(0.0, 1.0, (7,), 4, 1)}, ValueError, r"path must have shape \(200,\).*\(7,\)"),
        (
            {"path": TablePath(0.0, 0.5, (200,), 4, 1)},
            ValueError,
            "path must cover the span of ts, from 0 to 1.*0 to 0.5",
        ),
        ({"path": TablePath(0.0, 1.0, (200,), 4, 1), "seed": 1}, ValueError, "seed belongs to a new path"),
        ({"path": nde.BrownianPath(0.0, 1.0, (200,), seed=1)}, ValueError, "path must have levy_area='space-time'"),
        ({"ts": (1.0, 0.0)}, ValueError, "ts must be increasing with the Ito calculus"),
        ({"ts": torch.tensor([0.0, 1.0], requires_grad=True)}, ValueError, "ts must not require a gradient"),
        ({"y0": torch.ones(3, dtype=torch.complex64)}, TypeError, "y0 must be real"),
        ({"throw": 1}, TypeError, "throw must be True or False"),
        ({"local_errors": "yes"}, TypeError, "local_errors must be True or False"),
        ({"args": 3}, TypeError, "args must be a tuple"),
        ({"adjoint": "backward"}, ValueError, "adjoint='backward' is not known"),
    ],
)
def test_wrong_arguments_are_named(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        solve(**options)


@pytest.mark.parametrize(
    ("noise", "diffusion", "kind", "message"),
    [
        ("general", lambda t, y: y, ValueError, r"shape \(4, 3, m\).*\(4, 3\).*noise=\"diagonal\""),
        ("general", lambda t, y: 1.0, TypeError, "must be a tensor"),
        ("general", lambda t, y: torch.ones(4, 3, 2, dtype=torch.float64), TypeError, "dtype torch.float32"),
        ("diagonal", lambda t, y: torch.ones(4, 2), ValueError, "diffusion"),
        ("scalar", lambda t, y: torch.ones(4, 2), ValueError, r"diffusion\(t, y\) must have shape"),
    ],
)
def test_diffusions_of_a_wrong_shape_are_named_with_both_shapes(noise, diffusion, kind, message) -> None:
    with pytest.raises(kind, match=message):
        nde.solve_sde(
            lambda t, y: y, diffusion, torch.ones(4, 3), (0.0, 1.0), noise=noise, method="euler",
            controller=nde.FixedStep(0.1),
        )  # fmt: skip


def test_every_noise_and_calculus_has_a_default_method() -> None:
    for calculus in ("ito", "stratonovich"):
        for noise in ("diagonal", "scalar", "additive", "commutative", "general"):
            assert nde.solvers.sde.default_method(calculus, noise) in sde_method_names(calculus, noise)
