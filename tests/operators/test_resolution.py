"""One set of weights is one operator: at every resolution, on stretched grids, on scattered points."""

import math

import pytest
import torch

from nde.operators import (
    HarmonicBasis,
    HatBasis,
    LocalIntegral,
    LocalNO,
    PointCloud,
    RegularizedDifferential,
    SpectralConvolution,
    UniformGrid,
    ZernikeBasis,
    resolution_changes,
)
from nde.operators.local_integral import check_basis
from tests.operators.fields import order, relative, slopes, waves

BASES = [HatBasis(2, 4), HatBasis(3, 6), ZernikeBasis(4), HarmonicBasis(1)]
KINDS = [("cells", True), ("vertices", True), ("cells", False), ("vertices", False)]


def quadratic_reference(layer, grid, sizes, field):
    """Changes against a resolution 4 times finer than the last size: their order is hardly flattered by it."""
    return resolution_changes(layer, field, (*sizes, 4 * sizes[-1]), grid)


@pytest.mark.parametrize("basis", BASES, ids=str)
@pytest.mark.parametrize(("centering", "periodic"), KINDS)
@pytest.mark.parametrize("boundary", ["zero", "reflect"])
def test_local_integrals_of_one_radius_converge_at_second_order(basis, centering, periodic, boundary):
    layer = LocalIntegral(2, 3, radius=0.15, basis=basis, boundary=boundary).double()
    grid = UniformGrid(periodic=periodic, centering=centering)
    coarse, _, fine = quadratic_reference(layer, grid, (16, 32, 64), waves if periodic else slopes)
    # from 16 to 64 on average: the ratio of radius and spacing makes single steps uneven
    assert order(coarse, fine) / 2 > 1.7
    assert fine < 1e-2


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("layer", [LocalIntegral, RegularizedDifferential])
def test_local_layers_converge_at_second_order_in_one_and_three_dimensions(dims, layer):
    sizes = (32, 64, 128) if dims == 1 else (8, 16)
    made = layer(2, 2, dims, radius=0.2).double()
    coarse, *_, fine = quadratic_reference(made, UniformGrid(periodic=True), sizes, waves)
    assert order(coarse, fine) / (len(sizes) - 1) > 1.7


@pytest.mark.parametrize(("centering", "periodic"), KINDS)
def test_regularised_differentials_converge_at_second_order(centering, periodic):
    layer = RegularizedDifferential(2, 3, radius=0.15).double()
    grid = UniformGrid(periodic=periodic, centering=centering)
    coarse, _, fine = quadratic_reference(layer, grid, (16, 32, 64), waves if periodic else slopes)
    assert order(coarse, fine) / 2 > 1.7


@pytest.mark.parametrize("padding", [0.0, 0.25])
@pytest.mark.parametrize(("centering", "periodic"), KINDS)
def test_spectral_convolutions_are_exact_for_waves_and_of_second_order_for_what_does_not_wrap(
    centering, periodic, padding
):
    layer = SpectralConvolution(2, 3, modes=5, padding=padding).double()
    grid = UniformGrid(periodic=periodic, centering=centering)
    if periodic and centering == "vertices":
        assert max(resolution_changes(layer, waves, (16, 32, 64), grid)) < 1e-14
        return
    coarse, _, fine = quadratic_reference(layer, grid, (16, 32, 64), waves if periodic else slopes)
    assert 1.7 < order(coarse, fine) / 2 < 2.3  # means of cells differ from values by second order


def channel(positions):
    """Two channels, periodic along the first axis alone."""
    x, y = positions
    phase = 2 * math.pi * x
    return torch.stack((phase.sin() * torch.exp(0.5 * y), (phase + 1).cos() * (1 + y * y))).unsqueeze(0)


@pytest.mark.parametrize(
    ("grid", "field", "options"),
    [
        (UniformGrid(periodic=True), waves, {}),
        (UniformGrid(), slopes, {"padding": 0.25, "coordinates": None}),
        (UniformGrid(centering="vertices"), slopes, {"padding": 0.25, "boundary": "reflect", "basis": ZernikeBasis(4)}),
        (UniformGrid(lengths=(1.0, 1.5), periodic=(True, False)), channel, {}),
    ],
    ids=["torus", "cells", "vertices", "channel"],
)
def test_a_whole_model_at_2_4_and_8_times_its_resolution_converges_at_second_order(grid, field, options):
    torch.manual_seed(0)
    settings = {"width": 4, "depth": 2, "modes": 5, "radii": (0.1, 0.07), "regularized": (0.08,), "coordinates": 0}
    model = LocalNO(2, 1, **{**settings, **options}).double()
    changes = resolution_changes(model, field, (32, 64, 128, 256), grid)
    # against the finest: a factor (1 - 1/64) / (1/16 - 1/64) = 21 for second order, or better
    assert order(changes[0], changes[2]) > math.log2(21) - 0.3
    assert changes[0] < 0.02


