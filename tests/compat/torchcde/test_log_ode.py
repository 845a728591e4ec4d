"""Log-signatures over windows are what torchcde's documentation and its own tests say of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import nde.compat.torchcde as torchcde
from nde.controls import LinearPath, log_signature, word_coefficients
from tests.problems import double


def words_of(corners: Tensor, depth: int) -> Tensor:
    return word_coefficients(log_signature(corners.diff(dim=-2), depth))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_slopes_of_straight_lines_through_them_are_the_log_signatures(pieces: int, depth: int) -> None:
    """What torchcde tests with the package signatory."""
    generator = torch.Generator().manual_seed(depth)
    x = torch.randn(4 * pieces + 1, 2, generator=generator, dtype=torch.float64)
    path = torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(torchcde.logsig_windows(x, depth, 4)))
    for piece in range(pieces):
        expected = words_of(x[4 * piece : 4 * piece + 5], depth)
        torch.testing.assert_close(path.derivative(piece + 0.5), expected, rtol=1e-12, atol=1e-12)


def test_the_first_value_is_that_of_the_data_and_the_last_window_is_what_is_left() -> None:
    x = torch.randn(3, 6, 2, dtype=torch.float64)
    t = double(1.0, 1.5, 2.0, 2.75, 3.5, 4.0)
    found = torchcde.logsig_windows(x, 2, 1.25, t)
    assert found.shape == (3, 4, 3)
    torch.testing.assert_close(found[:, 0], torch.cat([x[:, 0], torch.zeros(3, 1).double()], -1))
    ends = (1.0, 2.25, 3.5, 4.0)
    straight = LinearPath(x, t)
    for index, (begin, end) in enumerate(itertools.pairwise(ends)):
        inner = t[(t > begin) & (t < end)]
        corners = straight.evaluate(torch.cat([double(begin), inner, double(end)]))
        torch.testing.assert_close(found[:, index + 1] - found[:, index], words_of(corners, 2))
    scaled, times = torchcde.logsignature_windows(x, 2, 1.25, t)
    torch.testing.assert_close(times, double(*ends))
    lengths = times.diff().unsqueeze(-1)
    torch.testing.assert_close(scaled.diff(dim=1), found.diff(dim=1) * lengths)


def test_missing_values_are_filled_linearly_and_gradients_reach_the_data() -> None:
    x = torch.randn(2, 9, 2, dtype=torch.float64)
    x[0, 3, 0] = x[1, 0, 1] = x[1, 8, 0] = torch.nan
    filled = torchcde.linear_interpolation_coeffs(x)
    torch.testing.assert_close(torchcde.logsig_windows(x, 3, 4.0), torchcde.logsig_windows(filled, 3, 4.0))
    leaf = filled.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torchcde.logsig_windows(leaf, 3, 3.0).square().sum(), leaf)
    assert bool(gradient.isfinite().all()) and bool((gradient != 0).any(-1).all())


def test_a_long_series_becomes_the_control_of_a_short_equation() -> None:
    class Func(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 4 * 14)

        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            return torch.tanh(self.net(z)).unflatten(-1, (4, 14))

    torch.manual_seed(0)
    x = torch.randn(5, 101, 3).cumsum(1) / 10
    coeffs = torchcde.linear_interpolation_coeffs(torchcde.logsig_windows(x, 3, window_length=20))
    assert coeffs.shape == (5, 6, 14)
    path = torchcde.LinearInterpolation(coeffs)
    func = Func()
    options = {"method": "rk4", "options": {"step_size": 0.5}}
    z = torchcde.cdeint(path, func, torch.zeros(5, 4), path.interval, adjoint=False, **options)
    z[:, -1].sum().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in func.parameters())


def test_wrong_arguments_are_refused() -> None:
    x = torch.randn(5, 2)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        torchcde.logsig_windows(x, 0, 2.0)
    with pytest.raises(ValueError, match="strictly increasing"):
        torchcde.logsig_windows(x, 2, 2.0, torch.zeros(5))
