"""With per_sample=True every sample of a stochastic solve is solved as if it were alone, on its rows of the path."""

import dataclasses
import math

import pytest
import torch
from scipy import stats

import nde
from nde import Status
from nde.solvers.controllers import Controller, ControllerState, Decision
from nde.solvers.sde import StepDoubling, find_sde_method, sde_method_names
from tests.solvers.sde.problems import TablePath

METHODS = [
    (calculus, noise, method)
    for calculus in ("ito", "stratonovich")
    for noise in ("diagonal", "scalar", "additive", "commutative", "general")
    for method in sde_method_names(calculus, noise)
    if find_sde_method(method, calculus, noise).rows
]


def drift(t, y, speed):
    return -speed * torch.sin(y) + torch.cos(5 * t)


def diffusion(noise):
    columns = torch.tensor([[1.0, 0.3, -0.2], [-0.2, 0.6, 0.5]], dtype=torch.float64)

    def value(t, y, speed):
        scale = 0.4 * (1 + t / 2)
        if noise == "diagonal":
            return scale * torch.cos(y)
        if noise == "scalar":
            return (scale * torch.cos(y)).unsqueeze(-1)
        if noise == "additive":
            return scale.unsqueeze(-1) * columns.expand(*y.shape, 3)
        return scale.unsqueeze(-1) * torch.cos(y).unsqueeze(-1) * columns

    return value


def path_of(batch, noise, method, calculus, cells=1, dtype=torch.float64, size=2):
    channels = {"diagonal": size, "scalar": 1}.get(noise, 3)
    area = find_sde_method(method, calculus, noise).area(noise)
    grid = torch.linspace(0.0, 1.0, cells + 1, dtype=torch.float64)
    return nde.BrownianPath(0.0, 1.0, (batch, channels), seed=4, grid=grid, levy_area=area, dtype=dtype)


def solve(y0, speed, ts, noise, calculus, method, path, per_sample=True, **options):
    args = (nde.PerSample(speed),) if per_sample else (speed,)
    return nde.solve_sde(
        drift, diffusion(noise), y0, ts, args, noise=noise, calculus=calculus, method=method, path=path,
        per_sample=per_sample, rtol=1e-2, atol=1e-2, **options,
    )  # fmt: skip


def controller_of(method, calculus, noise):
    adaptive = find_sde_method(method, calculus, noise).error_order is not None
    return nde.PIController() if adaptive else nde.FixedStep(0.09)


@pytest.mark.parametrize(("calculus", "noise", "method"), METHODS)
def test_samples_take_the_steps_that_they_take_alone(calculus, noise, method) -> None:
    y0 = torch.linspace(0.1, 2.0, 8, dtype=torch.float64).view(4, 2)
    speed = torch.tensor([[0.5], [1.0], [3.0], [6.0]], dtype=torch.float64)
    # times of their own, one sample with fewer of them
    ts = torch.tensor([[0.0, 0.3, 1.0], [0.1, 0.2, 0.9], [0.0, 0.5, math.nan], [0.0, 0.3, 1.0]], dtype=torch.float64)
    path = path_of(4, noise, method, calculus)
    options = {"controller": controller_of(method, calculus, noise)}
    together = solve(y0, speed, ts, noise, calculus, method, path, **options)
    for sample in range(4):
        times = ts[sample][~ts[sample].isnan()]
        own = (y0[sample : sample + 1], speed[sample : sample + 1], times, noise, calculus, method)
        alone = solve(*own, path[sample : sample + 1], **options)
        steps = together.steps.sample == sample
        if noise in ("diagonal", "scalar"):
            assert torch.equal(together.ys[: len(times), sample], alone.ys[:, 0])
            assert torch.equal(together.steps.t[steps], alone.steps.t)
        whole = solve(*own, path[sample : sample + 1], per_sample=False, **options)
        for other in (alone, whole):
            torch.testing.assert_close(together.ys[: len(times), sample], other.ys[:, 0], rtol=1e-10, atol=1e-11)
            assert int(together.stats.accepted[sample]) == other.stats.n_accepted
            assert int(together.stats.rejected[sample]) == other.stats.n_rejected
            # the first step and the estimates are near rounding only where the field is
            torch.testing.assert_close(together.steps.h[steps], other.steps.h, rtol=1e-6, atol=1e-12)


# all of the 512, or every 32nd
EVERY = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 32])


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_of_512_is_512_solves_bit_by_bit(dtype, every) -> None:
    torch.manual_seed(0)
    y0, speed = torch.randn(512, 2, dtype=dtype), 4 * torch.rand(512, 1, dtype=dtype)
    ts, kind = (0.0, 0.05), ("diagonal", "ito", "sosri2")
    path = path_of(512, "diagonal", "sosri2", "ito", dtype=dtype)
    together = solve(y0, speed, ts, *kind, path)
    assert len(set(together.stats.accepted.tolist())) > 2
    for sample in range(0, 512, every):
        part = slice(sample, sample + 1)
        alone = solve(y0[part], speed[part], ts, *kind, path[part])
        steps = together.steps.sample == sample
        assert torch.equal(alone.y1[0], together.y1[sample])
        assert torch.equal(alone.steps.h, together.steps.h[steps])
        assert torch.equal(alone.steps.error, together.steps.error[steps])


