"""With per_sample=True every sample is solved as if it were alone, and bears the consequences alone."""

import math

import pytest
import torch

import nde
from nde import Status
from tests.problems import double


def van_der_pol(t, y, mu):
    x, v = y[..., 0], y[..., 1]
    return torch.stack([v, mu * (1 - x * x) * v - x + 0.1 * torch.cos(t.reshape(-1) if t.dim() else t)], -1)


MU = torch.logspace(0, 1, 6, dtype=torch.float64)
START = double([2.0, 0.0]).repeat(6, 1) + torch.linspace(0, 1, 6, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize("controller", [None, nde.PIController(), nde.FixedStep(0.01)], ids=["I", "PI", "fixed"])
def test_samples_take_the_steps_that_they_take_alone(method, controller) -> None:
    # the stiffest sample is short: where stability limits the steps of dopri8, their sizes amplify rounding
    spans = double(
        [0.0, 1.0, 2.0], [0.0, 0.3, 0.9], [0.3, 0.2, 0.1], [2.0, 1.97, 1.95], [0.0, 2.0, math.nan], [-1, -0.7, -0.4]
    )
    options = {"method": method, "controller": controller, "rtol": 1e-6, "atol": 1e-6}
    together = nde.solve_ode(van_der_pol, START, spans, (nde.PerSample(MU),), per_sample=True, **options)
    for sample in range(6):
        times = spans[sample][~spans[sample].isnan()]
        alone = nde.solve_ode(van_der_pol, START[sample : sample + 1], times, (MU[sample],), **options)
        assert int(together.stats.accepted[sample]) == alone.stats.n_accepted
        assert int(together.stats.rejected[sample]) == alone.stats.n_rejected
        torch.testing.assert_close(together.ys[: len(times), sample], alone.ys[:, 0], rtol=1e-9, atol=1e-10)
        assert bool(together.ys[len(times) :, sample].isnan().all())
        steps = together.steps.sample == sample
        # the estimates of dopri8 are near rounding, which the controller turns into step sizes
        torch.testing.assert_close(together.steps.h[steps], alone.steps.h, rtol=1e-2, atol=1e-12)


def test_the_work_is_the_sum_of_the_samples_own_steps() -> None:
    rows = []

    def counted(t, y, mu):
        rows.append(y.shape[0])
        return van_der_pol(t, y, mu)

    solution = nde.solve_ode(counted, START, (0.0, 3.0), (nde.PerSample(MU),), per_sample=True, rtol=1e-6)
    assert sum(rows) == solution.stats.n_sample_evals
    assert len(rows) == solution.stats.n_field_evals
    # tsit5: six evaluations per attempt, and two for the first step
    assert sum(rows) == 6 * solution.stats.n_steps + 2 * 6
    assert int(solution.stats.accepted.sum()) == solution.stats.n_accepted


def test_each_failure_has_its_own_status_and_harms_no_other_sample() -> None:
    def field(t, y, kind):
        blow_up, broken, fine = y.square(), torch.where(t > 0.5, torch.full_like(y, math.nan), -y), -y
        return torch.where(
            kind == 1,
            blow_up,
            torch.where(kind == 2, broken, torch.where(kind == 3, 999 * torch.cos(999 * t) * y, fine)),
        )

    kinds = double([0.0], [1.0], [2.0], [3.0], [0.0])
    y0 = double([1.0], [2.0], [1.0], [1.0], [3.0])
    options = {"per_sample": True, "rtol": 1e-8, "atol": 1e-8, "max_steps": 150}
    solution = nde.solve_ode(field, y0, (0.0, 0.25, 2.0), (nde.PerSample(kinds),), throw=False, **options)
    assert solution.statuses[0] is solution.statuses[4] is Status.SUCCESS
    assert solution.statuses[1] in (Status.MAX_STEPS, Status.STEP_UNDERFLOW, Status.NON_FINITE)
    assert solution.statuses[2] is Status.NON_FINITE
    assert solution.statuses[3] is Status.MAX_STEPS
    assert solution.succeeded.tolist() == [True, False, False, False, True]
    assert set(solution.failures) == {1, 2, 3}
    assert solution.failures[2].t == pytest.approx(0.5, abs=1e-6)
    assert solution.failures[2].sample == 2
    assert 0.4 < solution.failures[1].t <= 0.5
    alone = nde.solve_ode(field, y0[[0, 4]], (0.0, 0.25, 2.0), (nde.PerSample(kinds[[0, 4]]),), **options)
    torch.testing.assert_close(solution.ys[:, [0, 4]], alone.ys, rtol=1e-12, atol=0)
    # what the failed samples reached before is there
    torch.testing.assert_close(solution.ys[1, 1], double([2.0 / (1 - 2.0 * 0.25)])[0], rtol=1e-6, atol=0)
    assert bool(solution.ys[2, 1:4].isnan().all())
    with pytest.raises(nde.SolverError, match="sample 1 of 5") as caught:
        nde.solve_ode(field, y0, (0.0, 0.25, 2.0), (nde.PerSample(kinds),), **options)
    torch.testing.assert_close(caught.value.solution.y1[4], alone.y1[1], rtol=1e-12, atol=0)


def test_a_smallest_step_is_each_samples_own() -> None:
    def field(t, y, rate):
        return rate * torch.cos(rate * t) + 0 * y

    rates = double([1.0], [500.0])
    solution = nde.solve_ode(
        field,
        double([0.0], [0.0]),
        (0.0, 1.0),
        (nde.PerSample(rates),),
        per_sample=True,
        dt_min=0.02,
        throw=False,
        rtol=1e-7,
        atol=1e-7,
    )
    assert solution.statuses == (Status.SUCCESS, Status.STEP_UNDERFLOW)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_samples_of_any_shape_and_dtype(dtype, shape) -> None:
    torch.manual_seed(1)
    y0 = torch.randn(4, *shape, dtype=dtype)
    rate = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=y0.real.dtype).reshape(4, *[1] * len(shape))
    solution = nde.solve_ode(
        lambda t, y, rate: -rate * y * torch.cos(t),
        y0,
        (0.0, 1.0),
        (nde.PerSample(rate),),
        per_sample=True,
        rtol=1e-5,
        atol=1e-6,
    )
    assert solution.ys.shape == (2, *y0.shape)
    assert solution.ys.dtype == dtype
    torch.testing.assert_close(solution.y1, y0 * torch.exp(-rate * math.sin(1.0)), rtol=3e-4, atol=3e-5)


