"""The log-ODE method: its order in the length of windows, its gradients, and that depth 1 is the equation itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nde
from nde.controls import LinearPath, LogSignaturePath
from tests.problems import each_adjoint, slope


class Field(nn.Module):
    """Matrices that do not commute, of a state and of a time that is a channel of the data."""

    def __init__(self, hidden: int = 3, channels: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.shape = (hidden, channels)
        weight = 0.7 * torch.randn(hidden * channels, hidden, generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(weight)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.sin(z @ self.weight.T + 0.3).unflatten(-1, self.shape)


class ByProducts:
    """The same field, known by its products alone."""

    def __init__(self, field: Field) -> None:
        self.field = field

    def product(self, t: Tensor, z: Tensor, slope: Tensor) -> Tensor:
        return (self.field(t, z) @ slope.unsqueeze(-1)).squeeze(-1)


depths = pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.slow)])

START = torch.tensor([[0.2, -0.5, 0.9], [1.0, 0.3, -0.4]], dtype=torch.float64)


def smooth(count: int) -> tuple[Tensor, Tensor]:
    times = torch.linspace(0, 2, count + 1, dtype=torch.float64)
    one = torch.stack([times, torch.sin(3 * times), torch.cos(2 * times) + times.square()], -1)
    other = torch.stack([times, torch.cos(2 * times), torch.sin(times)], -1)
    return torch.stack([one, other]), times


def followed(field: Field, x: Tensor, z: Tensor) -> Tensor:
    """Return the end state of the equation driven by straight lines, by Runge's method on each of them."""
    time = torch.zeros((), dtype=torch.float64)
    for increment in x.diff(dim=-2).unbind(-2):

        def slope_of(z: Tensor, increment: Tensor = increment) -> Tensor:
            return (field(time, z) @ increment.unsqueeze(-1)).squeeze(-1)

        k1 = slope_of(z)
        k2 = slope_of(z + k1 / 2)
        k3 = slope_of(z + k2 / 2)
        z = z + (k1 + 2 * k2 + 2 * k3 + slope_of(z + k3)) / 6
    return z


@pytest.mark.parametrize(
    ("depth", "order"), [(1, 2), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((2, 4), (3, 4), (4, 6)))]
)
@torch.no_grad()
def test_order_in_the_length_of_windows_on_smooth_data(depth: int, order: int) -> None:
    # Reversing a path changes the sign of its logarithm, which therefore has odd powers of the length alone: level 2
    # begins with h^3, levels 3 and 4 with h^5, levels 5 and 6 with h^7. What is left out decides.
    field = Field()
    x, times = smooth(1024)
    exact = followed(field, x, START)
    lengths = [64, 32] if depth == 4 else [64, 32, 16]
    errors = []
    for pieces in lengths:
        path = LogSignaturePath(x, times, depth=depth, windows=pieces)
        # the method's own error is of order 8
        steps = nde.FixedStep(pieces / 1024)
        found = nde.solve_cde(field, path, START, method="dopri8", controller=steps).y1
        errors.append(float((found - exact).norm()))
    assert abs(slope(lengths, errors) - order) < 0.15


@pytest.mark.slow
@torch.no_grad()
def test_deeper_is_nearer_with_windows_of_one_length() -> None:
    field = Field()
    x, times = smooth(1024)
    exact = followed(field, x, START)
    errors = []
    for depth in (1, 2, 3, 4):
        path = LogSignaturePath(x, times, depth=depth, windows=128)
        errors.append(float((nde.solve_cde(field, path, START, method="dopri8", rtol=1e-8).y1 - exact).norm()))
    assert all(later < 0.5 * earlier for earlier, later in itertools.pairwise(errors))


@pytest.mark.slow
@torch.no_grad()
def test_on_rough_data_depth_decides_what_windows_may_be() -> None:
    """A Brownian path, on which windows of straight lines lose the areas."""
    generator = torch.Generator().manual_seed(1)
    field, times = Field(), torch.linspace(0, 1, 1025, dtype=torch.float64)
    steps = torch.randn(64, 1024, 2, generator=generator, dtype=torch.float64) / 32
    clock = torch.full_like(steps[..., :1], 1 / 1024)
    x = torch.cat([clock, steps], -1).cumsum(-2)
    x = torch.cat([torch.zeros_like(x[:, :1]), x], -2)
    start = START[:1].expand(64, 3)
    exact = followed(field, x, start)
    lengths = [64, 32, 16, 8]
    # strong orders 1/2, 1 and 3/2, within what 64 paths can tell
    for depth, order in ((1, 0.5), (2, 1.0), (3, 1.5)):
        errors = []
        for pieces in lengths:
            path = LogSignaturePath(x, times, depth=depth, windows=pieces)
            found = nde.solve_cde(field, path, start, controller=nde.StepTo()).y1
            errors.append(float((found - exact).norm(dim=-1).square().mean().sqrt()))
        assert abs(slope(lengths, errors) - order) < 0.25, (depth, errors)