@EVERY
@pytest.mark.parametrize("method", ["euler", "milstein", "sriw1"])
def test_a_batch_of_512_is_512_solves_bit_by_bit_with_one_step_size(method, every) -> None:
    torch.manual_seed(0)
    y0, speed = torch.randn(512, 2, dtype=torch.float64), 4 * torch.rand(512, 1, dtype=torch.float64)
    options = {"per_sample": False, "controller": nde.FixedStep(0.4)}
    ts, kind, path = (0.0, 1.0), ("diagonal", "ito", method), path_of(512, "diagonal", method, "ito", cells=2)
    together = solve(y0, speed, ts, *kind, path, **options)
    for sample in range(0, 512, every):
        alone = solve(y0[sample], speed[sample], ts, *kind, path[sample], **options)
        assert torch.equal(alone.y1, together.y1[sample])


def test_states_of_more_axes_and_nested_ones_have_rows_of_the_path() -> None:
    y0 = torch.linspace(0.1, 1.0, 24, dtype=torch.float64).view(3, 4, 2)
    path = nde.BrownianPath(0.0, 1.0, (3, 4, 2), seed=1, levy_area="space-time", dtype=torch.float64)
    wide = nde.solve_sde(
        lambda t, y: -y * torch.cos(3 * t), lambda t, y: 0.3 * y, y0, (0.0, 1.0), path=path, per_sample=True
    )
    pair = nde.solve_sde(
        lambda t, y: tuple(-part * torch.cos(3 * t) for part in y),
        lambda t, y: tuple(0.3 * part for part in y),
        (y0[:, :1], y0[:, 1:]),
        (0.0, 1.0),
        path=nde.BrownianPath(0.0, 1.0, (3, 8), seed=1, levy_area="space-time", dtype=torch.float64),
        per_sample=True,
    )
    assert pair.stats.accepted.tolist() == wide.stats.accepted.tolist()
    torch.testing.assert_close(torch.cat(pair.y1, 1), wide.y1, rtol=1e-12, atol=1e-13)
    matrix = nde.solve_sde(
        lambda t, y: -y, lambda t, y: 0.1 * torch.ones(*y.shape, 5, dtype=y.dtype), y0, (0.0, 1.0), noise="additive",
        per_sample=True, seed=1,
    )  # fmt: skip
    assert matrix.y1.shape == (3, 4, 2) and matrix.status is Status.SUCCESS


def test_paths_that_know_no_rows_are_asked_for_one_interval_after_the_other() -> None:
    y0, speed = torch.linspace(0.1, 2.0, 6, dtype=torch.float64).view(3, 2), torch.ones(3, 1, dtype=torch.float64)
    ts = torch.tensor([[0.0, 1.0], [0.25, 1.0], [0.0, 0.5]], dtype=torch.float64)
    path, kind = TablePath(0.0, 1.0, (3, 2), 16, seed=2), ("diagonal", "ito", "sriw1")
    together = solve(y0, speed, ts, *kind, path, controller=nde.FixedStep(0.125))
    for sample in range(3):
        alone = solve(
            y0, speed, tuple(ts[sample].tolist()), *kind, path, per_sample=False, controller=nde.FixedStep(0.125)
        )
        torch.testing.assert_close(together.y1[sample], alone.y1[sample], rtol=1e-13, atol=1e-14)


@dataclasses.dataclass(frozen=True)
class Picky(Controller):
    """Rejects three attempts of five, and chooses sizes, by digits of the error: they depend on the noise alone."""

    adaptive = True
    stretch = 0.01

    def begin(self, error_order):
        return _PickyState()

    def first_step(self):
        return 0.15


class _PickyState(ControllerState):
    def decide(self, h, ratio):
        digits = 1e3 * math.log(ratio) % 1.0
        return Decision(digits > 0.6, min(h * 4.0, 0.15) if digits > 0.6 else h * (0.6 + 0.5 * digits))


