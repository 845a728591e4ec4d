"""The path that is drawn as it is asked for: its law under cuts, its consistency, and replays."""

from itertools import pairwise

import pytest
import torch
from scipy import stats

import nde
from nde.solvers.brownian import BrownianWalk
from nde.solvers.brownian.chen import join, join_weights
from nde.solvers.controllers import Controller, ControllerState, Decision

SAMPLES = 40_000
VARIANCES = (1.0, 1 / 12, 1 / 720)
AREAS = ["none", "space-time", "space-time-time"]


class TwoRejections(Controller):
    """Rejects two attempts before each step that it accepts, whatever their errors."""

    adaptive = True
    stretch = 0.0

    def begin(self, error_order):
        return Attempts()

    def first_step(self):
        return 0.3


class Attempts(ControllerState):
    def __init__(self):
        self.count = 0

    def decide(self, h, ratio):
        self.count += 1
        # short steps are let through, so that the end is reached
        return Decision(True, 3.1 * h) if self.count % 3 == 0 or h < 0.01 else Decision(False, 0.55 * h)


def walk(levy_area="none", shape=(SAMPLES,), t0=0.0, t1=2.0, seed=7, dtype=torch.float64):
    return BrownianWalk(t0, t1, shape, seed=seed, levy_area=levy_area, dtype=dtype, device=torch.device("cpu"))


def numbers(increment):
    return [value for value in (increment.w, increment.h, increment.k) if value is not None]


@pytest.mark.parametrize("levy_area", AREAS)
def test_steps_after_rejections_are_independent_with_the_right_variances(levy_area):
    path = walk(levy_area)
    # a step is proposed, cut twice, taken; the next ones reach over what the cuts left, and over new time
    asked = [
        (0.0, 0.9),
        (0.0, 0.5),
        (0.0, 0.13),
        (0.13, 0.6),
        (0.13, 0.3),
        (0.3, 1.1),
        (1.1, 1.9),
        (1.1, 1.2),
        (1.2, 2),
    ]
    for s, t in asked:
        path(s, t)
    whitened = []
    for s, t in pairwise([0.0, 0.13, 0.3, 1.1, 1.2, 2.0]):
        for value, part in zip(numbers(path(s, t)), VARIANCES, strict=False):
            whitened.append(value / ((t - s) * part) ** 0.5)
    found = torch.stack(whitened)
    covariance = found @ found.T / SAMPLES
    # entries have standard deviations of (1 + diagonal) / SAMPLES; 4.5 of them in some hundred entries: 1 in 1,000
    excess = (covariance - torch.eye(len(found))).abs() / (1 + torch.eye(len(found))).sqrt()
    assert excess.max() < 4.5 / SAMPLES**0.5
    for row in found.numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-4


@pytest.mark.parametrize("levy_area", AREAS)
def test_the_parts_of_a_cut_join_to_what_the_whole_was(levy_area):
    path = walk(levy_area, shape=(50, 3))
    whole = numbers(path(0.0, 1.5))
    path(0.0, 0.4)
    path(0.9, 1.2)
    parts = numbers(path(0.0, 0.4))
    reached = 0.4
    for end in (0.9, 1.2, 1.5):
        parts = join(parts, numbers(path(reached, end)), join_weights(reached / end, len(parts)))
        reached = end
    for value, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for value, expected in zip(numbers(path(0.0, 1.5)), whole, strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("levy_area", [*AREAS, "davie", "foster"])
def test_what_was_asked_is_drawn_again_to_the_last_bit(levy_area):
    path = walk(levy_area, shape=(5, 3), dtype=torch.float32)
    times = [0.0, 0.2, 0.25, 0.7, 1.3, 1.31, 1.7, 1.9, 2.0]
    first = []
    for s, t in pairwise(times):
        path(s, min(1.7 * t, 2.0))  # rejected
        first.append(path(s, t))
    for (s, t), increment in reversed(list(zip(pairwise(times), first, strict=True))):
        again = path(s, t)
        for name in ("w", "h", "k", "a"):
            one, other = getattr(increment, name), getattr(again, name)
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)


