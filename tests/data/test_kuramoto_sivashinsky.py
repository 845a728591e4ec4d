"""The Kuramoto-Sivashinsky equation against SciPy's solver, its energy balance and its statistics."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from nde.data import KuramotoSivashinsky, SpectralField, draw_sample
from tests.data.convergence import orders


def derivative(u, length, order):
    wave = 2 * np.pi / length * np.fft.rfftfreq(u.shape[-1], 1 / u.shape[-1])
    return np.fft.irfft((1j * wave) ** order * np.fft.rfft(u), u.shape[-1])


def test_trajectories_are_those_of_an_independent_solver():
    length, points = 22.0, 80
    x = length * np.arange(points) / points
    start = np.cos(2 * np.pi * x / length) * (1 + np.sin(2 * np.pi * x / length))

    def field(t, u):
        return -u * derivative(u, length, 1) - derivative(u, length, 2) - derivative(u, length, 4)

    reference = solve_ivp(field, (0, 5), start, rtol=1e-9, atol=1e-10, method="BDF").y[:, -1]
    found = KuramotoSivashinsky(points=points, length=length, dt=0.02).solve(start, 5.0, 5)[-1]
    assert np.abs(found - reference).max() < 1e-6


def test_the_order_in_time_is_four():
    problem = KuramotoSivashinsky(points=32, length=32.0)
    x = 32.0 * np.arange(32) / 32
    start = np.cos(2 * np.pi * x / 32) + 0.5 * np.sin(6 * np.pi * x / 32)

    def end(dt):
        return KuramotoSivashinsky(points=32, length=32.0, dt=dt).solve(start, 4.0, 1)[-1]

    reference = end(0.002)
    errors = [np.abs(end(dt) - reference).max() for dt in (0.1, 0.05, 0.025)]
    assert problem.box["lengths"] == 32.0
    assert np.abs(orders(errors) - 4).max() < 0.15


def test_the_mean_stays_zero_and_the_energy_balance_closes():
    problem = KuramotoSivashinsky(points=96, length=44.0, final_time=2.0, frames=200, dt=0.01)
    frames = draw_sample(problem, 0)["velocity"][:, 0]
    assert np.abs(frames.mean(axis=1)).max() < 1e-13
    gain = (derivative(frames, 44.0, 1) ** 2 - derivative(frames, 44.0, 2) ** 2).mean(axis=1)
    energy = 0.5 * (frames**2).mean(axis=1)
    put_in = (0.01 / 3) * (gain[:-2:2] + 4 * gain[1::2] + gain[2::2]).sum()
    assert energy[-1] - energy[0] == pytest.approx(put_in, rel=1e-6)


def test_trajectories_begin_on_the_attractor():
    frames = draw_sample(KuramotoSivashinsky(), 0)["velocity"]
    assert frames.shape == (51, 1, 128)
    # the root mean square on the attractor of large circles is about 1.3
    assert 1.0 < np.sqrt((frames**2).mean()) < 1.6
    halves = [np.sqrt((part**2).mean()) for part in (frames[:25], frames[25:])]
    assert halves[0] == pytest.approx(halves[1], rel=0.15)
    # and two thirds of the waves hold all of it
    spectrum = np.abs(np.fft.rfft(frames[-1, 0]))
    assert spectrum[38:].max() < 1e-3 * spectrum.max()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"initial.length=1.0 must be the length of the circle, 64.0"):
        KuramotoSivashinsky(initial=SpectralField(2.0, 1.0))
    with pytest.raises(ValueError, match="warm_up must be at least 0"):
        KuramotoSivashinsky(warm_up=-1.0)
