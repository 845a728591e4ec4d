"""The law of the increments of whole paths, by samples with fixed seeds."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from nde.solvers.brownian import BrownianPath

SAMPLES = 40_000
UNEVEN = [0.0, 0.3, 0.7, 1.3, 1.5, 2.0]


def whitened(path, times):
    """Return the numbers of neighbouring intervals, each over its standard deviation: independent standard normals."""
    numbers = []
    for s, t in pairwise(times):
        increment = path(s, t)
        for value, part in ((increment.w, 1), (increment.h, 1 / 12), (increment.k, 1 / 720)):
            if value is not None:
                numbers.append(value / ((t - s) * part) ** 0.5)
    return torch.stack(numbers)


@pytest.mark.parametrize("levy_area", ["none", "space-time", "space-time-time"])
@pytest.mark.parametrize(
    ("grid", "tol", "times"),
    [
        (None, None, [0.0, 0.25, 0.5, 1.0, 2.0]),  # nodes of the tree
        (None, None, [0.013, 0.3, 0.503, 0.51, 1.2, 1.97]),
        (None, None, [0.3, 0.3 + 1e-5, 0.3 + 2e-5, 1.0]),
        (None, 0.5, [0.013, 0.52, 1.1, 1.7]),  # one time in each of four leaves
        (None, 2.0, [0.0, 1.7, 2.0]),  # the whole cell a leaf
        (UNEVEN, None, UNEVEN),
        (UNEVEN, None, [0.01, 0.3, 0.31, 0.9, 1.6, 2.0]),
    ],
)
def test_disjoint_intervals_are_independent_with_the_right_variances(levy_area, grid, tol, times):
    path = BrownianPath(0.0, 2.0, (SAMPLES,), seed=7, grid=grid, tol=tol, levy_area=levy_area, dtype=torch.float64)
    numbers = whitened(path, times)
    covariance = numbers @ numbers.T / SAMPLES
    # entries have standard deviations of (1 + diagonal) / SAMPLES; 4.5 of them in some hundred entries: 1 in 1,000
    excess = (covariance - torch.eye(len(numbers))).abs() / (1 + torch.eye(len(numbers))).sqrt()
    assert excess.max() < 4.5 / SAMPLES**0.5
    for row in numbers.numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-4


@pytest.mark.parametrize("levy_area", ["none", "space-time", "space-time-time"])
def test_sums_over_many_cells_have_the_law_of_one_interval(levy_area):
    grid = np.linspace(0, 1, 38) ** 1.3
    path = BrownianPath(0.0, 1.0, (SAMPLES,), seed=3, grid=grid, levy_area=levy_area, dtype=torch.float64)
    numbers = whitened(path, [float(grid[1]), float(grid[20]), 0.8, 1.0])
    covariance = numbers @ numbers.T / SAMPLES
    assert (covariance - torch.eye(len(numbers))).abs().max() < 4.5 * (2 / SAMPLES) ** 0.5


def test_h_and_k_are_the_integrals_of_the_finely_sampled_path():
    path = BrownianPath(0.0, 1.0, (200,), seed=5, levy_area="space-time-time", dtype=torch.float64)
    start, end, steps = 0.2, 0.9, 1024
    times = np.linspace(start, end, steps + 1)
    walk = torch.stack([path(float(s), float(t)).w for s, t in pairwise(times)]).cumsum(0)
    walk = torch.cat([torch.zeros(1, 200, dtype=torch.float64), walk])
    whole = path(start, end)
    assert (walk[-1] - whole.w).abs().max() < 1e-12  # 1024 additions
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64).unsqueeze(1)
    bridge = walk - u * whole.w
    # the trapezoidal rule misses the areas of the steps' own bridges, sqrt(0.7 / 12) / 1024 = 2.4e-4 in h and, weighed
    # by 1/2 - u, 0.7e-4 in k; five of these, where h and k themselves are 0.24 and 0.03
    assert (torch.trapezoid(bridge, u, dim=0) - whole.h).abs().max() < 1.2e-3
    assert (torch.trapezoid(bridge * (0.5 - u), u, dim=0) - whole.k).abs().max() < 3.5e-4


def test_the_middle_given_the_ends_is_the_brownian_bridge():
    path = BrownianPath(0.0, 1.0, (SAMPLES,), seed=11, dtype=torch.float64)
    whole, part = path(0.0, 1.0).w, path(0.0, 0.3).w
    rest = part - 0.3 * whole
    assert abs(float((rest * whole).mean())) < 4 * (0.21 / SAMPLES) ** 0.5
    assert stats.kstest(rest / 0.21**0.5, "norm").pvalue > 1e-4


def test_the_path_given_w_and_h_has_the_exact_mean_and_variance():
    path = BrownianPath(0.0, 1.0, (SAMPLES,), seed=12, levy_area="space-time", dtype=torch.float64)
    whole, part, x = path(0.0, 1.0), path(0.0, 0.3), 0.3
    rest = part.w - x * whole.w - 6 * x * (1 - x) * whole.h
    variance = x * (1 - x) - 3 * (x * (1 - x)) ** 2
    for condition in (whole.w, whole.h * 12**0.5):
        assert abs(float((rest * condition).mean())) < 4 * (variance / SAMPLES) ** 0.5
    assert stats.kstest(rest / variance**0.5, "norm").pvalue > 1e-4


def test_rows_and_columns_are_independent():
    path = BrownianPath(0.0, 1.0, (100, 20, 20), seed=2, dtype=torch.float64)
    w = path(0.1, 0.77).w / 0.67**0.5
    for dim in range(3):
        assert abs(float((w * w.roll(1, dim)).mean())) < 4 / w.numel() ** 0.5
    assert stats.kstest(w.flatten(), "norm").pvalue > 1e-4


@pytest.mark.slow
def test_increments_over_a_million_samples_are_normal():
    path = BrownianPath(
        0.0, 1.0, (1_000_000,), seed=21, levy_area="space-time-time", dtype=torch.float64, grid=[0, 0.4, 1]
    )
    for row in whitened(path, [0.0, 0.1, 0.4, 0.77, 1.0]).numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-4
