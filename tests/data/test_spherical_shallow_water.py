"""Shallow water on the sphere: vector transforms, steady flows, linear waves, orders, and what is conserved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nde.data import SphericalShallowWater, draw_sample
from nde.data.spherical_transform import SphericalTransform
from nde.operators import SphereGrid
from tests.data.convergence import orders

# smooth, and without the damping that is no part of the equations
SMOOTH = SphericalShallowWater(rows=32, alpha=8.0, tau=2.0, damping_time=None)


def random_spectrum(degree, seed):
    rng = np.random.default_rng(seed)
    spectrum = rng.standard_normal((degree + 1, degree + 1)) + 1j * rng.standard_normal((degree + 1, degree + 1))
    spectrum[0] = spectrum[0].real
    n = np.arange(degree + 1)
    return spectrum * (n[None] >= n[:, None]) * (n > 0)


def positions(rows):
    return SphereGrid("gauss").positions((rows, 2 * rows)).numpy()


def velocity_about(axis, rows):
    """Return the rigid rotation about an axis, to the south and to the east."""
    x = positions(rows)
    flow = np.cross(np.asarray(axis), x, axisb=0, axisc=0)
    flat = np.hypot(x[0], x[1])
    east = np.stack((-x[1], x[0], 0 * x[0])) / flat
    south = np.stack((x[0] * x[2], x[1] * x[2], -(flat**2))) / flat
    return np.stack(((flow * south).sum(0), (flow * east).sum(0)))


def test_vectors_have_the_divergence_and_the_curl_of_their_potentials():
    transform = SphericalTransform(10, 16, 32)
    stream, potential = random_spectrum(10, 0), random_spectrum(10, 1)
    np.testing.assert_allclose(transform.analyse(transform.synthesise(stream)), stream, atol=1e-13)
    south, east = transform.vector(stream, potential)
    laplacian = transform.eigenvalues
    np.testing.assert_allclose(transform.divergence(south, east), laplacian * potential, atol=1e-10)
    np.testing.assert_allclose(transform.divergence(east, -south), laplacian * stream, atol=1e-10)


def test_vectors_of_the_first_harmonics_are_rigid_rotations():
    transform, x = SphericalTransform(3, 8, 16), positions(8)
    for axis in np.eye(3):
        height = transform.analyse(np.tensordot(axis, x, 1))
        np.testing.assert_allclose(transform.vector(-height, 0 * height), velocity_about(axis, 8), atol=1e-13)


@pytest.mark.parametrize("rows", [8, 16, 32])
def test_the_zonal_flow_of_williamson_stays_as_it_is_to_rounding_at_every_resolution(rows):
    # their second test: u = u_0 sin(theta), g h = g h_0 - (a Omega u_0 + u_0^2 / 2) cos(theta)^2
    problem = SphericalShallowWater(rows=rows, final_time=86400.0, frames=2, dt=400.0, damping_time=None)
    speed = 2 * np.pi * problem.radius / (12 * 86400)
    z = positions(rows)[2]
    height = (2.94e4 - (problem.radius * problem.rotation * speed + speed**2 / 2) * z**2) / problem.gravity
    velocity = velocity_about([0, 0, speed], rows)
    frames = problem.solve(height, velocity)
    assert np.abs(frames[:, 0] / frames[0, 0] - 1).max() < 1e-12
    assert np.abs(frames[:, 1:] - velocity).max() < 1e-11 * speed


def test_a_flow_over_the_poles_of_a_sphere_at_rest_stays_as_it_is_to_rounding():
    problem = SphericalShallowWater(rows=16, rotation=0.0, final_time=86400.0, frames=2, dt=400.0, damping_time=None)
    axis, speed = np.array([0.6, 0.0, 0.8]), 40.0
    along = np.tensordot(axis, positions(16), 1)
    height = (2.94e4 - speed**2 / 2 * along**2) / problem.gravity
    velocity = velocity_about(speed * axis, 16)
    frames = problem.solve(height, velocity)
    assert np.abs(frames[:, 0] / frames[0, 0] - 1).max() < 1e-12
    assert np.abs(frames[:, 1:] - velocity).max() < 1e-11 * speed


@pytest.mark.parametrize("degree", [1, 4])
def test_small_gravity_waves_swing_with_their_frequency(degree):
    problem = SphericalShallowWater(rows=16, rotation=0.0, final_time=20_000.0, frames=4, dt=100.0, damping_time=None)
    transform, small = problem._transform, 1e-4
    spectrum = 0 * random_spectrum(problem.degree, 0)
    spectrum[1, degree] = 1 + 2j
    wave = transform.synthesise(spectrum)
    frames = problem.solve(problem.depth + small * wave, np.zeros((2, 16, 32)))
    frequency = np.sqrt(problem.gravity * problem.depth * degree * (degree + 1)) / problem.radius
    expected = np.cos(frequency * problem.times)[:, None, None] * wave
    # the square of the amplitude over the depth, and the fourth power of the step
    np.testing.assert_allclose((frames[:, 0] - problem.depth) / small, expected, atol=1e-4 * np.abs(wave).max())


def test_the_order_in_time_is_four():
    height, velocity = SMOOTH.initial(np.random.default_rng(0))
    ends = [replace(SMOOTH, dt=dt).solve(height, velocity)[-1] for dt in (900.0, 450.0, 225.0, 25.0)]
    assert np.abs(orders([np.abs(end - ends[-1]).max() for end in ends[:-1]]) - 4).max() < 0.2


def test_more_latitudes_converge_faster_than_any_power():
    fine = replace(SMOOTH, rows=64)
    height, velocity = fine.initial(np.random.default_rng(1))
    transform = fine._transform
    stream = transform.divergence(velocity[1], -velocity[0]) * fine._inverse_laplacian
    exact = transform.analyse(fine.solve(height, velocity)[-1, 0])
    errors = []
    for rows in (12, 24, 48):
        coarse = replace(SMOOTH, rows=rows)
        count = coarse.degree + 1
        part = stream[:count, :count]
        start = coarse._transform.synthesise(transform.analyse(height)[:count, :count])
        end = coarse.solve(start, coarse._transform.vector(part, 0 * part))[-1, 0]
        errors.append(np.abs(coarse._transform.analyse(end) - exact[:count, :count]).max() / np.abs(exact[1:]).max())
    assert errors[0] / errors[1] > 30
    assert errors[1] / errors[2] > 5 * errors[0] / errors[1]


def test_mass_is_conserved_to_rounding_and_energy_and_angular_momentum_as_far_as_scales_are_resolved():
    problem = replace(SMOOTH, rows=48, final_time=6 * 3600.0, frames=3)
    sample = draw_sample(problem, 0)
    height, (south, east) = sample["height"][:, 0], sample["velocity"].swapaxes(0, 1)
    weights = problem._transform.weights[:, None] / (4 * problem.rows)
    distance = np.sqrt(1 - problem._transform.cosines**2)[:, None]

    def total(values):
        return (values * weights).sum(axis=(1, 2))

    kinetic = total(0.5 * height * (south**2 + east**2))
    energy = kinetic + total(0.5 * problem.gravity * height**2)
    turning = total(height * distance * (east + problem.rotation * problem.radius * distance))
    np.testing.assert_allclose(total(height), problem.depth, rtol=1e-13)
    assert np.abs(energy - energy[0]).max() < 1e-7 * kinetic[0]
    np.testing.assert_allclose(turning, turning[0], rtol=1e-10)


def test_damping_takes_out_small_scales_and_no_water():
    rough = replace(SMOOTH, alpha=2.0, final_time=6 * 3600.0, frames=1)
    height, velocity = rough.initial(np.random.default_rng(2))
    transform, energies = rough._transform, []
    for time in (None, 7200.0):
        end = replace(rough, damping_time=time).solve(height, velocity)[-1]
        spectrum = np.abs(transform.divergence(end[2], -end[1])) ** 2
        energies.append((spectrum[:, -4:].sum(), spectrum[:, 1:6].sum()))
        assert (end[0] * transform.weights[:, None]).sum() / 128 == pytest.approx(rough.depth, rel=1e-13)
    assert energies[1][0] < 0.2 * energies[0][0]
    assert energies[1][1] == pytest.approx(energies[0][1], rel=0.02)


def test_initial_winds_have_their_law_and_few_gravity_waves():
    problem = SphericalShallowWater(rows=16, frames=1, final_time=1.0)
    winds = np.stack([problem.initial(np.random.default_rng(index))[1] for index in range(200)])
    weights = problem._transform.weights[:, None] / 64
    assert ((winds**2).sum(1) * weights).sum((1, 2)).mean() == pytest.approx(20.0**2, rel=0.05)
    # balanced heights move much less in an hour than a flat surface under the same winds
    height, velocity = SMOOTH.initial(np.random.default_rng(0))
    moved = []
    for start in (height, np.full_like(height, SMOOTH.depth)):
        frames = SMOOTH.solve(start, velocity)
        moved.append(np.abs(frames[-1, 0] - frames[0, 0]).max())
    assert moved[0] < 0.25 * moved[1]


def test_fields_lie_on_the_grid_of_the_operators():
    problem = SphericalShallowWater(rows=8, frames=2, final_time=600.0)
    sample = draw_sample(problem, 0)
    assert sample["height"].shape == (3, 1, 8, 16) and sample["velocity"].shape == (3, 2, 8, 16)
    z = SphereGrid(**problem.box).positions((8, 16))[2]
    torch.testing.assert_close(z[:, 0], torch.from_numpy(problem._transform.cosines))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rows": 4}, ValueError, "rows must be at least 8"),
        ({"depth": 0.0}, ValueError, "depth must be positive"),
        ({"speed": "fast"}, TypeError, "speed must be a number"),
        ({"damping_time": -1.0}, ValueError, "damping_time must be positive"),
        ({"dt": 3600.0}, ValueError, r"dt=3600 is too large for gravity waves of degree 42. Give dt=\d+ or less"),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        SphericalShallowWater(**settings)


def test_water_that_runs_dry_is_reported():
    problem = SphericalShallowWater(rows=8, depth=1.0, final_time=86400.0, frames=4)
    with pytest.raises(FloatingPointError, match="run dry or moves too fast"), np.errstate(all="ignore"):
        problem.solve(np.ones((8, 16)), np.full((2, 8, 16), 3e3))