def test_depth_one_is_the_equation_driven_by_straight_lines() -> None:
    x, times = smooth(8)
    field = Field()
    found, expected = (
        nde.solve_cde(field, path, START, rtol=1e-9, atol=1e-9).y1
        for path in (LogSignaturePath(x, times, depth=1), LinearPath(x, times))
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_on_one_piece_all_depths_are_the_same() -> None:
    x, times = smooth(4)
    field = Field()
    ends = [
        nde.solve_cde(field, LogSignaturePath(x, times, depth=depth), START, controller=nde.FixedStep(0.25)).y1
        for depth in (1, 2, 3)
    ]
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("per_sample", [False, True])
@depths
def test_products_serve_in_place_of_the_matrix(depth: int, per_sample: bool) -> None:
    field = Field()
    path = LogSignaturePath(*smooth(16), depth=depth, windows=4)
    found, expected = (
        nde.solve_cde(kind, path, START, per_sample=per_sample).y1 for kind in (ByProducts(field), field)
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@depths
def test_rows_have_steps_of_their_own(depth: int) -> None:
    field = Field()
    path = LogSignaturePath(*smooth(16), depth=depth, windows=4)
    together, alone = (
        nde.solve_cde(field, path, START, rtol=1e-6, atol=1e-6, per_sample=rows).y1 for rows in (True, False)
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_path_without_a_batch_drives_all_rows() -> None:
    field, (x, times) = Field(), smooth(16)
    one, all_of_them = (LogSignaturePath(data, times, depth=3, windows=4) for data in (x[0], x[:1].expand(2, -1, -1)))
    torch.testing.assert_close(*(nde.solve_cde(field, path, START).y1 for path in (one, all_of_them)))


def gradients(adjoint: Any, depth: int, per_sample: bool = False) -> list[Tensor]:
    field, (x, times) = Field(), smooth(6)
    x, start = x.clone().requires_grad_(), START.clone().requires_grad_()
    path = LogSignaturePath(x, times, depth=depth, windows=3)
    end = nde.solve_cde(field, path, start, adjoint=adjoint, per_sample=per_sample, controller=nde.FixedStep(1 / 16)).y1
    return list(torch.autograd.grad(end.square().sum(), [start, x, field.weight]))


@depths
@each_adjoint
def test_gradients_reach_state_data_and_field_with_every_adjoint(adjoint: Any, depth: int) -> None:
    for found, expected in zip(gradients(adjoint, depth), gradients("direct", depth), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_continuous_adjoint_has_them_to_the_error_of_the_steps(per_sample: bool) -> None:
    for found, expected in zip(gradients("backsolve", 2, per_sample), gradients("direct", 2), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@depths
def test_gradients_are_those_of_finite_differences(depth: int) -> None:
    x, times = smooth(4)
    field = Field()

    def end(x: Tensor, start: Tensor, weight: Tensor) -> Tensor:
        path = LogSignaturePath(x, times, depth=depth, windows=2)
        by_weight = lambda t, z: torch.sin(z @ weight.T + 0.3).unflatten(-1, field.shape)
        return nde.solve_cde(by_weight, path, start, controller=nde.FixedStep(0.5)).y1

    inputs = (x[:1].clone(), START[:1].clone(), field.weight.detach().clone())
    assert torch.autograd.gradcheck(end, [tensor.requires_grad_() for tensor in inputs], fast_mode=True)


@pytest.mark.parametrize("per_sample", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_layer_takes_such_paths_with_penalties_of_every_kind(per_sample: bool) -> None:
    x, times = smooth(16)
    for penalty in (
        nde.regularize.GlobalError(),
        nde.regularize.LocalError(grad="full"),
        nde.regularize.Kinetic(),
        nde.regularize.Kinetic(form="local"),
        nde.regularize.JacobianFrobenius(form="local"),
    ):
        field = Field()
        layer = nde.NeuralCDE(field, nn.Linear(3, 3).double(), regularizer=penalty, per_sample=per_sample)
        output = layer(LogSignaturePath(x, times, depth=2, windows=4))
        (gradient,) = torch.autograd.grad(output.penalty, field.weight)
        assert float(output.penalty.detach()) > 0 and bool(gradient.isfinite().all()) and bool(gradient.any())


def test_single_precision_keeps_the_increments_of_the_path() -> None:
    x, times = smooth(256)
    field = Field()
    path = LogSignaturePath(x, times, depth=2, windows=4)
    single = LogSignaturePath(x.float(), times.float(), depth=2, windows=4)
    expected = nde.solve_cde(field, path, START, rtol=1e-8, atol=1e-8).y1
    found = nde.solve_cde(field.float(), single, START.float(), rtol=1e-5, atol=1e-5).y1
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
