"""Events, discontinuities, forced times and dense output of stochastic solves."""

import math

import pytest
import torch

import nde
from tests.solvers.sde.problems import TablePath

ONES = torch.ones_like


def brownian(y0, ts, **options):
    """Solve dy = dW: the solution is the path, on whose own line its crossings can be computed by hand."""
    return nde.solve_sde(
        lambda t, y: torch.zeros_like(y), lambda t, y: ONES(y), y0, ts, method="euler", **options
    )  # fmt: skip


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
def test_crossings_lie_on_the_line_between_the_ends_of_steps(per_sample) -> None:
    path = TablePath(0.0, 1.0, (1, 1), 64, seed=3)
    level = 0.2
    event = nde.Event(lambda t, y: y[..., 0] - level, terminal=False)
    solution = brownian(
        torch.zeros(1, 1, dtype=torch.float64), (0.0, 1.0), path=path, controller=nde.FixedStep(1 / 64), events=event,
        per_sample=per_sample,
    )  # fmt: skip
    before, after = path.w[:-1, 0, 0] - level, path.w[1:, 0, 0] - level
    crossing = torch.nonzero(before * after < 0)[:, 0]
    theta = before[crossing] / (before[crossing] - after[crossing])
    (found,) = solution.events
    assert len(crossing) > 2
    torch.testing.assert_close(found.t, (crossing + theta) / 64, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.y.reshape(-1), torch.full_like(theta, level), rtol=0, atol=1e-12)


def test_samples_end_at_their_own_first_passages_whose_law_is_that_of_theory() -> None:
    path = nde.BrownianPath(0.0, 1.0, (4_000, 1), seed=5, dtype=torch.float64)
    solution = brownian(
        torch.zeros(4_000, 1, dtype=torch.float64), (0.0, 1.0), path=path, controller=nde.FixedStep(2.0**-7),
        events=nde.Event(lambda t, y: y[:, 0] - 1.0), per_sample=True,
    )  # fmt: skip
    (found,) = solution.events
    passed = torch.zeros(4_000, dtype=torch.bool)
    passed[found.sample] = True
    torch.testing.assert_close(solution.y1[passed], ONES(solution.y1[passed]), rtol=0, atol=1e-12)
    torch.testing.assert_close(solution.t1[found.sample], found.t, rtol=0, atol=1e-15)
    assert bool((solution.y1[~passed] < 1.0).all()) and bool((solution.t1[~passed] == 1.0).all())
    # P(max W > 1) = 2 P(W > 1) = 0.3173; of steps of size h, a level 0.5826 sqrt(h) higher is reached (Broadie,
    # Glasserman, Kou 1997): 2 P(W > 1.0515) = 0.293, known to 0.0072 (one standard deviation)
    level = 1.0 + 0.5826 * 2.0**-3.5
    expected = math.erfc(level / math.sqrt(2))
    assert abs(float(passed.double().mean()) - expected) < 0.02