def test_the_kernel_is_the_integral_that_it_says():
    # a basis function integrated against a plane wave, by a fine sum that shares no code with the layer
    layer = LocalIntegral(1, 1, radius=0.2, basis=ZernikeBasis(2)).double()
    grid = UniformGrid(periodic=True, centering="vertices")
    x = grid.positions((64, 64))
    field = torch.cos(2 * math.pi * (x[0] + 2 * x[1]))
    got = layer(field[None, None], grid)[0, 0]
    axis = (torch.arange(600, dtype=torch.float64) + 0.5) / 300 - 1
    z = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    kernel = (layer.weight[0, 0, :, None, None] * layer.basis(z)).sum(0) / 300**2
    phase = 2 * math.pi * 0.2 * (z[..., 0] + 2 * z[..., 1])
    angle = 2 * math.pi * (x[0] + 2 * x[1])
    expected = (kernel * phase.cos()).sum() * angle.cos() - (kernel * phase.sin()).sum() * angle.sin()
    assert relative(got, expected) < 3e-3


@pytest.mark.parametrize("periodic", [True, False])
def test_stretched_and_square_grids_agree(periodic):
    layer = LocalIntegral(2, 3, radius=0.15).double()
    grid = UniformGrid(periodic=periodic)
    field = waves if periodic else slopes
    finest = layer(field(grid.positions((256, 256))), grid)
    errors = []
    for factor in (1, 2, 4):
        rows, columns = 32 * factor, 16 * factor
        stretched = layer(field(grid.positions((rows, columns))), grid)
        square = finest.unflatten(3, (columns, -1)).mean(4).unflatten(2, (rows, -1)).mean(3)
        errors.append(relative(stretched, square))
    assert order(errors[0], errors[2]) / 2 > 1.6
    assert errors[2] < 4e-3


def test_lengths_are_physical_a_larger_box_of_the_same_spacing_has_the_same_kernel():
    layer = LocalIntegral(1, 1, radius=0.15).double()
    small, large = UniformGrid(), UniformGrid(lengths=(2.0, 1.0))
    x = torch.zeros(1, 1, 64, 32, dtype=torch.float64)
    x[:, :, 8:24, 8:24] = torch.randn(16, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x, large)[:, :, :28], layer(x[:, :, :32], small)[:, :, :28])


@pytest.mark.parametrize("basis", [None, ZernikeBasis(3), HarmonicBasis(1)], ids=str)
@pytest.mark.parametrize("boundary", ["zero", "reflect"])
@pytest.mark.parametrize("periodic", [True, False])
def test_the_points_of_a_grid_give_what_the_grid_gives(basis, boundary, periodic):
    basis = check_basis(basis)
    grid = UniformGrid(periodic=periodic)
    positions = grid.positions((40, 40))
    points = PointCloud(positions.flatten(1).t(), periodic=periodic)
    field = waves(positions)
    for layer in (
        LocalIntegral(2, 3, radius=0.15, basis=basis, boundary=boundary).double(),
        RegularizedDifferential(2, 3, radius=0.15, basis=basis, boundary=boundary).double(),
    ):
        # means over cells on the one hand, values at points on the other
        assert relative(layer(field.flatten(2), points), layer(field, grid).flatten(2)) < 0.015
    spectral = SpectralConvolution(2, 3, modes=6, padding=0.25).double()
    assert relative(spectral(field.flatten(2), points), spectral(field, grid).flatten(2)) < 1e-12


@pytest.mark.slow
def test_random_points_converge_to_the_grid_and_uniform_weights_do_not_do_as_well():
    layer = LocalIntegral(2, 1, radius=0.08).double()
    grid = UniformGrid()
    reference = layer(slopes(grid.positions((256, 256))), grid)
    errors, uniform = [], []
    for count in (500, 2000, 8000):
        positions = torch.rand(count, 2, dtype=torch.float64)
        near = (positions * 256).long().clamp(max=255)
        expected = reference[:, :, near[:, 0], near[:, 1]]
        field = slopes(positions.t())
        errors.append(relative(layer(field, PointCloud(positions)), expected))
        flat = PointCloud(positions, torch.full((count,), 1 / count, dtype=torch.float64))
        uniform.append(relative(layer(field, flat), expected))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.04
    assert uniform[2] > 2 * errors[2]


def test_a_model_trained_on_a_grid_can_be_asked_on_scattered_points():
    model = LocalNO(2, 1, width=8, modes=6, radii=(0.1,)).double()
    grid = UniformGrid()
    positions = torch.rand(3000, 2, dtype=torch.float64)
    reference = model(slopes(grid.positions((128, 128))), grid=grid)
    near = (positions * 128).long().clamp(max=127)
    got = model(slopes(positions.t()), grid=PointCloud(positions))
    assert relative(got, reference[:, :, near[:, 0], near[:, 1]]) < 0.05
