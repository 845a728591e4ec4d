"""Burgers' equation against the closed form of Cole and Hopf, and what it conserves."""

import numpy as np
import pytest

from nde.data import Burgers, SampleError, SpectralField, draw_sample, resample_periodic
from tests.data.convergence import orders


def cole_hopf(viscosity, time, x):
    """Return u = -2 nu (log phi)_x of phi = 2 + exp(-k^2 nu t) cos(k x), a solution of the heat equation."""
    k = 2 * np.pi
    decay = np.exp(-(k**2) * viscosity * time)
    return 2 * viscosity * k * decay * np.sin(k * x) / (2 + decay * np.cos(k * x))


def test_the_solution_is_that_of_cole_and_hopf_to_rounding():
    problem = Burgers(points=128, viscosity=0.1, frames=4, dt=5e-4)
    x = np.arange(128) / 128
    frames = problem.solve(cole_hopf(0.1, 0.0, x))
    exact = np.stack([cole_hopf(0.1, time, x) for time in problem.times])
    assert np.abs(frames - exact).max() < 1e-13


def test_the_order_in_time_is_four():
    x = np.arange(128) / 128
    start = 0.5 + np.sin(2 * np.pi * x)

    def end(dt):
        return Burgers(points=128, viscosity=0.02, dt=dt).solve(start)[-1]

    reference = end(2e-4)
    assert np.abs(orders([np.abs(end(dt) - reference).max() for dt in (0.01, 0.005, 0.0025)]) - 4).max() < 0.15


def test_the_default_step_is_right_to_single_precision():
    exact = draw_sample(Burgers(points=256, dt=1e-3), 0)["velocity"]
    assert np.abs(draw_sample(Burgers(points=256), 0)["velocity"] - exact).max() < 1e-6 * np.abs(exact).max()


def test_more_points_do_not_change_the_solution():
    coarse, fine = Burgers(points=128), Burgers(points=256)
    start = SpectralField(2.0, 5.0, sigma=25.0).sample(np.random.default_rng(0), (64,))
    solutions = [problem.solve(resample_periodic(start, problem.points))[-1] for problem in (coarse, fine)]
    assert np.abs(resample_periodic(solutions[1], 128) - solutions[0]).max() < 1e-10


def test_momentum_is_conserved_and_energy_decays_by_the_dissipation():
    # smooth from the beginning, for Simpson's rule
    smooth = SpectralField(6.0, 5.0, sigma=2e4)
    problem = Burgers(points=256, viscosity=0.02, final_time=0.2, frames=200, dt=1e-3, initial=smooth)
    frames = draw_sample(problem, 1)["velocity"][:, 0]
    assert np.abs(frames.mean(axis=1) - frames[0].mean()).max() < 1e-15
    energy = 0.5 * (frames**2).mean(axis=1)
    slope = np.fft.irfft(2j * np.pi * np.fft.rfftfreq(256, 1 / 256) * np.fft.rfft(frames, axis=1), axis=1)
    dissipation = 0.02 * (slope**2).mean(axis=1)
    # Simpson's rule over pairs of frames
    lost = (0.001 / 3) * (dissipation[:-2:2] + 4 * dissipation[1::2] + dissipation[2::2]).sum()
    assert energy[0] - energy[-1] == pytest.approx(lost, rel=1e-5)
    assert energy[-1] < 0.9 * energy[0]


def test_initial_velocities_have_the_published_law():
    starts = np.stack(
        [draw_sample(Burgers(points=32, frames=1, dt=1.0), index)["velocity"][0, 0] for index in range(400)]
    )
    exact = sum(2 * 625 * (4 * np.pi**2 * k**2 + 25) ** -2.0 for k in range(1, 16))
    assert (starts**2).mean() == pytest.approx(exact, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"viscosity": 0.0}, "viscosity must be positive"),
        ({"points": 2}, "points must be at least 4"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"dt": -0.1}, "dt must be positive"),
        ({"final_time": float("inf")}, "final_time must be finite"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Burgers(**settings)


def test_a_solution_that_blows_up_is_reported():
    with pytest.raises(
        SampleError, match=r"not finite in 'velocity'. Where the problem has a dt, a smaller one may help"
    ):
        draw_sample(
            Burgers(points=512, viscosity=1e-6, dt=0.5, final_time=200.0, initial=SpectralField(1.0, 1.0, 50.0)), 0
        )
