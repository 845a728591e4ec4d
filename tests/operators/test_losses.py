"""Losses against integrals in closed form."""

import math

import pytest
import torch

from nde.operators import PointCloud, SphereGrid, UniformGrid
from nde.operators.train import RelativeH1, RelativeL2


def wave(points: int, periods: int, centering: str = "vertices", length: float = 1.0) -> torch.Tensor:
    grid = UniformGrid(lengths=length, periodic=True, centering=centering)
    (x,) = grid.positions((points,))
    return torch.sin(2 * math.pi * periods * x / length)[None, None]


def test_the_relative_l2_error_is_a_ratio_of_norms_for_each_sample():
    target = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    prediction = target + torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64).view(3, 1, 1, 1) * target.flip(1)
    torch.testing.assert_close(RelativeL2()(prediction, target), torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64))


def test_weights_of_the_grid_make_sums_integrals():
    # f = x and f^2 = x^2 on vertices: the trapezoid rule converges to sqrt(1/3) at order two
    errors = []
    for points in (9, 17, 33):
        grid = UniformGrid(centering="vertices")
        (x,) = grid.positions((points,))
        loss = RelativeL2(grid)(2 * x[None, None], torch.ones_like(x)[None, None])
        exact = math.sqrt(1 / 3 * 4 - 2 + 1)
        errors.append(abs(float(loss) - exact))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.15)


def test_errors_on_the_sphere_and_at_points_are_ratios_of_integrals():
    # the mean square of z over the sphere is a third
    for grid, shape in ((SphereGrid("gauss"), (8, 16)), (SphereGrid(), (64, 128))):
        z = grid.positions(shape)[2][None, None]
        assert float(RelativeL2(grid)(1 + z, torch.ones_like(z))) == pytest.approx(math.sqrt(1 / 3), rel=1e-3)
    axis = torch.rand(3000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    points = PointCloud(axis)
    x = axis.t()[None]
    assert float(RelativeL2(points)(1 + x, torch.ones_like(x))) == pytest.approx(math.sqrt(1 / 3), rel=1e-3)
    with pytest.raises(ValueError, match="the grid has 3000 points, but the field has 8 values"):
        RelativeL2(points)(torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))


@pytest.mark.parametrize("points", [32, 33])
def test_the_relative_h1_error_of_waves_is_exact_on_a_circle(points):
    grid = UniformGrid(lengths=2.0, periodic=True, centering="vertices")
    target, error = wave(points, 1, length=2.0), 0.01 * wave(points, 5, length=2.0)
    exact = 0.01 * math.sqrt((1 + (5 * math.pi) ** 2) / (1 + math.pi**2))
    assert float(RelativeH1(grid)(target + error, target)) == pytest.approx(exact, rel=1e-12)
    scaled = 0.01 * math.sqrt((1 + 0.1 * (5 * math.pi) ** 2) / (1 + 0.1 * math.pi**2))
    assert float(RelativeH1(grid, scale=0.1)(target + error, target)) == pytest.approx(scaled, rel=1e-12)


def test_derivatives_between_walls_converge_at_order_two_along_each_axis():
    errors = []
    for points in (16, 32, 64):
        grid = UniformGrid(lengths=(1.0, 3.0))
        x, y = grid.positions((points, points))
        target, error = torch.ones_like(x), torch.exp(x) * torch.cos(y)
        found = float(RelativeH1(grid)((target + error)[None, None], target[None, None]))
        # means of exp(2 x) and of cos^2 and sin^2
        growth, cosine = (math.exp(2) - 1) / 2, 0.5 + math.sin(6) / 12
        exact = math.sqrt(growth * (2 * cosine + 1 - cosine))
        errors.append(abs(found - exact))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.15)


def test_losses_have_gradients():
    grid = UniformGrid(periodic=(True, False))
    target = torch.randn(2, 1, 4, 5, dtype=torch.float64)
    prediction = torch.randn_like(target).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: RelativeH1(grid)(p, target), prediction)
    assert torch.autograd.gradcheck(lambda p: RelativeL2(grid)(p, target), prediction)


def test_predictions_in_half_precision_are_compared_in_the_targets():
    target = torch.randn(2, 1, 8)
    loss = RelativeL2()(target.bfloat16(), target)
    assert loss.dtype == torch.float32 and 0 < float(loss.max()) < 4e-3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"prediction and target must have one shape .* \(2, 1, 8\) and \(2, 8\)"):
        RelativeL2()(torch.zeros(2, 1, 8), torch.zeros(2, 8))
    with pytest.raises(TypeError, match="grid must be a UniformGrid"):
        RelativeH1(None)
    with pytest.raises(TypeError, match="grid must be a UniformGrid, SphereGrid, PointCloud"):
        RelativeL2("cells")
    with pytest.raises(ValueError, match="scale must be positive"):
        RelativeH1(UniformGrid(), scale=0.0)
    with pytest.raises(ValueError, match="three points along each axis"):
        RelativeH1(UniformGrid())(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
