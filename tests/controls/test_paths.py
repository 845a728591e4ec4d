"""What every kind of path keeps: values at knots, derivatives, shapes, gradients, coefficients that can be stored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nde.controls import ControlPath, CubicPath, HermiteCubicPath, LinearPath, NaturalCubicPath, RectilinearPath
from tests.controls.series import KINDS, series, times

every_kind = pytest.mark.parametrize("kind", KINDS)
# rounding of some ten operations on numbers of size 10
NEAR = {"rtol": 1e-12, "atol": 1e-11}


@every_kind
def test_a_path_goes_through_the_data(kind: type[ControlPath]) -> None:
    t, x = times(12), series(2, 3, 12, 4)
    torch.testing.assert_close(kind(x, t).evaluate(t), x, **NEAR)


@every_kind
def test_the_derivative_is_that_of_the_values(kind: type[ControlPath]) -> None:
    path = kind(series(2, 12, 3), times(12))
    # beyond both ends, too
    query = torch.linspace(-1.5, float(path.times[-1]) + 0.5, 57, dtype=torch.float64)
    _, derivative = torch.func.jvp(path.evaluate, (query,), (torch.ones_like(query),))
    torch.testing.assert_close(path.derivative(query), derivative, **NEAR)


@pytest.mark.parametrize(("kind", "smooth"), [(NaturalCubicPath, 2), (HermiteCubicPath, 1)])
def test_as_many_derivatives_are_continuous_as_the_kind_promises(kind: type[CubicPath], smooth: int) -> None:
    path = kind(series(3, 12, 2), times(12))
    a, b, c, d = path.coefficients[..., :-1, :].chunk(4, -1)
    h = path.times.diff()[:-1].unsqueeze(-1)
    ends = [a + h * (b + h * (c / 2 + h * d / 3)), b + h * (c + h * d), c + 2 * h * d]
    begins = path.coefficients[..., 1:, :].chunk(4, -1)[:3]
    for order, (end, begin) in enumerate(zip(ends, begins, strict=True)):
        jump = (end - begin).abs().max()
        assert (jump < 1e-11) if order <= smooth else (jump > 0.1)


@every_kind
def test_straight_lines_are_reproduced(kind: type[ControlPath]) -> None:
    t = times(9)
    query = torch.linspace(-1.5, 5.0, 31, dtype=torch.float64)
    slope, offset = series(2, 1, 3), series(2, 1, 3, seed=1)
    path = kind(slope * t.unsqueeze(-1) + offset, t)
    torch.testing.assert_close(path.evaluate(query), slope * query.unsqueeze(-1) + offset, **NEAR)
    torch.testing.assert_close(path.derivative(query), slope.expand(2, 31, 3), **NEAR)


def test_hermite_pieces_have_the_backward_differences_as_slopes_at_their_ends() -> None:
    t, x = times(9), series(2, 9, 3)
    path = HermiteCubicPath(x, t)
    slopes = x.diff(dim=-2) / t.diff().unsqueeze(-1)
    torch.testing.assert_close(path.derivative(t), torch.cat([slopes[:, :1], slopes], 1), **NEAR)


def test_hermite_and_linear_paths_depend_on_no_later_observation() -> None:
    t, x = times(9), series(9, 3)
    other = torch.cat([x[:6], x[6:] + 1])
    query = torch.linspace(-1, float(t[5]), 20, dtype=torch.float64)
    for kind in (HermiteCubicPath, LinearPath):
        assert torch.equal(kind(x, t).evaluate(query), kind(other, t).evaluate(query))
    assert not torch.equal(NaturalCubicPath(x, t).evaluate(query), NaturalCubicPath(other, t).evaluate(query))


@every_kind
def test_where_the_derivative_jumps_it_is_that_from_the_left(kind: type[ControlPath]) -> None:
    path = kind(series(9, 2), times(9))
    jump = (path.derivative(path.times[4] + 1e-9) - path.derivative(path.times[4])).abs().max()
    before = (path.derivative(path.times[4] - 1e-9) - path.derivative(path.times[4])).abs().max()
    assert before < 1e-6
    assert bool(jump > 0.1) == path.derivative_jumps
    assert path.jump_ts == (path.times[1:-1].tolist() if path.derivative_jumps else [])


@every_kind
def test_shapes(kind: type[ControlPath]) -> None:
    path = kind(series(5, 2, 8, 3), times(8))
    assert path.batch_shape == (5, 2)
    assert path.channels == 3
    for function in (path.evaluate, path.derivative):
        assert function(0.5).shape == (5, 2, 3)
        assert function(torch.tensor(0.5)).shape == (5, 2, 3)
        assert function(torch.zeros(7)).shape == (5, 2, 7, 3)
        assert function(torch.zeros(1)).shape == (5, 2, 1, 3)
        assert function(torch.zeros(5, 1, 1)).shape == (5, 2, 3)
    lone = kind(series(8, 3), times(8))
    assert lone.evaluate(0.5).shape == (3,)
    assert lone.derivative(torch.zeros(5, 1)).shape == (5, 3)


@every_kind
def test_a_time_per_row_gives_what_each_row_gives_alone(kind: type[ControlPath]) -> None:
    x, t = series(5, 2, 8, 3), times(8)
    own = torch.linspace(-1.2, 4.0, 5, dtype=torch.float64)
    for name in ("evaluate", "derivative"):
        together = getattr(kind(x, t), name)(own.reshape(5, 1, 1))
        alone = torch.stack([getattr(kind(row, t), name)(time) for row, time in zip(x, own, strict=True)])
        assert torch.equal(together, alone)
        shared = getattr(kind(x[0, 0], t), name)(own.reshape(5, 1))
        assert torch.equal(shared, getattr(kind(x[0, 0], t), name)(own))


@every_kind
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_gradients_reach_data_and_times(kind: type[ControlPath], missing: float) -> None:
    x, t = series(2, 7, 2, missing=missing), times(7)
    query = torch.tensor([-1.1, 0.1, 1.3, 2.9], dtype=torch.float64)
    holes = x.isnan()

    def values(data: Tensor, knots: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        path = kind(torch.where(holes, torch.nan, data), knots)
        return path.evaluate(at), path.derivative(at)

    inputs = [part.requires_grad_() for part in (x.nan_to_num(), t, query)]
    assert torch.autograd.gradcheck(values, inputs)
    assert torch.autograd.gradgradcheck(values, inputs)


@every_kind
def test_stored_coefficients_give_the_same_path(kind: type[ControlPath]) -> None:
    x, t = series(6, 8, 3, missing=0.3), times(8)
    path = kind(x, t)
    query = torch.linspace(-1, 4, 9, dtype=torch.float64)
    part = kind.from_coefficients(path.coefficients[2:4], t)
    assert torch.equal(part.evaluate(query), path.evaluate(query)[2:4])
    assert torch.equal(part.derivative(query), path.derivative(query)[2:4])
    assert part.channels == 3


@every_kind
def test_times_default_to_whole_numbers(kind: type[ControlPath]) -> None:
    x = series(2, 8, 3).float()
    path, given = kind(x), kind(x, range(8))
    assert path.times.dtype == torch.float32
    torch.testing.assert_close(path.evaluate(2.5), given.evaluate(2.5))
    assert path.interval.tolist() == [0.0, 7.0]


def test_times_of_double_precision_serve_data_of_single_precision() -> None:
    t = 1e6 + torch.linspace(0, 1, 9, dtype=torch.float64)  # float32 tells no two of them apart
    x = series(9, 2)
    for kind in KINDS:
        found = kind(x.float(), t).evaluate(t[:-1] + 0.01)
        torch.testing.assert_close(found, kind(x, t).evaluate(t[:-1] + 0.01).float(), rtol=1e-4, atol=1e-4)


def test_a_rectilinear_path_moves_time_and_data_by_turns() -> None:
    nan = float("nan")
    x = torch.tensor([[0.1, 0.4], [0.2, nan], [0.9, 1.1]])
    path = RectilinearPath(x)
    expected = torch.tensor([[0.1, 0.4], [0.2, 0.4], [0.2, 0.4], [0.9, 0.4], [0.9, 1.1]])
    assert torch.equal(path.evaluate(torch.arange(5.0)), expected)
    assert torch.equal(path.derivative(2.5), torch.tensor([0.7, 0.0]))
    swapped = RectilinearPath(x.flip(-1), time_channel=1)
    assert torch.equal(swapped.evaluate(torch.arange(5.0)), expected.flip(-1))