def test_a_stretch_that_is_cut_a_thousand_times_can_be_drawn_again():
    path = walk("space-time", shape=(2,))
    path(0.0, 2.0)  # an attempt that was much too long
    times = torch.linspace(0.0, 2.0, 1_001, dtype=torch.float64).tolist()
    found = [path(s, t) for s, t in pairwise(times)]
    for (s, t), increment in reversed(list(zip(pairwise(times), found, strict=True))):
        again = path(s, t)
        assert torch.equal(again.w, increment.w) and torch.equal(again.h, increment.h)


def test_the_same_queries_give_the_same_path_and_another_seed_another():
    def run(seed):
        path = walk("space-time", shape=(4,), seed=seed)
        return torch.stack([path(0.0, 1.0).w, path(0.0, 0.4).w, path(0.4, 1.7).h])

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_the_way_back_turns_the_signs_and_a_walk_may_run_down():
    for start, end in ((0.0, 2.0), (2.0, 0.0)):
        path = walk("space-time-time", shape=(4,), t0=start, t1=end)
        middle = 0.5 * (start + end) + 0.1
        forth, back = path(start, middle), path(middle, start)
        assert torch.equal(back.w, -forth.w)
        assert torch.equal(back.h, forth.h)
        assert torch.equal(back.k, -forth.k)


def test_times_that_differ_by_rounding_are_one_time():
    path = walk(shape=(3,))
    path(0.1 + 0.2, 1.0)
    assert torch.equal(path(0.3, 1.0).w, path(0.1 + 0.2, 1.0).w)
    assert torch.equal(path(0.3, 0.3).w, torch.zeros(3, dtype=torch.float64))


def test_a_time_before_the_beginning_is_refused():
    with pytest.raises(ValueError, match="the path begins at 0, but was asked for an earlier time"):
        walk(shape=(3,))(-0.5, 1.0)


def test_a_solve_without_a_seed_repeats_under_torchs_own():
    def solve():
        torch.manual_seed(5)
        return nde.solve_sde(
            lambda t, y: -y, lambda t, y: 0.5 + 0.1 * y, torch.ones(6, 2, dtype=torch.float64), (0.0, 1.0), rtol=1e-3
        )

    one, other = solve(), solve()
    assert torch.equal(one.y1, other.y1)
    assert one.stats.n_accepted == other.stats.n_accepted


def test_rejections_keep_the_law_of_a_solve():
    # of each three attempts the first two are rejected; what the noise adds is W(1), whatever the steps
    solution = nde.solve_sde(
        lambda t, y: 0 * y, lambda t, y: torch.ones_like(y), torch.zeros(SAMPLES, dtype=torch.float64), (0.0, 1.0),
        noise="additive", method="sosra2", controller=TwoRejections(),
    )  # fmt: skip
    assert solution.stats.n_rejected > 20
    assert stats.kstest(solution.y1.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("method", ["sosri2", "sriw1"])
def test_the_discrete_adjoint_meets_the_same_path_after_rejections(method):
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def gradient(adjoint):
        torch.manual_seed(2)
        solution = nde.solve_sde(
            lambda t, y, rate: -rate * y * torch.sin(9 * t),
            lambda t, y, rate: 0.5 * rate * torch.cos(y),
            torch.ones(4, 2, dtype=torch.float64), (0.0, 1.0), (rate,), method=method,
            controller=TwoRejections(), adjoint=adjoint,
        )  # fmt: skip
        assert solution.stats.n_rejected > 0
        (found,) = torch.autograd.grad(solution.y1.square().sum() + solution.steps.error.sum(), rate)
        return found

    torch.testing.assert_close(gradient("discrete"), gradient("direct"), rtol=1e-10, atol=1e-12)
