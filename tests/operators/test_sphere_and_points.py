"""Scattered points and the sphere: weights, images, rotations."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from nde.operators import (
    HatBasis,
    LocalIntegral,
    LocalNO,
    PointCloud,
    RegularizedDifferential,
    SphereGrid,
    SpherePoints,
    ZernikeBasis,
)
from tests.operators.fields import order, relative, waves


def smooth(positions):
    """A field on the sphere of degree 3 and below, with no symmetry."""
    x, y, z = positions
    return (x + 2 * x * y - z**3 + 0.5 * y * z + 0.3 * x**2 * z)[None, None]


def isotropic():
    return LocalIntegral(1, 1, radius=0.5, basis=HatBasis(rings=3, angles=1)).double()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("periodic", [True, False, "mixed"])
def test_voronoi_weights_fill_the_box_and_integrate_better_than_uniform_ones(dims, periodic):
    wraps = (True, False, True)[:dims] if periodic == "mixed" else periodic
    lengths = (1.0, 0.5, 2.0)[:dims]
    unit = torch.rand(600, dims, dtype=torch.float64) ** 2  # crowded in one corner
    points = PointCloud(unit * torch.tensor(lengths).double(), lengths=lengths, periodic=wraps)
    assert float(points.weights.sum()) == pytest.approx(math.prod(lengths), rel=1e-9)
    assert bool((points.weights > 0).all())
    values = unit.sum(1)  # its mean is dims / 2
    weighed = float((values * points.weights).sum() / math.prod(lengths))
    assert abs(weighed - dims / 2) < 0.2 * abs(float(values.mean()) - dims / 2)


def test_points_on_walls_have_the_halved_cells_of_the_trapezoidal_rule():
    axis = torch.linspace(0, 1, 9, dtype=torch.float64)
    points = PointCloud(torch.cartesian_prod(axis, axis))
    ends = torch.ones(9, dtype=torch.float64)
    ends[0] = ends[-1] = 0.5
    torch.testing.assert_close(points.weights.view(9, 9), ends[:, None] * ends / 64, rtol=1e-5, atol=1e-8)


def test_periodic_points_do_not_know_where_the_box_begins():
    positions = torch.rand(700, 2, dtype=torch.float64)
    moved = (positions + torch.tensor([0.37, 0.81])) % 1
    field = waves(positions.t())
    layer = LocalIntegral(2, 3, radius=0.15).double()
    there, here = layer(field, PointCloud(moved, periodic=True)), layer(field, PointCloud(positions, periodic=True))
    assert relative(there, here) < 1e-6  # positions near 1 lose digits when they are moved


def test_the_order_of_points_does_not_matter():
    positions, shuffle = torch.rand(300, 2, dtype=torch.float64), torch.randperm(300)
    model = LocalNO(2, 1, width=4, depth=2, modes=3, radii=(0.2,), regularized=(0.2,)).double()
    field = waves(positions.t())
    shuffled = model(field[..., shuffle], grid=PointCloud(positions[shuffle]))
    torch.testing.assert_close(shuffled, model(field, grid=PointCloud(positions))[..., shuffle])


@pytest.mark.parametrize("latitudes", ["cells", "gauss"])
def test_isotropic_kernels_have_spherical_harmonics_as_eigenfunctions(latitudes):
    # Funk and Hecke; without the cells' areas as weights the deviation does not converge
    layer, grid = isotropic(), SphereGrid(latitudes)
    deviations = []
    for count in (16, 32, 64):
        shape = (count, 2 * count)
        z = grid.positions(shape)[2]
        harmonic, weights = (z * (5 * z**2 - 3))[None, None], grid.weights(shape)
        out = layer(harmonic, grid).detach()
        value = (out * harmonic * weights).sum() / (harmonic**2 * weights).sum()
        rest = out - value * harmonic
        deviations.append(float(((rest**2 * weights).sum() / ((value * harmonic) ** 2 * weights).sum()).sqrt()))
    assert deviations[2] < 0.01
    assert order(deviations[0], deviations[2]) / 2 > 1.5


def test_rotations_of_the_sphere_commute_with_isotropic_kernels_up_to_quadrature_errors():
    layer, grid = isotropic(), SphereGrid()
    turn = torch.from_numpy(Rotation.from_euler("zyz", [0.7, 1.1, -0.4]).as_matrix())
    errors = []
    for count in (32, 64, 128):
        shape = (count, 2 * count)
        positions = grid.positions(shape)
        turned = torch.einsum("ij,jab->iab", turn, positions)
        # the rotated field's integral, against the integral at the rotated points by its own quadrature there
        points = SpherePoints(turned.flatten(1).t(), grid.weights(shape).flatten())
        there = layer(smooth(turned).flatten(2), points)
        here = layer(smooth(turned), grid).flatten(2)
        assert relative(there, here) < 1e-11  # the same distances: rounding alone
        exact = layer(smooth(positions), grid).flatten(2)
        near = torch.cdist(points.points, positions.flatten(1).t()).argmin(1) if count == 32 else None
        if near is not None:
            apart = float((there[0, 0] - exact[0, 0, near]).abs().max().detach())
            assert apart < 0.3 * float(exact.abs().max().detach())  # a cell apart at the most
        harmonics = torch.einsum("k,kab->ab", torch.tensor([1.0, 2.0, 0.5]).double(), turned)
        out = layer(harmonics[None, None], grid).detach()[0, 0]
        value = (out * harmonics * grid.weights(shape)).sum() / (harmonics**2 * grid.weights(shape)).sum()
        errors.append(relative(out, value * harmonics))
    assert order(errors[0], errors[2]) / 2 > 1.7
    assert errors[2] < 2e-3


def test_shifts_in_longitude_commute_with_every_kernel_to_rounding():
    model = LocalNO(
        1, 1, width=4, depth=2, modes=None, radii=(0.4,), regularized=(0.5,), basis=ZernikeBasis(3), coordinates=0
    ).double()
    x = torch.randn(2, 1, 24, 48, dtype=torch.float64)
    assert relative(model(x.roll(7, 3), grid=SphereGrid()), model(x, grid=SphereGrid()).roll(7, 3)) < 1e-12


@pytest.mark.parametrize("kind", [LocalIntegral, RegularizedDifferential])
def test_the_grid_of_the_sphere_and_its_points_agree_to_rounding(kind):
    layer, grid, shape = kind(1, 2, radius=0.4, basis=ZernikeBasis(4)).double(), SphereGrid(), (24, 48)
    positions = grid.positions(shape)
    points = SpherePoints(positions.flatten(1).t(), grid.weights(shape).flatten())
    field = smooth(positions)
    torch.testing.assert_close(layer(field, grid).flatten(2), layer(field.flatten(2), points), rtol=0, atol=1e-12)


def test_a_small_piece_of_the_sphere_is_a_plane():
    # the same weights on a small cap and on the plane: axes to the south and to the east
    layer = LocalIntegral(1, 1, radius=0.05, basis=ZernikeBasis(4)).double()
    side = (torch.rand(6000, 2, dtype=torch.float64) - 0.5) * 0.2
    flat = PointCloud(side, lengths=0.2, origin=-0.1)
    cap = torch.stack((side[:, 1].new_ones(6000), side[:, 1], -side[:, 0]), 1)
    sphere = SpherePoints(torch.nn.functional.normalize(cap, dim=1), flat.weights)
    field = (20 * side[:, 0] + 0.3).sin() * (15 * side[:, 1]).cos()
    assert relative(layer(field[None, None], sphere), layer(field[None, None], flat)) < 0.02


def test_spherical_voronoi_weights_fill_the_sphere():
    positions = torch.nn.functional.normalize(torch.randn(500, 3, dtype=torch.float64), dim=1)
    assert float(SpherePoints(positions).weights.sum()) == pytest.approx(4 * math.pi, rel=1e-9)
    for latitudes in ("cells", "gauss"):
        assert float(SphereGrid(latitudes).weights((16, 32)).sum()) == pytest.approx(4 * math.pi, rel=1e-12)
