"""Shallow water against simple waves and a dam break that have closed forms, and what it conserves."""

import numpy as np
import pytest
from scipy.optimize import brentq

from nde.data import ShallowWater, SpectralField, draw_sample
from nde.data.shallow_water import disc_in_cells
from tests.data.convergence import orders


def simple_wave(points, time, rows=4):
    """Return a wave that runs to the right and steepens: u - 2 c is constant, c moves with speed u + c = 3 c - 2."""
    h = 5.0 / points
    x = (np.arange(points) + 0.5) * h - 2.5
    start = x.copy()
    for _ in range(100):
        start = x - (3 * celerity(start) - 2) * time
    c = celerity(start)
    height, velocity = c**2, 2 * (c - 1)
    return np.stack([height, height * velocity, 0 * height])[:, :, None].repeat(rows, axis=2)


def celerity(x):
    return 1 + 0.05 * np.sin(2 * np.pi * x / 5)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_smooth_wave_is_followed_at_order_two(axis):
    errors = []
    for points in (64, 128, 256):
        problem = ShallowWater(points=points, walls="periodic", final_time=1.0, frames=1)
        start, exact = simple_wave(points, 0.0), simple_wave(points, 1.0)
        if axis:
            start, exact = (part[[0, 2, 1]].swapaxes(1, 2) for part in (start, exact))
        # in the mean: at crests, limiters clip
        errors.append(np.abs(problem.solve(start)[-1] - exact).mean())
    assert np.abs(orders(errors) - 2).max() < 0.15


def test_the_dam_break_has_the_shock_and_the_fan_of_its_riemann_problem():
    high, low = 2.0, 1.0
    # between fan and shock: 2 (c_high - c) equals the velocity behind a shock into still water
    middle = brentq(
        lambda h: 2 * (np.sqrt(high) - np.sqrt(h)) - (h - low) * np.sqrt((h + low) / (2 * h * low)),
        low,
        high,
        xtol=1e-14,
    )
    velocity = 2 * (np.sqrt(high) - np.sqrt(middle))
    shock = middle * velocity / (middle - low)

    errors = []
    for points in (100, 200, 400):
        x = (np.arange(points) + 0.5) / points * 5 - 2.5
        height = np.where(x < 0, high, low)[:, None].repeat(3, axis=1)
        problem = ShallowWater(points=points, final_time=1.0, frames=1)
        found = problem.solve(np.stack([height, 0 * height, 0 * height]))[-1]
        fan = (2 * np.sqrt(high) - x) ** 2 / 9
        exact = np.where(x < shock, middle, low)
        exact = np.where(x < velocity - np.sqrt(middle), fan, exact)
        exact = np.where(x < -np.sqrt(high), high, exact)
        errors.append(np.abs(found[0, :, 0] - exact).mean())
        plateau = np.abs(x - 0.5 * (velocity - np.sqrt(middle) + shock)) < 0.2
        np.testing.assert_allclose(found[0, plateau], middle, rtol=1e-3)
        np.testing.assert_allclose(found[1, plateau], middle * velocity, rtol=5e-3)
    # a shock is one to two cells wide: first order in the mean over refinements, for where it is in its cell varies
    assert orders(errors).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("walls", ["periodic", "reflecting", "outflow"])
def test_water_is_neither_made_nor_lost(walls):
    problem = ShallowWater(points=48, walls=walls, frames=4, final_time=0.8)
    sample = draw_sample(problem, 0)
    # with outflow, no wave has met the boundary yet
    volume = sample["height"].sum(axis=(1, 2, 3))
    assert np.abs(volume / volume[0] - 1).max() < 1e-14
    assert np.abs(sample["discharge"].sum(axis=(2, 3))).max() < 1e-11
    assert sample["height"].min() > 0.5


