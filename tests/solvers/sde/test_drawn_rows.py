"""Adaptive solves by rows without a path or a seed draw their noise as they go: `nde.solvers.brownian.RowWalk`."""

import math

import pytest
import torch
from scipy import stats

import nde
from nde.solvers.brownian import BrownianPath, BrownianWalk, RowWalk
from nde.solvers.sde import StepDoubling
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.rows import RowSDEField
from nde.solvers.status import Status
from tests.solvers.sde.test_rows import Picky


@pytest.fixture
def paths(monkeypatch):
    """Kinds of paths that fields get."""
    found = []
    for kind in (RowSDEField, SDEField):
        original = kind.__init__

        def watched(self, *args, original=original, **options):
            original(self, *args, **options)
            found.append(type(self.path))

        monkeypatch.setattr(kind, "__init__", watched)
    return found


def drift(t, y, rate, speed):
    return -rate * speed * torch.sin(y) + torch.cos(9 * t)


def diffusion(t, y, rate, speed):
    return 0.4 * rate * torch.cos(y) * (1 + t)


def solve(rate, speed=(0.5, 3.0, 6.0), y0=None, ts=(0.0, 0.4, 1.0), **options):
    torch.manual_seed(5)
    speed = torch.tensor(speed, dtype=torch.float64).view(-1, 1)
    y0 = torch.linspace(0.1, 2.0, 2 * len(speed), dtype=torch.float64).view(-1, 2) if y0 is None else y0
    options = {"method": "sosri2", "per_sample": True, "rtol": 1e-2, "atol": 1e-2} | options
    args = (rate, nde.PerSample(speed) if options["per_sample"] else speed)
    return nde.solve_sde(drift, diffusion, y0, ts, args, **options)


ONE = torch.tensor(1.0, dtype=torch.float64)
JUMPING = nde.Event(lambda t, y, *args: y[..., 0] - 0.3, terminal=False, apply=lambda t, y, *args: y + 0.8)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, RowWalk),
        ({"method": StepDoubling("milstein")}, RowWalk),
        ({"seed": 3}, BrownianPath),
        ({"method": "milstein", "controller": nde.FixedStep(0.1)}, BrownianPath),
        ({"per_sample": False, "step_ts": (0.3,)}, BrownianWalk),
        ({"per_sample": False, "events": nde.Event(lambda t, y, *args: y.sum() - 99.0)}, BrownianWalk),
    ],
)
def test_noise_is_drawn_as_it_is_asked_for_where_nobody_else_can_ask(options, kind, paths) -> None:
    solve(ONE, **options)
    assert set(paths) == {kind}


def test_methods_that_need_levy_areas_take_a_path(paths) -> None:
    solution = nde.solve_sde(
        lambda t, y: -y, lambda t, y: 0.2 * torch.stack([torch.cos(y), torch.sin(y)], -1),
        torch.ones(3, 2, dtype=torch.float64), (0.0, 0.1), noise="general", calculus="stratonovich",
        method=StepDoubling("log_ode"), per_sample=True,
    )  # fmt: skip
    assert solution.status is Status.SUCCESS
    assert set(paths) == {BrownianPath}


def test_rejected_steps_leave_the_law_of_the_path_as_it_is() -> None:
    torch.manual_seed(11)
    y0 = torch.zeros(2_000, 1, dtype=torch.float64)
    solution = nde.solve_sde(
        lambda t, y: 1e-12 * torch.sin(40 * y), lambda t, y: torch.ones_like(y), y0, (0.0, 0.4, 1.0), noise="additive",
        method="sosra2", rtol=0.0, atol=1e-13, controller=Picky(), per_sample=True,
    )  # fmt: skip
    assert 2 * solution.stats.n_rejected > solution.stats.n_accepted
    for increments, variance in ((solution.ys[1], 0.4), (solution.ys[2] - solution.ys[1], 0.6)):
        scaled = increments[:, 0] / math.sqrt(variance)
        # of 2,000 samples, the variance is known to 3.2 % (one standard deviation)
        assert float(scaled.var()) == pytest.approx(1.0, abs=0.1)
        assert stats.kstest(scaled.numpy(), "norm").pvalue > 0.01
    halves = torch.stack([solution.ys[1, :, 0], (solution.ys[2] - solution.ys[1])[:, 0]])
    assert abs(float(torch.corrcoef(halves)[0, 1])) < 0.08


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_takes_the_same_steps_whatever_the_others_do(dtype) -> None:
    y0 = torch.linspace(0.1, 2.0, 6, dtype=dtype).view(3, 2)

    def run(speed):
        torch.manual_seed(5)
        return nde.solve_sde(
            drift, diffusion, y0, (0.0, 0.4, 1.0), (1.0, nde.PerSample(torch.tensor(speed, dtype=dtype).view(-1, 1))),
            rtol=1e-2, atol=1e-2, per_sample=True,
        )  # fmt: skip

    one, other = run([0.5, 9.0, 6.0]), run([3.0, 9.0, 40.0])
    assert one.stats.rejected.tolist() != other.stats.rejected.tolist() and int(one.stats.rejected[1]) > 0
    assert torch.equal(one.ys[:, 1], other.ys[:, 1])
    for steps, others in ((one.steps, other.steps),):
        assert torch.equal(steps.h[steps.sample == 1], others.h[others.sample == 1])
    assert not torch.equal(one.ys[:, 0], other.ys[:, 0])


