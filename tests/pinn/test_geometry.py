"""Domains: distances, normals, and the laws of the points that are drawn from them."""

import math

import pytest
import torch
from scipy import stats

from nde.pinn.geometry import Ball, Box, Interval, PointCloud, Polygon, TimeProduct, sample_dimensions, unit_cube
from nde.taylor.operators import laplacian

L_SHAPE = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
SIGNIFICANCE = 1e-4  # seeds are fixed: a correct sampler fails here for one seed in ten thousand


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def is_uniform(values):
    return stats.kstest(values.numpy(), "uniform").pvalue > SIGNIFICANCE


@pytest.mark.parametrize("dimension", [1, 2, 3, 20])
def test_points_of_a_ball_are_uniform_in_its_volume_not_in_its_radius(dimension):
    ball = Ball([0.5] * dimension, 2.0)
    x = ball.sample(4000, generator=generator(), dtype=torch.float64)
    assert bool(ball.contains(x).all())
    radii = (x - 0.5).norm(dim=1) / 2
    assert is_uniform(radii**dimension)
    if dimension > 1:
        assert not is_uniform(radii)
    # the sign of every coordinate is fair, and the coordinates are uncorrelated
    unit = (x - 0.5) / (x - 0.5).norm(dim=1, keepdim=True)
    covariance = unit.T @ unit / len(x)
    expected = torch.eye(dimension, dtype=torch.float64) / dimension
    assert float((covariance - expected).abs().max()) < 5 / math.sqrt(len(x)) / math.sqrt(dimension)


def test_points_of_a_circle_are_uniform_in_its_angle():
    x = Ball([1.0, -1.0], 3.0).sample_boundary(4000, generator=generator(), dtype=torch.float64)
    angles = torch.atan2(x[:, 1] + 1, x[:, 0] - 1)
    assert is_uniform(angles / (2 * math.pi) + 0.5)


def test_points_of_a_polygon_with_an_inward_corner_are_uniform():
    polygon = Polygon(L_SHAPE)
    assert polygon.measure == pytest.approx(3) and polygon.boundary_measure == pytest.approx(8)
    x = polygon.sample(6000, generator=generator(), dtype=torch.float64)
    assert bool(polygon.contains(x).all())
    cells = (x[:, 0] * 4).floor() * 8 + (x[:, 1] * 4).floor()
    counts = torch.unique(cells, return_counts=True)[1]
    assert len(counts) == 48 and stats.chisquare(counts.numpy()).pvalue > SIGNIFICANCE


def test_points_of_a_boundary_fall_on_faces_by_their_size():
    box = Box([0.0, 0.0, 0.0], [1.0, 2.0, 4.0])
    x = box.sample_boundary(7000, generator=generator(), dtype=torch.float64)
    assert bool(box.on_boundary(x).all())
    axes = box.normals(x).abs().argmax(1)
    observed = torch.bincount(axes).numpy()
    sizes = torch.tensor([8.0, 4.0, 2.0], dtype=torch.float64).numpy()
    assert stats.chisquare(observed, sizes / sizes.sum() * 7000).pvalue > SIGNIFICANCE
    top = x[axes == 0]
    assert is_uniform(top[:, 1] / 2) and is_uniform(top[:, 2] / 4)


@pytest.mark.parametrize("overlap", [True, False])
def test_points_of_a_union_are_uniform_whether_its_parts_overlap_or_not(overlap):
    shift = 0.5 if overlap else 2.0
    union = Box([0.0, 0.0], [1.0, 1.0]) | Box([shift, 0.0], [shift + 1, 1.0])
    x = union.sample(6000, generator=generator(1), dtype=torch.float64)
    along = x[:, 0] / 1.5 if overlap else torch.where(x[:, 0] < 1, x[:, 0], x[:, 0] - 1) / 2
    assert is_uniform(along) and is_uniform(x[:, 1])


def test_points_of_nested_combinations_are_uniform():
    plate = (Box([-2.0, -2.0], [2.0, 2.0]) - Ball([0.0, 0.0], 1.0)) | Box([1.0, -1.0], [3.0, 1.0])
    x = plate.sample(6000, generator=generator(), dtype=torch.float64)
    area = 16 - math.pi + 2
    assert stats.binomtest(int((x[:, 0] > 2).sum()), 6000, 2 / area).pvalue > SIGNIFICANCE
    # the part of [1, 2] x [-1, 1] that the disc misses, and its overlap with the second box, count once
    middle = (x[:, 0] > 1) & (x[:, 0] < 2) & (x[:, 1].abs() < 1)
    assert stats.binomtest(int(middle.sum()), 6000, 2 / area).pvalue > SIGNIFICANCE