def test_a_zero_condition_at_the_beginning_follows_the_noise_and_is_no_event() -> None:
    # the drift leads up, the first step down: only what the path does counts
    path = TablePath(0.0, 1.0, (1, 1), 4, seed=1)
    path.w = -path.w.abs().cumsum(0)
    solution = nde.solve_sde(
        lambda t, y: 0.01 * ONES(y), lambda t, y: ONES(y), torch.zeros(1, 1, dtype=torch.float64), (0.0, 1.0),
        method="euler", path=path, controller=nde.FixedStep(0.25), per_sample=True,
        events=nde.Event(lambda t, y: y[:, 0], terminal=False),
    )  # fmt: skip
    assert solution.events[0].t.shape == (0,)


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
def test_jumps_change_the_state_and_the_noise_goes_on_from_their_time(per_sample) -> None:
    path = nde.BrownianPath(0.0, 1.0, (1, 1), seed=8, dtype=torch.float64)
    event = nde.Event(lambda t, y: y[..., 0] - 0.1, direction=1, terminal=False, apply=lambda t, y: y - 5.0)
    solution = brownian(
        torch.zeros(1, 1, dtype=torch.float64), (0.0, 1.0), path=path, controller=nde.FixedStep(1 / 16), events=event,
        per_sample=per_sample,
    )  # fmt: skip
    (found,) = solution.events
    assert found.t.shape == (1,)
    expected = 0.1 - 5.0 + float(path(float(found.t), 1.0).w)
    assert float(solution.y1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
@pytest.mark.parametrize("method", ["sosri2", "sriw1"])
def test_no_step_sees_both_sides_of_a_discontinuity(per_sample, method) -> None:
    jump = 0.437

    def drift(t, y):
        return torch.where(t < jump, 1.0, -1.0) * ONES(y)

    path = nde.BrownianPath(0.0, 1.0, (2, 1), seed=2, levy_area="space-time", dtype=torch.float64)
    solution = nde.solve_sde(
        drift, lambda t, y: torch.where(t < jump, 0.5, 2.0) * ONES(y), torch.zeros(2, 1, dtype=torch.float64),
        (0.0, 1.0), method=method, path=path, jump_ts=(jump,), per_sample=per_sample, rtol=1e-1, atol=1e-1,
    )  # fmt: skip
    exact = jump - (1 - jump) + 0.5 * path(0.0, jump).w + 2.0 * path(jump, 1.0).w
    torch.testing.assert_close(solution.y1, exact, rtol=0, atol=1e-9)
    # a step across the discontinuity would mix the coefficients of both sides
    ends = solution.steps.t + solution.steps.h
    assert not bool(((solution.steps.t < jump - 1e-9) & (ends > jump + 1e-9)).any())


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
def test_steps_end_on_forced_times_and_on_output_times(per_sample) -> None:
    solution = nde.solve_sde(
        lambda t, y: -y, lambda t, y: 0.1 * y, torch.ones(3, 2), (0.0, 0.35, 1.0), step_ts=(0.123, 0.77), seed=1,
        per_sample=per_sample,
    )  # fmt: skip
    ends = solution.steps.t + solution.steps.h
    for time in (0.123, 0.35, 0.77, 1.0):
        assert int(((ends - time).abs() < 1e-6).sum()) == (3 if per_sample else 1)


def test_a_solve_watched_as_a_whole_takes_the_steps_of_one_that_is_not() -> None:
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=2, levy_area="space-time", dtype=torch.float64)
    options = {"path": path, "rtol": 1e-2, "atol": 1e-2}
    y0 = torch.linspace(0.1, 1.0, 6, dtype=torch.float64).view(3, 2)

    def solve(**more):
        return nde.solve_sde(
            lambda t, y: torch.cos(9 * t) * y, lambda t, y: 0.3 * y, y0, (0.0, 0.5, 1.0), **options, **more
        )

    plain = solve()
    watched = solve(events=nde.Event(lambda t, y: y.sum() - 1e9), dense=True)
    assert torch.equal(plain.steps.h, watched.steps.h) and torch.equal(plain.ys, watched.ys)


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
@pytest.mark.parametrize(("method", "calculus"), [("sosri2", "ito"), ("reversible_heun", "stratonovich")])
def test_dense_output_is_the_line_between_the_ends_of_steps(per_sample, method, calculus) -> None:
    solution = nde.solve_sde(
        lambda t, y: torch.cos(9 * t) * y, lambda t, y: 0.3 * y, torch.linspace(0.1, 1.0, 6).double().view(3, 2),
        (0.0, 0.5, 1.0), method=method, calculus=calculus, dense=True, seed=3, per_sample=per_sample, rtol=1e-2,
    )  # fmt: skip
    torch.testing.assert_close(solution(0.5), solution.ys[1], rtol=1e-12, atol=1e-13)
    steps, states = solution.steps, solution.steps.y
    own = steps.sample == 1 if per_sample else slice(None)
    ends = (steps.t + steps.h)[own]
    at_ends = states[own] if per_sample else states[:, 1]
    asked = 0.3 * ends[3] + 0.7 * ends[4]
    found = solution(asked)[1]
    torch.testing.assert_close(found, 0.3 * at_ends[3] + 0.7 * at_ends[4], rtol=1e-9, atol=1e-11)
    slope = (at_ends[4] - at_ends[3]) / (ends[4] - ends[3])
    torch.testing.assert_close(solution.derivative(asked)[1], slope, rtol=1e-9, atol=1e-11)


def test_a_method_that_looks_outside_its_steps_takes_no_discontinuities() -> None:
    with pytest.raises(ValueError, match="method='sosri' evaluates the drift outside its steps"):
        nde.solve_sde(
            lambda t, y: y, lambda t, y: y, torch.ones(2), (0.0, 1.0), method="sosri", jump_ts=(0.5,)
        )  # fmt: skip