def test_walls_reflect_and_open_boundaries_let_waves_out():
    energies = {}
    for walls in ("reflecting", "outflow"):
        problem = ShallowWater(points=40, walls=walls, final_time=8.0, frames=8, smallest_radius=0.7)
        height = draw_sample(problem, 0)["height"][:, 0]
        energies[walls] = ((height[-1] - height[-1].mean()) ** 2).mean()
        if walls == "reflecting":
            assert height[-1].sum() == pytest.approx(height[0].sum(), rel=1e-13)
    assert energies["outflow"] < 0.01 * energies["reflecting"]


def test_the_dam_break_keeps_the_symmetries_of_the_square():
    height = draw_sample(ShallowWater(points=32, frames=3, final_time=0.6), 1)["height"][:, 0]
    for turned in (height[:, ::-1], height[:, :, ::-1], height.swapaxes(1, 2)):
        np.testing.assert_allclose(turned, height, atol=1e-13)


def test_energy_does_not_grow():
    problem = ShallowWater(points=48, walls="periodic", frames=20)
    sample = draw_sample(problem, 2)
    h, q = sample["height"][:, 0], sample["discharge"]
    energy = (0.5 * (q**2).sum(axis=1) / h + 0.5 * h**2).sum(axis=(1, 2))
    assert np.all(np.diff(energy) < 0)


def test_radii_are_uniform_and_smooth_starts_have_their_law():
    starts = [
        draw_sample(ShallowWater(points=64, frames=1, final_time=1e-6), index)["height"][0] for index in range(60)
    ]
    radii = np.sqrt([(start - 1).sum() * (5 / 64) ** 2 / np.pi for start in starts])
    # cells have the mean of their water, so that the volume is that of the disc
    generators = [np.random.default_rng(np.random.SeedSequence(0, spawn_key=(index,))) for index in range(60)]
    exact = [generator.uniform(0.3, 0.7) for generator in generators]
    np.testing.assert_allclose(radii, exact, rtol=1e-12)
    assert 0.29 < radii.min() < 0.37
    assert 0.63 < radii.max() < 0.71
    law = SpectralField(3.0, 2.0, sigma=1.0, length=5.0)
    smooth = draw_sample(ShallowWater(points=32, frames=1, final_time=0.1, walls="periodic", initial=law), 0)["height"]
    assert np.log(smooth[0]).mean() == pytest.approx(0, abs=1e-12)


def test_the_parts_of_cells_in_a_disc_are_those_of_many_points():
    edges = np.linspace(-1.0, 1.0, 8)  # the origin is inside a cell
    fine = (np.arange(7 * 400) + 0.5) / (7 * 200) - 1
    for radius in (0.05, 0.3, 0.77, 0.99):
        inside = np.hypot(fine[:, None], fine[None, :]) <= radius
        parts = disc_in_cells(radius, edges)
        np.testing.assert_allclose(parts, inside.reshape(7, 400, 7, 400).mean(axis=(1, 3)), atol=2e-4)
        assert parts.sum() * (2 / 7) ** 2 == pytest.approx(np.pi * radius**2, rel=1e-12)


def test_dams_of_other_radii_are_other_samples_on_coarse_cells_too():
    problem = ShallowWater(points=16, frames=1, final_time=1e-6)
    starts = {draw_sample(problem, index)["height"][0].tobytes() for index in range(40)}
    assert len(starts) == 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"walls": "open"}, "walls='open' is not known"),
        ({"courant": 0.9}, "courant must be 0.5 or less"),
        ({"outer_height": 0.0}, "outer_height must be positive"),
        ({"largest_radius": 0.1}, "largest_radius must be at least 0.3"),
        ({"initial": SpectralField(2.0, 2.0)}, "initial.length=1.0 must be the side of the square, 5.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ShallowWater(**settings)


@pytest.mark.parametrize(("height", "discharge"), [(1.0, 1e12), (0.0, 0.0), (np.nan, 0.0)])
def test_water_that_runs_dry_or_too_fast_is_reported(height, discharge):
    state = np.stack([np.full((16, 16), value) for value in (height, discharge, 0.0)])
    with pytest.raises(FloatingPointError, match="run dry or moves too fast"), np.errstate(invalid="ignore"):
        ShallowWater(points=16).solve(state)