def test_nested_states_and_tolerances_per_entry() -> None:
    y0 = {"a": double([1.0], [2.0], [3.0]), "b": (double(*[[1.0, 2.0]] * 3),)}
    solution = nde.solve_ode(
        lambda t, y: {"a": -y["a"], "b": (y["b"][0].cos(),)},
        y0,
        (0.0, 1.0),
        per_sample=True,
        rtol=1e-8,
        atol={"a": 1e-9, "b": (double(*[[1e-9, 1e-8]] * 3),)},
    )
    torch.testing.assert_close(solution.ys["a"][-1], y0["a"] * math.exp(-1), rtol=1e-7, atol=0)
    assert solution.y1["b"][0].shape == (3, 2)


def test_wrong_input_is_named() -> None:
    def field(t, y):
        return -y

    y0 = double([1.0], [2.0])
    with pytest.raises(ValueError, match="per_sample=True needs a state whose tensors share their first axis"):
        nde.solve_ode(field, double(1.0).reshape(()), (0.0, 1.0), per_sample=True)
    with pytest.raises(ValueError, match="one row per sample"):
        nde.solve_ode(field, y0, torch.zeros(3, 2), per_sample=True)
    with pytest.raises(ValueError, match=r"in ts\[1\], the times of sample 1.*strictly"):
        nde.solve_ode(field, y0, [[0.0, 1.0], [1.0, 1.0]], per_sample=True)
    with pytest.raises(ValueError, match=r"args\[0\].value must have a first axis of length 2"):
        nde.solve_ode(lambda t, y, w: y, y0, (0.0, 1.0), (nde.PerSample(double(1.0, 2.0, 3.0)),), per_sample=True)
    with pytest.raises(ValueError, match=r"must have shape \(2, 1\)"):
        nde.solve_ode(lambda t, y: y.sum(0), y0, (0.0, 1.0), per_sample=True)


def test_an_argument_per_sample_is_whole_in_a_plain_solve() -> None:
    rates = double([1.0], [2.0])
    solution = nde.solve_ode(lambda t, y, rate: -rate * y, double([1.0], [1.0]), (0.0, 1.0), (nde.PerSample(rates),))
    torch.testing.assert_close(solution.y1, torch.exp(-rates), rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", ["tsit5", "dopri8", "implicit_euler"])
def test_the_layout_of_the_initial_state_and_of_the_fields_value_in_memory_does_not_matter(method) -> None:
    y0 = double([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    options = {"per_sample": True, "method": method}
    if method == "implicit_euler":
        options["controller"] = nde.FixedStep(0.25)
    expected = nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), **options).y1
    transposed = nde.solve_ode(lambda t, y: -y.T.contiguous().T, y0.T.contiguous().T, (0.0, 1.0), **options).y1
    # other orders of summation
    torch.testing.assert_close(transposed, expected, rtol=1e-12, atol=0)
    expanded = nde.solve_ode(lambda t, y: -y[:1].expand_as(y), y0[:1].expand(2, 3), (0.0, 1.0), **options).y1
    torch.testing.assert_close(expanded, expected[:1].expand(2, 3), rtol=1e-12, atol=0)
