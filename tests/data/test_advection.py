"""Advection moves profiles without changing them."""

import numpy as np
import pytest

from nde.data import Advection, draw_sample


@pytest.mark.parametrize("profile", ["sines", "steps"])
def test_profiles_move_with_the_speed_and_return(profile):
    # one cell in each frame, once around in all
    problem = Advection(points=64, speed=0.5, final_time=2.0, frames=64, profile=profile, terms=3)
    density = draw_sample(problem, 0)["density"][:, 0]
    for frame in (1, 17, 64):
        np.testing.assert_allclose(density[frame], np.roll(density[0], frame), atol=1e-12)
    assert np.ptp(density[0]) > 0.1
    if profile == "steps":
        assert len(np.unique(density)) == 3


def test_a_wave_solves_the_equation():
    problem = Advection(points=256, speed=-0.7, final_time=0.02, frames=4)
    u = draw_sample(problem, 1)["density"][:, 0]
    waves = 2j * np.pi * np.fft.rfftfreq(256, 1 / 256)
    slope = np.fft.irfft(waves * np.fft.rfft(u[2]), 256)
    time_slope = (u[0] - 8 * u[1] + 8 * u[3] - u[4]) / (12 * 0.005)
    np.testing.assert_allclose(time_slope, 0.7 * slope, atol=1e-4 * np.abs(slope).max())
    spectrum = np.abs(np.fft.rfft(u[0]))
    assert np.count_nonzero(spectrum > 1e-10) <= 2 and spectrum[9:].max() < 1e-10


def test_the_largest_wave_is_drawn():
    highest = [
        np.flatnonzero(np.abs(np.fft.rfft(draw_sample(Advection(points=64, terms=1), i)["density"][0, 0])) > 1e-9)
        for i in range(80)
    ]
    assert {int(waves[0]) for waves in highest} == set(range(1, 9))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="profile='gauss' is not known"):
        Advection(profile="gauss")
