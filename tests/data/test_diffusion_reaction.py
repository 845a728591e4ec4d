"""The diffusion-reaction problem against SciPy's solver, in space against finer cells, and what diffusion conserves."""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from nde.data import DiffusionReaction, SpectralField, coarsen, draw_sample
from tests.data.convergence import orders


def test_the_solution_is_that_of_the_method_of_lines():
    points = 12
    problem = DiffusionReaction(points=points, final_time=1.0, frames=2)
    start = np.random.default_rng(0).standard_normal((2, points, points))
    factors = np.array([1e-3, 5e-3])[:, None, None] * (points / 2) ** 2

    def field(t, flat):
        c = flat.reshape(2, points, points)
        padded = np.pad(c, ((0, 0), (1, 1), (1, 1)), mode="edge")
        laplacian = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2] - 4 * c
        u, v = c
        return (factors * laplacian + np.stack([u - u**3 - 5e-3 - v, u - v])).ravel()

    reference = solve_ivp(field, (0, 1), start.ravel(), rtol=1e-11, atol=1e-12, method="DOP853").y[:, -1]
    # at the default step, from noise in every cell
    assert np.abs(problem.solve(start)[-1].ravel() - reference).max() < 1e-6
    fine = DiffusionReaction(points=points, final_time=1.0, frames=2, dt=0.005).solve(start)[-1]
    assert np.abs(fine.ravel() - reference).max() < 1e-9


def test_the_order_in_time_is_four():
    start = SpectralField(3.0, 4.0, boundary="neumann", length=2.0).sample(np.random.default_rng(1), (16, 16))

    def end(dt):
        return DiffusionReaction(points=16, final_time=2.0, frames=1, dt=dt).solve(np.stack([start, -start]))[-1]

    reference = end(0.005)
    errors = [np.abs(end(dt) - reference).max() for dt in (0.2, 0.1, 0.05)]
    assert np.abs(orders(errors) - 4).max() < 0.15


def test_the_order_in_space_is_two():
    def end(points):
        x = (np.arange(points) + 0.5) / points * 2 - 1
        wave = np.cos(np.pi * (x + 1))[:, None] * np.cos(np.pi / 2 * (x + 1))[None, :]
        settings = {"final_time": 1.0, "frames": 1, "activator_diffusion": 0.05, "inhibitor_diffusion": 0.1}
        return DiffusionReaction(points=points, **settings).solve(np.stack([wave, 0.5 * wave]))[-1]

    ends = [end(points) for points in (8, 16, 32, 64)]
    differences = [np.abs(coarsen(fine, 2) - coarse).max() for coarse, fine in itertools.pairwise(ends)]
    assert np.abs(orders(differences) - 2).max() < 0.15


def test_diffusion_keeps_the_mean_so_that_means_react_alone():
    # the reaction of v is linear: its mean obeys mean(v)' = mean(u) - mean(v)
    problem = DiffusionReaction(points=16, final_time=0.4, frames=40, dt=0.01)
    start = SpectralField(3.0, 4.0, boundary="neumann", length=2.0, constant=True).sample(
        np.random.default_rng(2), (16, 16)
    )
    means = problem.solve(np.stack([start, 0.3 - start])).mean(axis=(2, 3))
    rate = means[:, 0] - means[:, 1]
    assert means[-1, 1] - means[0, 1] == pytest.approx(
        (0.01 / 3) * (rate[:-2:2] + 4 * rate[1::2] + rate[2::2]).sum(), rel=1e-8
    )


def test_initial_concentrations_are_noise_or_of_a_given_law():
    noise = draw_sample(DiffusionReaction(points=64, final_time=0.05, frames=1), 0)["concentration"]
    assert noise.shape == (2, 2, 64, 64)
    assert noise[0].var() == pytest.approx(1.0, abs=4.5 * np.sqrt(2 / 8192))
    law = SpectralField(2.0, 3.0, boundary="neumann", length=2.0)
    smooth = draw_sample(DiffusionReaction(points=64, final_time=0.05, frames=1, initial=law), 0)["concentration"]
    assert np.abs(np.diff(smooth[0], axis=1)).max() < 0.2 * np.abs(np.diff(noise[0], axis=1)).max()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"initial must have boundary='neumann' and length=2.0, .* length=1.0"):
        DiffusionReaction(initial=SpectralField(2.0, 3.0, boundary="neumann"))
    with pytest.raises(ValueError, match="inhibitor_diffusion must be positive"):
        DiffusionReaction(inhibitor_diffusion=0.0)
