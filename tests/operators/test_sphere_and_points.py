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
    """A field on the sphere with no symmetry."""
    x, y, z = positions
    return (x + 2 * x * y - z**3 + 0.5 * y * z + 0.3 * x**2 * z)[None, None]


def isotropic():
    layer = LocalIntegral(1, 1, radius=0.5, basis=HatBasis(rings=3, angles=1)).double()
    with torch.no_grad():  # no zero among the eigenvalues, to which errors are compared
        layer.weight.copy_(torch.tensor([0.3, 0.5, 0.7]))
    return layer


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("periodic", [True, False, "mixed"])
def test_voronoi_weights_fill_the_box_and_integrate_better_than_uniform_ones(dims, periodic):
    wraps = (True, False, True)[:dims] if periodic == "mixed" else periodic
    lengths = (1.0, 0.5, 2.0)[:dims]
    unit = torch.rand(600, dims, dtype=torch.float64) ** 2  # crowded in one corner
    points = PointCloud(unit * torch.tensor(lengths).double(), lengths=lengths, periodic=wraps)
    assert float(points.weights.sum()) == pytest.approx(math.prod(lengths), rel=1e-9)
    assert bool((points.weights > 0).all())
    values = (math.pi * unit).sin().square().sum(1)  # its mean is dims / 2, and it knows no walls
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
    layer = isotropic()
    harmonics = [
        lambda x, y, z: x + 0.3 * z,
        lambda x, y, z: x * y - 0.4 * y * z,
        lambda x, y, z: z * (2 * z**2 - 3 * x**2 - 3 * y**2) + x * y * z,
    ]
    # what the operator does to each degree, without a rotation on a fine grid
    fine = SphereGrid("gauss")
    positions, weights = fine.positions((96, 192)), fine.weights((96, 192))
    factors = []
    for harmonic in harmonics:
        value = harmonic(*positions)
        out = layer(value[None, None], fine).detach()[0, 0]
        factors.append((out * value * weights).sum() / (value**2 * weights).sum())
    turn = torch.from_numpy(Rotation.from_euler("zyz", [0.7, 1.1, -0.4]).as_matrix())
    errors = []
    for count in (16, 32, 64):
        turned = torch.einsum("ij,jab->iab", turn, SphereGrid().positions((count, 2 * count)))
        parts = [harmonic(*turned) for harmonic in harmonics]
        out = layer(sum(parts)[None, None], SphereGrid())[0, 0]
        errors.append(relative(out, sum(factor * part for factor, part in zip(factors, parts, strict=True))))
    assert order(errors[0], errors[2]) / 2 > 1.7
    assert errors[2] < 5e-3


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
    layer = LocalIntegral(1, 1, radius=0.03, basis=ZernikeBasis(3)).double()
    side = (torch.rand(2000, 2, dtype=torch.float64) - 0.5) * 0.2
    flat = PointCloud(side, lengths=0.2, origin=-0.1)
    cap = torch.stack((side[:, 1].new_ones(2000), side[:, 1], -side[:, 0]), 1)
    sphere = SpherePoints(torch.nn.functional.normalize(cap, dim=1), flat.weights)
    field = (20 * side[:, 0] + 0.3).sin() * (15 * side[:, 1]).cos()
    assert relative(layer(field[None, None], sphere), layer(field[None, None], flat)) < 0.02


def test_spherical_voronoi_weights_fill_the_sphere():
    positions = torch.nn.functional.normalize(torch.randn(500, 3, dtype=torch.float64), dim=1)
    assert float(SpherePoints(positions).weights.sum()) == pytest.approx(4 * math.pi, rel=1e-9)
    for latitudes in ("cells", "gauss"):
        assert float(SphereGrid(latitudes).weights((16, 32)).sum()) == pytest.approx(4 * math.pi, rel=1e-12)
