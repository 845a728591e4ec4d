"""Missing values: all series and channels at once give what each gives from its known values alone."""

from __future__ import annotations

import numpy
import pytest
import torch
from scipy.interpolate import CubicSpline

from nde.controls import HermiteCubicPath, LinearPath, NaturalCubicPath, fill_forward
from nde.controls.tridiagonal import solve_dominant
from tests.controls.series import series, times


def _known(column: numpy.ndarray) -> numpy.ndarray:
    """What of a series a path goes through: known values, and the outermost ones out to the ends."""
    places = numpy.flatnonzero(~numpy.isnan(column))
    column = column.copy()
    column[: places[0]] = column[places[0]]
    column[places[-1] :] = column[places[-1]]
    return column


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("length", [2, 3, 4, 50])
def test_a_natural_spline_is_that_of_scipy_through_the_known_points(missing: float, length: int) -> None:
    t, x = times(length), series(3, length, 4, missing=missing, seed=length)
    x[:, length // 2] = 1.0  # every series knows one value at least
    path = NaturalCubicPath(x, t)
    query = torch.linspace(-1.0, float(t[-1]), 201, dtype=torch.float64)
    for row in range(3):
        for channel in range(4):
            column = _known(x[row, :, channel].numpy())
            kept = ~numpy.isnan(column)
            expected = CubicSpline(t.numpy()[kept], column[kept], bc_type="natural")
            for order, values in enumerate((path.evaluate(query), path.derivative(query))):
                numpy.testing.assert_allclose(
                    values[row, :, channel].numpy(), expected(query.numpy(), order), rtol=1e-10, atol=1e-10
                )


def test_linear_paths_are_those_of_numpy_through_the_known_points() -> None:
    t, x = times(30), series(3, 30, 4, missing=0.6)
    query = torch.linspace(float(t[0]), float(t[-1]), 201, dtype=torch.float64)
    values = LinearPath(x, t).evaluate(query)
    for row in range(3):
        for channel in range(4):
            column = x[row, :, channel].numpy()
            kept = ~numpy.isnan(column)
            expected = numpy.interp(query.numpy(), t.numpy()[kept], column[kept])
            numpy.testing.assert_allclose(values[row, :, channel].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_hermite_paths_go_through_the_linearly_interpolated_values() -> None:
    t, x = times(30), series(3, 30, 4, missing=0.6)
    filled = LinearPath(x, t).coefficients
    assert torch.equal(HermiteCubicPath(x, t).coefficients, HermiteCubicPath(filled, t).coefficients)


@pytest.mark.parametrize("kind", [LinearPath, NaturalCubicPath, HermiteCubicPath])
def test_a_channel_without_any_value_is_zero_and_leaves_the_others_alone(kind: type) -> None:
    t, x = times(8), series(2, 8, 3)
    holed = x.clone()
    holed[1, :, 2] = torch.nan
    found, full = kind(holed, t).evaluate(t), kind(x, t).evaluate(t)
    assert bool((found[1, :, 2] == 0).all())
    torch.testing.assert_close(found[0], full[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1, :, :2], full[1, :, :2], rtol=1e-12, atol=1e-12)


def test_filling_forward_repeats_the_last_known_value() -> None:
    nan = torch.nan
    x = torch.tensor([[nan, 1.0], [2.0, nan], [nan, nan], [3.0, 4.0]])
    expected = torch.tensor([[nan, 1.0], [2.0, 1.0], [2.0, 1.0], [3.0, 4.0]])
    torch.testing.assert_close(fill_forward(x), expected, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(fill_forward(x.T, -1), expected.T, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("length", [2, 3, 7, 64, 1000])
def test_reduction_solves_dominant_systems_of_any_length_to_rounding(length: int, dtype: torch.dtype) -> None:
    # the least dominant that it is made for: all couplings are half of the diagonal, as at the ends of a spline
    generator = torch.Generator().manual_seed(length)
    lower, upper = torch.rand(2, length, 3, generator=generator, dtype=torch.float64)
    total = lower + upper
    lower, upper = lower / total / 2, -upper / total / 2
    lower[0], upper[-1] = 0, 0
    right = torch.randn(length, 3, generator=generator, dtype=torch.float64)
    found = solve_dominant(*(part.to(dtype) for part in (lower, torch.ones_like(right), upper, right)))
    for channel in range(3):
        below, above = lower[1:, channel].diag_embed(-1), upper[:-1, channel].diag_embed(1)
        expected = torch.linalg.solve(torch.eye(length, dtype=torch.float64) + below + above, right[:, channel])
        # the system's condition is at most 3
        bound = 50 * torch.finfo(dtype).eps
        torch.testing.assert_close(found[:, channel].double(), expected, rtol=0, atol=bound)
