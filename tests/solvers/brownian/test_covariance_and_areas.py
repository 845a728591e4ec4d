"""Correlated entries, and the approximate Levy areas between them."""

import math

import pytest
import torch

from nde.solvers.brownian import BrownianPath

COVARIANCE = torch.tensor([[2.0, 1.0, 0.5], [1.0, 3.0, -0.2], [0.5, -0.2, 1.0]], dtype=torch.float64)
SAMPLES = 60_000


def make(levy_area, shape=(SAMPLES, 3), **more):
    return BrownianPath(0.0, 1.0, shape, seed=4, levy_area=levy_area, dtype=torch.float64, **more)


@pytest.mark.parametrize("grid", [None, [0.0, 0.5, 1.0]])
def test_the_last_axis_has_the_covariance(grid):
    increment = make("space-time", covariance=COVARIANCE, grid=grid)(0.0, 0.5)
    for value, factor in ((increment.w, 0.5), (increment.h, 0.5 / 12)):
        found = value.T @ value / SAMPLES / factor
        # an entry's standard deviation is at most sqrt(2) times the largest variance, 3, over sqrt(SAMPLES)
        assert (found - COVARIANCE).abs().max() < 4.5 * 3 * math.sqrt(2 / SAMPLES)


def test_a_singular_covariance_keeps_its_null_space():
    matrix = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    w = make("none", (100, 2), covariance=matrix)(0.2, 0.9).w
    assert (w[:, 0] - w[:, 1]).abs().max() < 1e-12


def test_the_identity_changes_nothing():
    plain, identity = make("foster", (50, 3)), make("foster", (50, 3), covariance=torch.eye(3))
    for part in ("w", "h", "a"):
        assert torch.equal(getattr(plain(0.1, 0.4), part), getattr(identity(0.1, 0.4), part))


@pytest.mark.parametrize("levy_area", ["davie", "foster"])
def test_an_area_is_antisymmetric_and_the_same_at_every_query(levy_area):
    for covariance in (None, COVARIANCE):
        path = make(levy_area, (50, 2, 3), covariance=covariance)
        area = path(0.1, 0.4).a
        assert area.shape == (50, 2, 3, 3)
        assert (area + area.transpose(-1, -2)).abs().max() < 1e-15
        assert torch.equal(path(0.1, 0.4).a, area) and not torch.equal(path(0.1, 0.41).a, area)


@pytest.mark.parametrize("levy_area", ["davie", "foster"])
@pytest.mark.parametrize(("s", "t"), [(0.0, 1.0), (0.2, 0.5)])
def test_an_area_has_the_exact_second_moments(levy_area, s, t):
    increment, length = make(levy_area)(s, t), t - s
    first, second = [0, 0, 1], [1, 2, 2]
    entries = increment.a[:, first, second] / length
    # the exact variance of a Levy area; its fourth moment is below 10 times the squared variance
    assert (entries.square().mean(0) - 0.25).abs().max() < 4 * 0.25 * (9 / SAMPLES) ** 0.5
    covariance = entries.T @ entries / SAMPLES
    assert (covariance - 0.25 * torch.eye(3)).abs().max() < 4 * 0.25 * (9 / SAMPLES) ** 0.5
    mean = increment.h[:, first] * increment.w[:, second] - increment.w[:, first] * increment.h[:, second]
    rest = entries - mean / length
    assert (rest.square().mean(0) - 1 / 12).abs().max() < 4 * (1 / 12) * (6 / SAMPLES) ** 0.5
    assert (rest * mean).mean(0).abs().max() < 4 * length * (1 / 72 / SAMPLES) ** 0.5


def true_areas(steps, samples, m=2):
    """Return (w, h, a) over [0, 1] of finely sampled paths."""
    path = BrownianPath(0.0, 1.0, (samples, m), seed=9, dtype=torch.float64, grid=[i / steps for i in range(steps + 1)])
    position = torch.zeros(samples, m, dtype=torch.float64)
    integral, area = torch.zeros_like(position), torch.zeros(samples, dtype=torch.float64)
    for step in range(steps):
        w = path(step / steps, (step + 1) / steps).w
        area += 0.5 * (position[:, 0] * w[:, 1] - position[:, 1] * w[:, 0])
        integral += (position + w / 2) / steps
        position = position + w
    return position, integral - position / 2, area


def test_foster_s_variance_given_h_is_that_of_true_areas():
    w, h, area = true_areas(200, 40_000)
    rest = (area - (h[:, 0] * w[:, 1] - w[:, 0] * h[:, 1])).square()
    squares = h.square().sum(1)
    # regression of the squared rest on h^2: intercept 1/20, slope 1/5, up to a sampling step of 1/200 and the samples
    slope = float(((squares - squares.mean()) * rest).mean() / squares.var())
    assert slope == pytest.approx(1 / 5, abs=0.02)
    assert float(rest.mean() - slope * squares.mean()) == pytest.approx(1 / 20, abs=0.003)
    found = make("foster", (40_000, 2))(0.0, 1.0)
    rest = found.a[:, 0, 1] - (found.h[:, 0] * found.w[:, 1] - found.w[:, 0] * found.h[:, 1])
    squares = found.h.square().sum(1)
    slope = float(((squares - squares.mean()) * rest.square()).mean() / squares.var())
    assert slope == pytest.approx(1 / 5, abs=0.02)


def test_areas_of_correlated_entries_are_those_of_the_independent_ones_transformed():
    factor = torch.linalg.cholesky(COVARIANCE)
    for s, t in ((0.0, 1.0), (0.3, 0.8)):
        plain, correlated = make("davie", (40, 3))(s, t), make("davie", (40, 3), covariance=COVARIANCE)(s, t)
        assert torch.allclose(correlated.a, factor @ plain.a @ factor.T, atol=1e-14)
        assert torch.allclose(correlated.w, plain.w @ factor.T, atol=1e-14)


def test_one_entry_has_no_area():
    area = make("davie", (5, 1))(0.1, 0.5).a
    assert area.shape == (5, 1, 1) and not area.any()
