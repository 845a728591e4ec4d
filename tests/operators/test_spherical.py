"""Spherical harmonics: transforms exact to rounding, Parseval's sum, rotations, and the convolution on every grid."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from scipy.spatial.transform import Rotation

from nde.legendre import fejer_weights, legendre_functions, legendre_slopes
from nde.operators import SFNO, LocalNO, SphereGrid, SpherePoints, SphericalConvolution
from nde.operators.harmonics import angular_harmonics
from nde.operators.spherical import analysis_table
from tests.operators.fields import relative

DEGREE = 7
GRIDS = [(SphereGrid("gauss"), (DEGREE + 1, 2 * DEGREE + 1)), (SphereGrid("cells"), (2 * DEGREE + 1, 2 * DEGREE + 3))]


def parts(positions, degree=DEGREE):
    """Return a field without harmonics above a degree, by degrees: shape ``(degree + 1, *shape)``."""
    generator = torch.Generator().manual_seed(0)
    z = positions.movedim(0, -1)
    made = []
    for n in range(degree + 1):
        harmonics = torch.stack(angular_harmonics(n, z))
        scales = harmonics.new_tensor([1 / math.prod(range(1, 2 * n, 2))])  # of the size of the polynomials
        made.append(scales * torch.tensordot(torch.randn(len(harmonics), generator=generator).double(), harmonics, 1))
    return torch.stack(made)


def test_legendre_functions_are_those_of_scipy_and_orthonormal_to_high_degrees():
    x = np.linspace(-1, 1, 41)
    functions = legendre_functions(6, x)
    for m in range(7):
        for n in range(m, 7):
            norm = math.sqrt((2 * n + 1) / (4 * math.pi) * math.factorial(n - m) / math.factorial(n + m))
            expected = (-1) ** m * norm * special.lpmv(m, n, x)
            np.testing.assert_allclose(functions[m, n], expected, atol=1e-13)
    nodes, weights = np.polynomial.legendre.leggauss(201)
    high = legendre_functions(200, nodes)
    for m in (0, 1, 77, 200):
        products = 2 * math.pi * (high[m] * weights) @ high[m].T
        expected = np.diag((np.arange(201) >= m).astype(float))
        np.testing.assert_allclose(products, expected, atol=1e-12)


def test_slopes_of_legendre_functions_are_their_derivatives():
    angle, step = np.linspace(0.1, 3.0, 30), 1e-6
    ahead, behind = (legendre_functions(5, np.cos(angle + shift)) for shift in (step, -step))
    expected = np.sin(angle) * (ahead - behind) / (2 * step)
    found = legendre_slopes(legendre_functions(5, np.cos(angle)), np.cos(angle))
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_fejer_weights_are_exact_for_polynomials_below_their_number(count):
    x = np.cos((np.arange(count) + 0.5) * np.pi / count)
    for power in range(count):
        exact = 2 / (power + 1) if power % 2 == 0 else 0.0
        assert fejer_weights(count) @ x**power == pytest.approx(exact, abs=1e-14)


@pytest.mark.parametrize(("grid", "shape"), GRIDS, ids=["gauss", "cells"])
def test_transforms_there_and_back_are_exact_to_rounding_on_the_smallest_grids(grid, shape):
    layer = SphericalConvolution(1, 1, degree=DEGREE).double()
    torch.nn.init.ones_(layer.weight)
    field = parts(grid.positions(shape)).sum(0)[None, None]
    torch.testing.assert_close(layer(field, grid), field, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("grid", "shape"), GRIDS, ids=["gauss", "cells"])
def test_squares_of_coefficients_sum_to_the_integral_of_the_square(grid, shape):
    field = parts(grid.positions(shape)).sum(0)
    waves = torch.fft.rfft(field, dim=-1, norm="forward")[:, : DEGREE + 1].t().unsqueeze(-1)
    coefficients = (analysis_table(DEGREE, shape[0], grid.latitudes).to(waves.dtype) @ waves)[..., 0]
    twice = torch.full((DEGREE + 1, 1), 2.0).double()
    twice[0] = 1
    fine = SphereGrid("gauss")
    integral = (parts(fine.positions((30, 60))).sum(0).square() * fine.weights((30, 60))).sum()
    torch.testing.assert_close((twice * coefficients.abs().square()).sum(), integral, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("grid", "shape"), GRIDS, ids=["gauss", "cells"])
def test_rotations_about_every_axis_commute_with_the_convolution_to_rounding(grid, shape):
    layer = SphericalConvolution(1, 1, degree=DEGREE).double()
    turn = torch.from_numpy(Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix())
    positions = torch.tensordot(turn, grid.positions(shape), 1)
    turned = parts(positions)
    expected = (layer.weight.view(-1, 1, 1) * turned).sum(0)  # of the function itself, at turned points
    assert relative(layer(turned.sum(0)[None, None], grid)[0, 0], expected) < 1e-12


def test_harmonics_above_the_degree_are_removed_and_the_resolution_does_not_matter():
    layer = SphericalConvolution(2, 3, degree=4).double()
    for latitudes in ("gauss", "cells"):
        grid, outs = SphereGrid(latitudes), []
        for rows in (24, 48):
            by_degrees = parts(grid.positions((rows, 2 * rows)))
            low, all_of_it = by_degrees[:5].sum(0), by_degrees.sum(0)
            torch.testing.assert_close(
                layer(torch.stack((low, low))[None], grid), layer(torch.stack((all_of_it, all_of_it))[None], grid)
            )
            outs.append(layer(torch.stack((low, all_of_it))[None], grid).mean((2, 3)))
    # shifts in longitude by whole points
    x = torch.randn(1, 2, 24, 48, dtype=torch.float64)
    torch.testing.assert_close(layer(x.roll(5, 3), grid), layer(x, grid).roll(5, 3))


def test_the_points_of_a_grid_give_what_the_grid_gives_and_random_points_come_near():
    layer = SphericalConvolution(1, 2, degree=DEGREE).double()
    grid, shape = SphereGrid("gauss"), (16, 32)
    positions = grid.positions(shape)
    field = parts(positions).sum(0)[None, None]
    points = SpherePoints(positions.flatten(1).t(), grid.weights(shape).flatten())
    torch.testing.assert_close(layer(field.flatten(2), points), layer(field, grid).flatten(2), rtol=0, atol=1e-12)
    scattered = torch.nn.functional.normalize(torch.randn(4000, 3, dtype=torch.float64), dim=1)
    by_degrees = parts(scattered.t())
    expected = torch.einsum("lo,lp->op", layer.weight[:, 0], by_degrees)
    # Voronoi weights: of second order in the distance of the points
    assert relative(layer(by_degrees.sum(0)[None, None], SpherePoints(scattered))[0], expected) < 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda: SFNO(1, 1, width=4, depth=2, degree=4),
        lambda: LocalNO(1, 1, width=4, depth=2, modes=None, degree=4, radii=(0.6,), coordinates=3),
    ],
)
def test_models_on_the_sphere_have_live_parameters_derivatives_and_one_graph(make):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, grid = make().double(), SphereGrid("gauss")
    x = torch.randn(2, 1, 10, 16, dtype=torch.float64, requires_grad=True)
    out = model(x, grid=grid)
    grads = torch.autograd.grad(out.square().sum(), list(model.parameters()))
    assert all(bool((grad != 0).all()) for grad in grads)
    assert torch.autograd.gradcheck(lambda v: model(v, grid=grid), x, check_forward_ad=True, fast_mode=True)
    torch.testing.assert_close(torch.vmap(lambda v: model(v, grid=grid))(x), out)
    x = x.detach()
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x, grid=grid), out)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        short = model.float()(x.float(), grid=grid)
    assert relative(short.double(), out) < 0.05


def test_an_operator_on_the_sphere_keeps_what_it_is_at_other_resolutions():
    torch.manual_seed(0)
    model, grid = SFNO(1, 1, width=8, degree=5, coordinates=0).double(), SphereGrid("gauss")
    outs = []
    for rows in (15, 45):  # of which every third row of nodes is none of the coarser: compared by harmonics
        field = parts(grid.positions((rows, 2 * rows)), 3).sum(0)[None, None]
        out = model(field, grid=grid)
        waves = torch.fft.rfft(out[0, 0], dim=-1, norm="forward")[:, :6].t().unsqueeze(-1)
        outs.append((analysis_table(5, rows, "gauss").to(waves.dtype) @ waves)[..., 0])
    # what activations make above the degree folds back on the coarse grid
    assert float((outs[0] - outs[1]).detach().abs().max() / outs[1].detach().abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SphericalConvolution(1, 1, degree=0), "degree must be at least 1"),
        (
            lambda: SphericalConvolution(1, 1, degree=8)(torch.zeros(1, 1, 16, 16), SphereGrid("gauss")),
            "needs 9 latitudes and 17 longitudes or more .* at most degree=7",
        ),
        (
            lambda: SphericalConvolution(1, 1, degree=8)(torch.zeros(1, 1, 16, 32), SphereGrid("cells")),
            "needs 17 latitudes and 17 longitudes or more .* at most degree=7",
        ),
        (lambda: SphericalConvolution(1, 1, degree=2)(torch.zeros(1, 1, 8, 8)), "SpectralConvolution"),
        (
            lambda: SphericalConvolution(1, 1, degree=5)(
                torch.zeros(1, 1, 20), SpherePoints(torch.nn.functional.normalize(torch.randn(20, 3), dim=1).double())
            ),
            "36 harmonics, which 20 points",
        ),
        (lambda: SFNO(1, 1, degree=3)(torch.zeros(1, 2, 8, 16)), "x must have shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