@pytest.mark.parametrize("per_sample", [True, False], ids=["own steps", "shared steps"])
def test_rejected_steps_leave_the_law_of_the_path_as_it_is(per_sample) -> None:
    # y is the path, so that the accepted increments add up to it; the estimate reads the noise through the drift
    y0 = torch.zeros(2_000, 1, dtype=torch.float64)
    solution = nde.solve_sde(
        lambda t, y: 1e-12 * torch.sin(40 * y), lambda t, y: torch.ones_like(y), y0, (0.0, 0.4, 1.0), method="sosri2",
        seed=11, rtol=0.0, atol=1e-13, controller=Picky(), per_sample=per_sample,
    )  # fmt: skip
    assert 2 * solution.stats.n_rejected > solution.stats.n_accepted
    for increments, variance in ((solution.ys[1], 0.4), (solution.ys[2] - solution.ys[1], 0.6)):
        scaled = increments[:, 0] / math.sqrt(variance)
        # of 2,000 samples, the variance is known to 3.2 % (one standard deviation)
        assert float(scaled.var()) == pytest.approx(1.0, abs=0.1)
        assert stats.kstest(scaled.numpy(), "norm").pvalue > 0.01
    halves = torch.stack([solution.ys[1, :, 0], (solution.ys[2] - solution.ys[1])[:, 0]])
    assert abs(float(torch.corrcoef(halves)[0, 1])) < 0.08


def test_one_failing_sample_leaves_the_others_unchanged() -> None:
    def field(t, y, kind):
        broken = torch.where(t > 0.5, math.nan, -y)
        return torch.where(kind == 1, y**3, torch.where(kind == 2, broken, -y))

    def noise(t, y, kind):
        return torch.where((kind == 3) & (t > 0.3), math.nan, 0.1 * y)

    kinds = torch.tensor([[0.0], [1.0], [2.0], [3.0], [0.0]], dtype=torch.float64)
    y0 = torch.tensor([[1.0, 0.5], [2.0, 3.0], [1.0, 1.0], [1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
    path = nde.BrownianPath(0.0, 1.0, (5, 2), seed=3, levy_area="space-time", dtype=torch.float64)
    options = {"per_sample": True, "method": "sosri2", "throw": False}
    solution = nde.solve_sde(field, noise, y0, (0.0, 0.02, 1.0), (nde.PerSample(kinds),), path=path, **options)
    assert solution.statuses[0] is solution.statuses[4] is Status.SUCCESS
    assert solution.statuses[1] in (Status.STEP_UNDERFLOW, Status.NON_FINITE)
    assert solution.statuses[2] is solution.statuses[3] is Status.NON_FINITE
    # each at its own time: the blow-up first
    assert solution.t1[1] < solution.t1[3] < 0.31 < 0.49 < solution.t1[2] < 0.51
    failures = solution.failures
    assert failures[2].source.startswith("the drift") and failures[3].source.startswith("the diffusion")
    assert all(failures[sample].sample == sample and failures[sample].h for sample in (1, 2, 3))
    assert "the drift, evaluated at t = 0.5" in failures[2].message(Status.NON_FINITE)
    assert bool(solution.ys[1].isfinite().all()), "what was reached before the failures is kept"
    for sample in (0, 4):
        part = slice(sample, sample + 1)
        alone = nde.solve_sde(
            field, noise, y0[part], (0.0, 0.02, 1.0), (nde.PerSample(kinds[part]),), path=path[part], **options
        )
        assert torch.equal(alone.ys[:, 0], solution.ys[:, sample])


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_a_failed_sample_does_not_spoil_the_gradients_of_the_others(adjoint) -> None:
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[1.0], [2.0], [0.5]], dtype=torch.float64)
    path = nde.BrownianPath(0.0, 1.0, (3, 1), seed=3, dtype=torch.float64)

    def field(t, y, scale, late):
        # the square root has no value behind t = 0.5, and no derivative
        return -scale * y * torch.sqrt(torch.where(late > 0, 0.5 - t, 1.0))

    def gradient(keep):
        late = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)[keep]
        solution = nde.solve_sde(
            field, lambda t, y, scale, late: scale * torch.cos(y), y0[keep], (0.0, 1.0), (scale, nde.PerSample(late)),
            method="euler", controller=nde.FixedStep(0.125), path=path[keep], per_sample=True, throw=False,
            adjoint=adjoint,
        )  # fmt: skip
        assert solution.succeeded.tolist() == (late == 0)[:, 0].tolist()
        return torch.autograd.grad(solution.y1[solution.succeeded].sum(), scale)[0]

    torch.testing.assert_close(gradient([0, 1, 2]), gradient([0, 2]), rtol=1e-13, atol=1e-14)


def test_doubled_steps_choose_their_own_sizes_too() -> None:
    y0, speed = (
        torch.linspace(0.1, 2.0, 6, dtype=torch.float64).view(3, 2),
        torch.tensor([[0.5], [3.0], [6.0]]).double(),
    )
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=4, dtype=torch.float64)
    kind = ("diagonal", "ito", StepDoubling("milstein"))
    together = solve(y0, speed, (0.0, 1.0), *kind, path)
    assert len(set(together.stats.accepted.tolist())) > 1
    for sample in range(3):
        part = slice(sample, sample + 1)
        alone = solve(y0[part], speed[part], (0.0, 1.0), *kind, path[part])
        assert torch.equal(alone.y1[0], together.y1[sample])
