"""Steps land where they are told to, discontinuities are never crossed, and the user's norm decides."""

import math

import pytest
import torch

import nde
from tests.problems import double


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("span", [(0.0, 1.0, 2.0), (2.0, 1.0, 0.0)], ids=["up", "down"])
def test_a_discontinuity_costs_nothing_when_its_time_is_given(dtype, per_sample, span) -> None:
    seen = []

    def field(t, y):
        seen.append(t.detach().reshape(-1))
        return torch.where(t < 1.0, -y, torch.full_like(y, 2.0))

    y0 = torch.tensor([[1.0], [2.0]], dtype=dtype, requires_grad=True)
    options = {"rtol": 1e-5, "atol": 1e-6, "per_sample": per_sample}
    plain = nde.solve_ode(field, y0, span, **options)
    seen.clear()
    solution = nde.solve_ode(field, y0, span, jump_ts=[1.0], **options)
    assert solution.stats.n_steps < plain.stats.n_steps / 2
    assert not bool((torch.cat(seen) == 1.0).any())
    start = y0.detach()
    if span[0] == 0.0:
        expected, slope = start * math.exp(-1) + 2.0, math.exp(-1)
    else:
        expected, slope = (start - 2.0) * math.e, math.e
    torch.testing.assert_close(solution.ys[-1], expected, rtol=3e-5, atol=3e-5)
    (gradient,) = torch.autograd.grad(solution.y1.sum(), y0)
    torch.testing.assert_close(gradient, torch.full_like(gradient, slope), rtol=2e-4, atol=0)


@pytest.mark.parametrize("per_sample", [False, True])
def test_steps_land_on_given_times(per_sample) -> None:
    solution = nde.solve_ode(
        lambda t, y: torch.sin(t) * y,
        double([1.0], [2.0]),
        (0.0, 2.0),
        step_ts=double(1.7, 0.3, 5.0),
        per_sample=per_sample,
    )
    for time in (0.3, 1.7):
        assert int((solution.steps.t == time).sum()) == (2 if per_sample else 1)


def test_fixed_steps_between_discontinuities_never_touch_the_grid() -> None:
    seen = []

    def field(t, y):
        seen.append(float(t))
        return t - y

    nde.solve_ode(field, double(1.0), (0.0, 2.0), method="rk4", controller=nde.FixedStep(0.5), jump_ts=(0.5, 1.0, 1.5))
    assert not {0.5, 1.0, 1.5} & set(seen)


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_the_users_norm_decides(adjoint) -> None:
    def field(t, y):
        return torch.stack([-y[0], 50 * torch.cos(50 * t)])

    def first_alone(error):
        return error[0].abs()

    y0 = double(1.0, 0.0).requires_grad_()
    all_entries = nde.solve_ode(field, y0, (0.0, 1.0), rtol=1e-6, atol=1e-6, adjoint=adjoint)
    one_entry = nde.solve_ode(field, y0, (0.0, 1.0), rtol=1e-6, atol=1e-6, adjoint=adjoint, norm=first_alone)
    assert one_entry.stats.n_accepted < all_entries.stats.n_accepted / 3
    torch.testing.assert_close(one_entry.y1[0], double(math.exp(-1))[0], rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(one_entry.y1[0], y0)
    torch.testing.assert_close(gradient, double(math.exp(-1), 0.0), rtol=1e-5, atol=1e-12)


def test_the_root_mean_square_as_a_users_norm_changes_nothing() -> None:
    def field(t, y):
        return torch.sin(t * y)

    y0 = double(0.3, 1.0, -2.0)
    plain = nde.solve_ode(field, y0, (0.0, 3.0), adjoint="direct")
    given = nde.solve_ode(field, y0, (0.0, 3.0), adjoint="direct", norm=lambda error: error.square().mean().sqrt())
    torch.testing.assert_close(given.steps.h, plain.steps.h, rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"step_ts": 0.5}, TypeError, "step_ts"),
        ({"step_ts": ["soon"]}, TypeError, "step_ts"),
        ({"jump_ts": [math.nan]}, ValueError, "jump_ts"),
        ({"jump_ts": [0.5, 0.5]}, ValueError, "twice"),
        ({"jump_ts": [0.5], "step_ts": [0.5]}, ValueError, "share"),
        ({"norm": 2}, TypeError, "norm"),
        ({"norm": lambda error: error}, ValueError, "norm"),
        ({"norm": lambda error: 1.0}, TypeError, "norm"),
        ({"norm": torch.linalg.vector_norm, "per_sample": True}, ValueError, "per_sample"),
    ],
)
def test_wrong_settings_are_named(options, error, words) -> None:
    with pytest.raises(error, match=words):
        nde.solve_ode(lambda t, y: -y, double([1.0, 2.0], [3.0, 4.0]), (0.0, 1.0), **options)