def test_one_failing_sample_leaves_the_others_unchanged() -> None:
    def run(broken):
        torch.manual_seed(3)
        broken = torch.tensor(broken, dtype=torch.float64).view(-1, 1)
        return nde.solve_sde(
            lambda t, y, broken: torch.where((broken == 1) & (t > 0.5), math.nan, -y * torch.cos(9 * t)),
            lambda t, y, broken: torch.where((broken == 2) & (t > 0.3), math.nan, 0.3 * y),
            torch.linspace(0.5, 2.0, 8, dtype=torch.float64).view(4, 2), (0.0, 0.2, 1.0), (nde.PerSample(broken),),
            method="sosri2", per_sample=True, throw=False, rtol=1e-3,
        )  # fmt: skip

    with_failures, without = run([0, 1, 0, 2]), run([0, 0, 0, 0])
    assert [status is Status.SUCCESS for status in with_failures.statuses] == [True, False, True, False]
    assert with_failures.failures[1].source.startswith("the drift")
    assert with_failures.failures[3].source.startswith("the diffusion")
    for sample in (0, 2):
        assert torch.equal(with_failures.ys[:, sample], without.ys[:, sample])


@pytest.mark.parametrize(
    "options",
    [
        {"controller": nde.PIController(initial=0.5)},
        {"method": StepDoubling("milstein"), "controller": nde.PIController(initial=0.5)},
        {"events": JUMPING},
        {"events": JUMPING, "method": StepDoubling("milstein")},
        {"events": JUMPING, "per_sample": False},
        {"ts": torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.5, 0.75], [0.0, 0.25, 1.0]], dtype=torch.float64)},
        {"jump_ts": (0.37,), "dense": True},
        {"controller": Picky(), "rtol": 1e-4, "atol": 1e-4},
    ],
)
def test_both_adjoints_meet_the_same_path_after_rejections(options, monkeypatch) -> None:
    # no solve needs more of its path than what is at hand
    monkeypatch.setattr(RowWalk, "_keep_all", lambda *_: pytest.fail("the whole path was drawn again"))
    found, rejected = [], []
    for adjoint in ("direct", "discrete"):
        rate = ONE.clone().requires_grad_()
        solution = solve(rate, adjoint=adjoint, **options)
        rejected.append(solution.stats.n_rejected)
        weights = torch.linspace(0.5, 1.5, solution.ys.numel(), dtype=torch.float64).view(solution.ys.shape)
        total = (solution.ys * weights).sum() + solution.steps.error.sum()
        found.append(torch.autograd.grad(total, rate)[0])
    assert rejected[0] == rejected[1] > 0
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


def test_solves_in_inference_mode_are_those_without_gradients() -> None:
    def run():
        return solve(ONE, controller=nde.PIController(initial=0.5)).ys

    with torch.inference_mode():
        inferred = run()
    with torch.no_grad():
        assert torch.equal(run(), inferred)


def test_second_derivatives_meet_the_same_path_too() -> None:
    found = []
    for adjoint in ("direct", "discrete"):
        rate = ONE.clone().requires_grad_()
        solution = solve(rate, adjoint=adjoint, controller=nde.PIController(initial=0.5))
        (first,) = torch.autograd.grad(solution.y1.square().sum(), rate, create_graph=True)
        found.append(torch.autograd.grad(first, rate)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


def test_many_steps_after_one_that_was_much_too_long_can_be_replayed() -> None:
    # all of the path is cut, step by step, from what the first attempt left
    found = []
    for adjoint in ("direct", "discrete"):
        rate = ONE.clone().requires_grad_()
        options = {"controller": nde.PIController(initial=1.0), "rtol": 1e-4, "atol": 1e-4, "ts": (0.0, 1.0)}
        solution = solve(rate, (0.5,), adjoint=adjoint, **options)
        found.append(torch.autograd.grad(solution.y1.sum(), rate)[0])
    assert solution.stats.n_accepted > 100
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)
