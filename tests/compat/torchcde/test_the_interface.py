"""torchcde's interface: what its functions return, warn of and refuse."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nde
import nde.compat.torchcde as torchcde
from nde.controls import HermiteCubicPath, LinearPath, NaturalCubicPath
from tests.controls.series import series, times


class Func(nn.Module):
    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(hidden, hidden * channels, dtype=torch.float64)
        self.shape = (hidden, channels)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(self.net(z)).unflatten(-1, self.shape)


def test_signatures_are_those_of_torchcde() -> None:
    expected = {
        "cdeint": ["X", "func", "z0", "t", "adjoint", "backend", "kwargs"],
        "linear_interpolation_coeffs": ["x", "t", "rectilinear"],
        "natural_cubic_coeffs": ["x", "t"],
        "natural_cubic_spline_coeffs": ["x", "t"],
        "hermite_cubic_coefficients_with_backward_differences": ["x", "t"],
        "CubicSpline": ["coeffs", "t", "kwargs"],
        "NaturalCubicSpline": ["coeffs", "t", "kwargs"],
        "LinearInterpolation": ["coeffs", "t", "kwargs"],
        "TupleControl": ["controls"],
        "logsig_windows": ["x", "depth", "window_length", "t"],
        "logsignature_windows": ["x", "depth", "window_length", "t"],
    }
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(torchcde, name)).parameters) == parameters
    defaults = inspect.signature(torchcde.cdeint).parameters
    assert (defaults["adjoint"].default, defaults["backend"].default) == (True, "torchdiffeq")


@pytest.mark.parametrize(
    ("coefficients", "path", "kind"),
    [
        (torchcde.linear_interpolation_coeffs, torchcde.LinearInterpolation, LinearPath),
        (torchcde.natural_cubic_coeffs, torchcde.CubicSpline, NaturalCubicPath),
        (torchcde.hermite_cubic_coefficients_with_backward_differences, torchcde.NaturalCubicSpline, HermiteCubicPath),
    ],
)
def test_paths_are_those_of_nde_at_times_of_any_shape(coefficients: Any, path: Any, kind: Any) -> None:
    x, t = series(2, 7, 3, missing=0.3), times(7)
    found, own = path(coefficients(x, t), t), kind(x, t)
    query = torch.linspace(-1, 2, 6, dtype=torch.float64)
    for name in ("evaluate", "derivative"):
        expected = getattr(own, name)(query)
        assert torch.equal(getattr(found, name)(query), expected)
        assert torch.equal(getattr(found, name)(query.reshape(2, 3)), expected.unflatten(1, (2, 3)))
        assert torch.equal(getattr(found, name)(-1.0), expected[:, 0])
    assert torch.equal(found.grid_points, t)
    assert torch.equal(found.interval, t[[0, -1]])
    moved = found.to(torch.float32)
    assert moved.derivative(0.0).dtype == torch.float32
    assert len(moved.state_dict()) >= 2


def test_the_deprecated_natural_spline_has_one_knot_where_values_are_missing_at_an_end() -> None:
    nan = torch.nan
    x = torch.tensor([nan, nan, 1.0, 2.0, 0.0, nan, nan], dtype=torch.float64).unsqueeze(-1)
    kept = [0, 2, 3, 4, 6]
    filled = torch.tensor([1.0, 1.0, 2.0, 0.0, 0.0], dtype=torch.float64).unsqueeze(-1)
    expected = NaturalCubicPath(filled, torch.tensor(kept, dtype=torch.float64))
    found = torchcde.CubicSpline(torchcde.natural_cubic_spline_coeffs(x))
    query = torch.linspace(0, 6, 31, dtype=torch.float64)
    torch.testing.assert_close(found.evaluate(query), expected.evaluate(query), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("adjoint", [True, False])
def test_cdeint_solves_with_time_last_but_one(adjoint: bool) -> None:
    func, x, z0 = Func(3, 2), series(4, 6, 2).requires_grad_(), series(4, 3)
    coeffs = torchcde.natural_cubic_coeffs(x)
    t = torch.tensor([0.0, 2.5, 5.0], dtype=torch.float64)
    options: dict[str, Any] = {"adjoint_params": (*func.parameters(), coeffs)} if adjoint else {}
    found = torchcde.cdeint(torchcde.CubicSpline(coeffs), func, z0, t, adjoint, rtol=1e-8, atol=1e-10, **options)
    own = nde.solve_cde(func, NaturalCubicPath(x), z0, t, rtol=1e-9, atol=1e-11).ys
    torch.testing.assert_close(found, own.movedim(0, -2), rtol=1e-5, atol=1e-6)
    inputs = [x, *func.parameters()]
    gradients = [torch.autograd.grad(values.pow(2).sum(), inputs) for values in (found, own)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_it_warns_of_inputs_that_the_adjoint_leaves_out() -> None:
    coeffs = torchcde.natural_cubic_coeffs(series(4, 6, 2).requires_grad_())
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.warns(UserWarning, match="adjoint_params"):
        torchcde.cdeint(torchcde.CubicSpline(coeffs), Func(3, 2), series(4, 3), t)


def test_tuples_of_states_and_controls() -> None:
    one, two = (torchcde.CubicSpline(torchcde.natural_cubic_coeffs(series(6, n))) for n in (2, 1))
    both = torchcde.TupleControl(one, two)
    first, second = Func(3, 2), Func(5, 1)

    class Both(nn.Module):
        def forward(self, t: Tensor, z: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return first(t, z[0]), second(t, z[1])

    z0 = (series(3), series(5))
    t = both.interval
    options: dict[str, Any] = {"adjoint": False, "method": "rk4", "options": {"step_size": 0.25}}
    found = torchcde.cdeint(both, Both(), z0, t, **options)
    for part, control, func, start in zip(found, (one, two), (first, second), z0, strict=True):
        alone = torchcde.cdeint(control, func, start, t, **options)
        torch.testing.assert_close(part, alone, rtol=1e-12, atol=1e-12)
    assert torch.equal(both.grid_points, one.grid_points)


def test_controls_of_different_spans_or_knots() -> None:
    one = torchcde.LinearInterpolation(series(5, 2))
    with pytest.raises(ValueError, match="one or more controls"):
        torchcde.TupleControl()
    with pytest.raises(ValueError, match="over the same interval"):
        torchcde.TupleControl(one, torchcde.LinearInterpolation(series(6, 2)))
    halves = torchcde.LinearInterpolation(series(9, 2), torch.linspace(0, 4, 9, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="different grid points"):
        _ = torchcde.TupleControl(one, halves).grid_points


def test_a_rectilinear_path_that_begins_with_missing_values_warns() -> None:
    x = torch.tensor([[0.0, torch.nan], [1.0, 2.0]])
    with pytest.warns(UserWarning, match="not causal"):
        found = torchcde.linear_interpolation_coeffs(x, rectilinear=0)
    assert found.tolist() == [[0.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    with pytest.raises(AssertionError, match="rectilinear must be an integer from 0 to 1"):
        torchcde.linear_interpolation_coeffs(torch.zeros(3, 2), rectilinear=2)
    with pytest.raises(AssertionError, match="without missing values"):
        torchcde.linear_interpolation_coeffs(torch.tensor([[0.0, 1.0], [torch.nan, 2.0]]), rectilinear=0)


@pytest.mark.parametrize(
    ("x", "t", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int64), None, "floating point"),
        (torch.zeros(3), None, "must have the shape"),
        (torch.zeros(1, 2), None, "at least 2 observations"),
        (torch.zeros(3, 2), torch.zeros(3), "increasing"),
        (torch.zeros(3, 2), torch.arange(3), "t must be a tensor of floating point"),
        (torch.zeros(3, 2), torch.arange(4.0), r"must have the shape \(3,\)"),
    ],
)
@pytest.mark.parametrize("function", [torchcde.linear_interpolation_coeffs, torchcde.natural_cubic_coeffs])
def test_wrong_data_is_a_value_error(function: Any, x: Tensor, t: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(x, t)


def test_wrong_equations_are_value_errors() -> None:
    control, t = torchcde.CubicSpline(torchcde.natural_cubic_coeffs(series(4, 6, 2))), torch.tensor([0.0, 1.0])
    z0 = series(4, 3)
    cases: list[tuple[Any, Any, Any, str]] = [
        (series(4, 6, 2), Func(3, 2), z0, "X must have a 'derivative' method"),
        (control, Func(3, 2), series(5, 3), "X.derivative must have the batch dimensions of z0"),
        (control, lambda t, z: z, z0, r"func must return shape \(4, 3, 2\), but returned \(4, 3\)"),
        (control, Func(3, 2), "z0", "z0 must be either"),
    ]
    for given, func, start, message in cases:
        with pytest.raises(ValueError, match=message):
            torchcde.cdeint(given, func, start, t)
    with pytest.raises(ValueError, match="Unrecognised backend=jax"):
        torchcde.cdeint(control, Func(3, 2), z0, t, backend="jax")
