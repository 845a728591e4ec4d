"""Darcy flow against manufactured solutions, a problem with a jump that has a closed form, and its own balance."""

import itertools

import numpy as np
import pytest

from nde.data import Darcy, coarsen, draw_sample, generate, refine, solve_darcy
from tests.data.convergence import orders


def centres(points):
    x = (np.arange(points) + 0.5) / points
    return np.meshgrid(x, x, indexing="ij")


def test_smooth_coefficients_are_solved_at_order_two():
    errors = []
    for points in (16, 32, 64):
        x, y = centres(points)
        # u = sin(pi x) sin(2 pi y), a = exp(x) (2 + y)
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        u_x = np.pi * np.cos(np.pi * x) * np.sin(2 * np.pi * y)
        u_y = 2 * np.pi * np.sin(np.pi * x) * np.cos(2 * np.pi * y)
        a, a_y = np.exp(x) * (2 + y), np.exp(x)
        source = -(a * u_x + a_y * u_y - a * 5 * np.pi**2 * u)  # a_x = a
        errors.append(np.sqrt(np.mean((solve_darcy(a, source) - u) ** 2)))
    assert np.abs(orders(errors) - 2).max() < 0.15


def test_the_cells_of_a_rectangle_may_be_longer_than_wide():
    errors = []
    for points in (8, 16, 32):
        x = (np.arange(points) + 0.5)[:, None] / points
        y = (np.arange(3 * points) + 0.5)[None, :] / (3 * points)
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        errors.append(np.abs(solve_darcy(np.ones_like(u), 5 * np.pi**2 * u) - u).max())
    assert np.abs(orders(errors) - 2).max() < 0.15


def test_a_jump_of_the_coefficient_costs_no_order():
    # u = g(x) sin(pi y) with a = 1 left of the middle and 10 right of it; u and the flux a u_x are continuous
    errors = []
    for points in (16, 32, 64):
        x, y = centres(points)
        s, left = x - 0.5, x < 0.5
        a = np.where(left, 1.0, 10.0)
        g = np.where(left, 1 + 10 * s + 16 * s**2, 1 + s - 6 * s**2)
        source = -a * (np.where(left, 32.0, -12.0) - np.pi**2 * g) * np.sin(np.pi * y)
        errors.append(np.sqrt(np.mean((solve_darcy(a, source) - g * np.sin(np.pi * y)) ** 2)))
    assert np.abs(orders(errors) - 2).max() < 0.15


def test_both_axes_are_treated_alike():
    rng = np.random.default_rng(0)
    a, source = np.exp(rng.standard_normal((6, 9))), rng.standard_normal((6, 9))
    np.testing.assert_allclose(solve_darcy(a, source), solve_darcy(a.T, source.T).T, rtol=1e-12)


def test_the_centre_value_of_the_unit_source_is_the_series_value():
    # -Laplace u = 1 in the unit square: u = 0.0736713532814... at its centre (double sine series)
    odd = np.arange(1, 400, 2)
    m, n = np.meshgrid(odd, odd, indexing="ij")
    centre = np.sum(16 / np.pi**4 * (-1.0) ** ((m + n) // 2 - 1) / (m * n * (m**2 + n**2)))
    values = []
    for points in (32, 64, 128):
        u = solve_darcy(np.ones((points, points)), np.ones((points, points)))
        middle = slice(points // 2 - 1, points // 2 + 1)
        values.append(u[middle, middle].mean())
    # the mean of the four values beside the centre is off by h^2/8 times the Laplacian, -1
    values = np.array(values) + np.array([1 / 32, 1 / 64, 1 / 128]) ** 2 / 8
    assert np.abs(orders(values - centre) - 2).max() < 0.15


def test_what_flows_out_is_what_is_put_in():
    sample = draw_sample(Darcy(points=32), 0)
    a, u = sample["coefficient"][0], sample["solution"][0]
    # the flux through each face of the boundary, half a cell long
    out = sum(2 * (side_a * side_u).sum() for side_a, side_u in ((a[0], u[0]), (a[-1], u[-1])))
    out += sum(2 * (side_a * side_u).sum() for side_a, side_u in ((a[:, 0], u[:, 0]), (a[:, -1], u[:, -1])))
    assert out == pytest.approx(1.0, rel=1e-12)
    assert u.min() > 0
    assert set(np.unique(a)) == {3.0, 12.0}


def test_the_same_coefficient_at_more_cells_converges():
    laws = {"coefficient_points": 16, "output_points": 16}
    solutions = [draw_sample(Darcy(points=points, **laws), 3)["solution"] for points in (32, 64, 128, 256)]
    differences = [np.abs(a - b).max() for a, b in itertools.pairwise(solutions)]
    # at corners of jumps the solution is singular: between first and second order
    assert np.all(orders(differences) > 1.0)
    coarse = draw_sample(Darcy(points=32, **laws), 3)["coefficient"]
    fine = draw_sample(Darcy(points=64, coefficient_points=16), 3)["coefficient"]
    assert np.array_equal(refine(coarse, 4), fine)
    assert np.array_equal(coarsen(fine, 4), coarse)


def test_lognormal_coefficients_have_the_law_of_their_logarithm():
    data = generate(Darcy(points=8, coefficient="lognormal"), 500, dtype=float, progress=False)
    logarithm = np.log(data["coefficient"])
    exact = (Darcy().law.deviations((8, 8)) ** 2).sum()
    assert (logarithm**2).mean() == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 1}, "points must be at least 2"),
        ({"low": 0.0}, "low must be positive"),
        ({"coefficient_points": 24}, "coefficient_points must divide points=64"),
        ({"output_points": 128}, "output_points must be between 2 and 64"),
        ({"coefficient": "binary"}, "coefficient='binary' is not known"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Darcy(**settings)


def test_a_coefficient_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="coefficient must be positive everywhere, but its least value is -1"):
        solve_darcy(np.full((4, 4), -1.0), np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"but have \(4, 4\) and \(4, 5\)"):
        solve_darcy(np.ones((4, 4)), np.ones((4, 5)))