def test_the_boundary_of_a_difference_has_both_parts_in_the_share_of_their_lengths():
    ring = Ball([0.0, 0.0], 2.0) - Ball([0.0, 0.0], 1.0)
    x = ring.sample_boundary(4000, generator=generator(), dtype=torch.float64)
    radii = x.norm(dim=1)
    inner = (radii - 1).abs() < 1e-12
    assert bool((inner | ((radii - 2).abs() < 1e-12)).all())
    assert stats.binomtest(int(inner.sum()), 4000, 1 / 3).pvalue > SIGNIFICANCE
    normals = ring.normals(x)
    outward = torch.where(inner, -1.0, 1.0).unsqueeze(1) * x / radii.unsqueeze(1)
    torch.testing.assert_close(normals, outward)


def sides(x, *lines):
    return [int((x[:, axis] == value).sum()) for axis, value in lines]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boundaries_of_operands_that_touch_are_those_of_the_whole_alone(dtype):
    corner = Box([0.0, 0.0], [2.0, 2.0]) - Box([1.0, 1.0], [2.0, 2.0])
    x = corner.sample_boundary(4000, generator=generator(), dtype=dtype)
    assert not bool(((x > 1).sum(1) == 2).any()) and not bool(((x == 2).any(1) & (x > 1).all(1)).any())
    edges = sides(x, (0, 0.0), (1, 0.0), (0, 1.0), (1, 1.0), (0, 2.0), (1, 2.0))
    assert stats.chisquare(edges, [1000, 1000, 500, 500, 500, 500]).pvalue > SIGNIFICANCE
    halves = Box([0.0, 0.0], [1.0, 1.0]) | Box([1.0, 0.0], [2.0, 1.0])
    x = halves.sample_boundary(4000, generator=generator(), dtype=dtype)
    left, right, middle = sides(x, (0, 0.0), (0, 2.0), (0, 1.0))
    assert middle == 0 and stats.binomtest(left, left + right, 0.5).pvalue > SIGNIFICANCE
    seam = torch.tensor([[1.0, 0.5], [1.0, 0.0], [0.0, 0.5], [0.5, 1.0]], dtype=dtype)
    assert halves.on_boundary(seam).tolist()[::2] == [False, True] and bool(halves.on_boundary(seam[3]))


def test_an_edge_that_two_operands_share_is_not_drawn_twice():
    union = Box([0.0, 0.0], [1.0, 1.0]) | Box([0.5, 0.0], [1.5, 1.0])
    x = union.sample_boundary(6000, generator=generator(), dtype=torch.float64)
    assert is_uniform(x[x[:, 1] == 1, 0] / 1.5)
    lengths = sides(x, (1, 0.0), (1, 1.0), (0, 0.0), (0, 1.5))
    assert stats.chisquare(lengths, [1800, 1800, 1200, 1200]).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    "shape",
    [
        Interval(-1.0, 2.0),
        Box([0.0, -1.0, 2.0], [1.0, 1.0, 5.0]),
        Ball([1.0, 2.0, 3.0], 0.7),
        Polygon(L_SHAPE),
        Polygon([(0, 0), (1, 2), (3, 0)]),  # clockwise
        Box([0.0, 0.0], [1.0, 1.0]) & Ball([0.0, 0.0], 1.0),
        Box([0.0, 0.0], [1.0, 1.0]) | Ball([0.0, 0.0], 0.8),
    ],
    ids=lambda shape: type(shape).__name__,
)
def test_normals_are_unit_vectors_that_point_out(shape):
    x = shape.sample_boundary(200, generator=generator(), dtype=torch.float64)
    normals = shape.normals(x)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(200, dtype=torch.float64))
    step = 1e-7
    assert bool((shape.signed_distance(x + step * normals) > 0).all())
    assert bool((shape.signed_distance(x - step * normals) < 0).all())


@pytest.mark.parametrize("shape", [Box([0.0, 0.0], [1.0, 2.0]), Ball([0.3, 0.2], 0.7), Polygon(L_SHAPE)])
def test_signed_distances_are_those_from_many_boundary_points(shape):
    x = torch.rand(100, 2, generator=generator(), dtype=torch.float64) * 3 - 0.5
    boundary = shape.sample_boundary(20000, method="sobol", generator=generator(), dtype=torch.float64)
    nearest = torch.cdist(x, boundary).amin(1)
    distance = shape.signed_distance(x)
    torch.testing.assert_close(distance.abs(), nearest, rtol=0, atol=2e-3)  # spacing of the boundary points
    assert torch.equal(distance <= 0, shape.contains(x))


