"""What is kept in place of the states."""

import pytest
import torch

import nde
from tests.problems import double

adjoints = pytest.mark.parametrize("adjoint", ["direct", "discrete"])


def field(t, y):
    return torch.sin(t * y) + torch.cos(3 * t)


@adjoints
def test_what_is_saved_is_that_of_the_states(adjoint) -> None:
    def save(t, y):
        return {"mean": y.mean(), "moved": (t + y[:2].to(torch.complex128),)}

    y0, ts = double(0.3, 1.0, -2.0).requires_grad_(), torch.linspace(0, 2, 9, dtype=torch.float64)
    whole = nde.solve_ode(field, y0, ts, adjoint=adjoint, step_ts=[0.5])
    kept = nde.solve_ode(field, y0, ts, adjoint=adjoint, step_ts=[0.5], save=save)
    assert kept.ys["mean"].shape == (9,)
    torch.testing.assert_close(kept.ys["mean"], whole.ys.mean(-1))
    torch.testing.assert_close(kept.ys["moved"][0].real, ts[:, None] + whole.ys[:, :2])
    torch.testing.assert_close(kept.y1, whole.y1)
    gradients = [torch.autograd.grad(part.square().sum(), y0)[0] for part in (kept.ys["mean"], whole.ys.mean(-1))]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@adjoints
def test_gradients_of_what_is_saved_equal_finite_differences(adjoint) -> None:
    def value(weight, y0, ts):
        solution = nde.solve_ode(
            field, y0, ts, adjoint=adjoint, save=lambda t, y: weight * (t * y).sum(), controller=nde.FixedStep(0.17)
        )
        return solution.ys.square().sum()

    inputs = double(1.2), double(0.3, 1.0), double(0.05, 0.6, 0.8, 1.93)
    assert torch.autograd.gradcheck(value, [part.requires_grad_() for part in inputs], atol=1e-6)


def test_no_more_than_what_is_saved_is_held() -> None:
    with torch.no_grad():
        solution = nde.solve_ode(
            lambda t, y: -y, torch.ones(1000, dtype=torch.float64), torch.linspace(0, 1, 50), save=lambda t, y: y.mean()
        )
    assert solution._outputs.saved.shape == (48, 1)
    assert solution._outputs.states is None


def test_a_failed_solve_saves_what_it_reached() -> None:
    solution = nde.solve_ode(
        lambda t, y: y**2, double(1.0), (0.0, 0.5, 0.9, 2.0), save=lambda t, y: y.sum(), throw=False
    )
    assert solution.ys.isnan().tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"save": 3}, TypeError, "save must be callable"),
        ({"save": lambda t, y: float(y.sum())}, TypeError, r"save\(t, y\)"),
        ({"save": lambda t, y: y[: 1 + int(t > 0.5)]}, ValueError, r"save\(t, y\)"),
    ],
)
def test_wrong_settings_are_named(options, error, words) -> None:
    with pytest.raises(error, match=words):
        nde.solve_ode(lambda t, y: -y, double([1.0], [2.0]), (0.0, 0.3, 0.9, 1.0), **options).ys.sum()


@adjoints
def test_every_sample_is_saved_at_its_own_times(adjoint) -> None:
    spans = double([0.0, 0.5, 1.0], [1.0, 0.7, 0.2], [0.0, 0.3, float("nan")]).requires_grad_()
    y0 = double([0.3, 1.0], [-0.5, 0.2], [1.0, 2.0]).requires_grad_()

    def save(t, y):
        assert t.shape == (y.shape[0], 1)
        return {"sum": y.sum(1), "moved": (t * y.exp(),)}

    options = {"per_sample": True, "adjoint": adjoint}
    whole = nde.solve_ode(field, y0, spans, **options)
    kept = nde.solve_ode(field, y0, spans, save=save, **options)
    times = spans.T[:, :, None]
    assert kept.ys["sum"].shape == (3, 3)
    torch.testing.assert_close(kept.ys["sum"], whole.ys.sum(-1), equal_nan=True)
    torch.testing.assert_close(kept.ys["moved"][0], times * whole.ys.exp(), equal_nan=True)
    one, other = kept.ys["moved"][0], times * whole.ys.exp()
    for a, b in zip(*(torch.autograd.grad(x.nansum(), (y0, spans)) for x in (one, other)), strict=True):
        torch.testing.assert_close(a.nan_to_num(), b.nan_to_num(), rtol=1e-10, atol=1e-12)


def test_saving_without_one_entry_per_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="first axis of length 3"):
        nde.solve_ode(field, double([0.3], [1.0], [2.0]), (0.0, 1.0), per_sample=True, save=lambda t, y: y.mean())