def test_vanishing_functions_are_zero_on_the_boundary_alone_and_jets_go_through_them():
    shapes = (
        Box([0.0, 0.0], [1.0, 2.0]),
        Ball([0.0, 0.0], 2.0),
        Polygon([(0, 0), (1, 2), (3, 0)]),
        Box([0.0, 0.0], [1.0, 1.0]) & Ball([0.0, 0.0], 1.1),
        Box([0.0, 0.0], [1.0, 1.0]) | Ball([0.0, 0.0], 0.8),
        Ball([0.0, 0.0], 2.0) - Ball([0.0, 0.0], 1.0),
    )
    for shape in shapes:
        edge = shape.sample_boundary(100, generator=generator(), dtype=torch.float64)
        assert float(shape.vanishing(edge).abs().max()) < 1e-12
        inside = shape.sample(100, generator=generator(), dtype=torch.float64)
        assert bool((shape.vanishing(inside) > 0).all())
        assert bool(torch.isfinite(laplacian(shape.vanishing, inside).value).all())
    disc = Ball([0.0, 0.0], 2.0)
    expected = torch.full((100,), -1.0, dtype=torch.float64)  # of 1 - |x|^2 / 4
    inside = disc.sample(100, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(laplacian(disc.vanishing, inside).value, expected)


def test_time_is_the_last_coordinate_and_is_uniform_and_independent_of_space():
    for space in (Ball([0.0, 0.0], 1.0), Ball([0.0, 0.0], 1.0) - Ball([0.0, 0.0], 0.5)):
        domain = TimeProduct(space, 1.0, 3.0)
        for method in ("uniform", "sobol", "latin"):
            x = domain.sample(2048, method=method, generator=generator(), dtype=torch.float64)
            assert x.shape == (2048, 3) and bool(domain.contains(x).all())
            times = (x[:, 2] - 1) / 2
            assert is_uniform(times)
            assert abs(stats.spearmanr(times.numpy(), x[:, :2].norm(dim=1).numpy()).statistic) < 0.1
        edge = domain.sample_boundary(100, generator=generator(), dtype=torch.float64)
        assert bool(domain.on_boundary(edge).all()) and float(domain.normals(edge)[:, 2].abs().max()) == 0
        assert bool((domain.sample_initial(5)[:, 2] == 1).all()) and bool((domain.sample_final(5)[:, 2] == 3).all())


def test_a_latin_hypercube_has_one_point_in_each_cell_of_each_axis():
    cube = unit_cube(97, 5, method="latin", generator=generator())
    cells = (cube.double() * 97).floor().sort(0).values
    assert torch.equal(cells, torch.arange(97.0, dtype=torch.float64).unsqueeze(1).expand(97, 5))


def test_sobol_points_integrate_with_a_smaller_error_than_independent_ones():
    def worst(method):
        draws = [unit_cube(1024, 4, method=method, generator=generator(s), dtype=torch.float64) for s in range(8)]
        return max(abs(float((3 * x**2).prod(1).mean()) - 1) for x in draws)

    assert worst("sobol") < 0.2 * worst("uniform")
    low, high = unit_cube(1024, 4, method="sobol", generator=generator()).aminmax()
    assert low >= 0 and high < 1


def test_sampled_dimensions_are_distinct_and_equally_likely():
    draws = torch.stack([sample_dimensions(3, 10, generator=generator(s)) for s in range(3000)])
    assert all(len(set(row)) == 3 for row in draws.tolist())
    for column in draws.T:
        assert stats.chisquare(torch.bincount(column, minlength=10).numpy()).pvalue > SIGNIFICANCE
    assert len(sample_dimensions(4, 10**6).unique()) == 4


def test_points_of_a_cloud_are_drawn_without_replacement_while_there_are_enough():
    points = torch.arange(20.0).reshape(10, 2)
    cloud = PointCloud(points, points[:3], torch.tensor([[0.0, -2.0], [3.0, 0.0], [0.0, 1.0]]))
    assert len(cloud.sample(10, generator=generator()).unique(dim=0)) == 10
    assert cloud.sample(25, generator=generator()).shape == (25, 2)
    assert cloud.contains(torch.tensor([[0.0, 1.0], [0.5, 1.0]])).tolist() == [True, False]
    assert cloud.normals(points[:1]).tolist() == [[0.0, -1.0]]
    assert cloud.sample_boundary(2, generator=generator()).shape == (2, 2)


def test_equal_seeds_give_equal_points():
    for shape in (Ball([0.0, 0.0], 1.0) | Box([0.0, 0.0], [2.0, 2.0]), TimeProduct(Interval(0.0, 1.0), 0.0, 1.0)):
        for method in ("uniform", "latin", "sobol"):
            first, second = (shape.sample(33, method=method, generator=generator(5)) for _ in range(2))
            assert torch.equal(first, second)
            assert not torch.equal(first, shape.sample(33, method=method, generator=generator(6)))


def test_a_ball_of_a_thousand_dimensions_has_finite_points_and_measure():
    ball = Ball([0.0] * 1000, 1.0)
    x = ball.sample(50, generator=generator())
    assert bool(ball.contains(x).all()) and math.isfinite(ball.measure)
    assert float(x.norm(dim=1).min()) > 0.98  # almost all of the volume is near the surface
