"""Navier-Stokes against manufactured flows, balances of energy and enstrophy, and more points."""

import numpy as np
import pytest
from scipy import fft

from nde.data import NavierStokes, SpectralField, draw_sample, resample_periodic
from tests.data.convergence import orders


def plane(points):
    angle = 2 * np.pi * np.arange(points) / points
    return np.meshgrid(angle, angle, indexing="ij")


def squared_waves(points):
    wave = 2 * np.pi * fft.fftfreq(points, 1 / points)
    return wave[:, None] ** 2 + wave[None, :] ** 2


def test_a_vortex_array_decays_without_changing_shape():
    # Taylor and Green: all waves have one length, so that u . grad w = 0
    x, y = plane(32)
    start = np.cos(2 * x) * np.cos(2 * y)
    problem = NavierStokes(points=32, forcing="none", viscosity=0.01, drag=0.3, final_time=1.0, frames=2, dt=0.05)
    frames = problem.solve(start)
    rates = np.exp(-(0.01 * 4 * np.pi**2 * 8 + 0.3) * problem.times)
    np.testing.assert_allclose(frames, rates[:, None, None] * start, atol=1e-14)


def test_the_quadratic_term_is_that_of_the_velocity():
    # w = sin x cos 2y + cos 3x: psi = w / |k|^2 by parts, u = psi_y, v = -psi_x
    x, y = plane(32)
    scale = 2 * np.pi
    w = np.sin(x) * np.cos(2 * y) + np.cos(3 * x)
    u = -2 * np.sin(x) * np.sin(2 * y) / (5 * scale)
    v = -(np.cos(x) * np.cos(2 * y) / 5 - 3 * np.sin(3 * x) / 9) / scale
    w_x = scale * (np.cos(x) * np.cos(2 * y) - 3 * np.sin(3 * x))
    w_y = scale * (-2 * np.sin(x) * np.sin(2 * y))
    found = fft.irfft2(NavierStokes(points=32)._spectral.transport(fft.rfft2(w)), (32, 32))
    np.testing.assert_allclose(found, -(u * w_x + v * w_y), atol=1e-13)


def test_a_manufactured_solution_converges():
    # w = cos(t) (sin x cos 2y + cos 3x) with the source that this takes; the source is held over each step: order two
    x, y = plane(32)
    shape = np.sin(x) * np.cos(2 * y) + np.cos(3 * x)
    parts = 4 * np.pi**2 * (5 * np.sin(x) * np.cos(2 * y) + 9 * np.cos(3 * x))
    settings = {"points": 32, "forcing": "none", "viscosity": 0.01, "final_time": 1.0, "frames": 1}
    quadratic = fft.irfft2(NavierStokes(**settings)._spectral.transport(fft.rfft2(shape)), (32, 32))

    def source(t):
        return -np.sin(t) * shape - np.cos(t) ** 2 * quadratic + 0.01 * np.cos(t) * parts

    errors = [
        np.abs(NavierStokes(**settings, dt=dt).solve(shape, source)[-1] - np.cos(1.0) * shape).max()
        for dt in (0.1, 0.05, 0.025)
    ]
    assert np.abs(orders(errors) - 2).max() < 0.15


def test_the_order_in_time_is_four():
    start = 4 * SpectralField(2.5, 7.0).sample(np.random.default_rng(0), (32, 32))

    def end(dt):
        return NavierStokes(points=32, viscosity=5e-3, final_time=2.0, frames=1, dt=dt, forcing_scale=20.0).solve(
            start
        )[-1]

    reference = end(0.00625)
    errors = [np.abs(end(dt) - reference).max() for dt in (0.2, 0.1, 0.05)]
    assert np.abs(orders(errors) - 4).max() < 0.15


def test_transport_alone_makes_neither_energy_nor_enstrophy():
    points = 48
    w = SpectralField(2.0, 7.0).sample(np.random.default_rng(1), (points, points))
    spectrum = fft.rfft2(w)
    wave = np.abs(fft.fftfreq(points, 1 / points))
    spectrum *= (wave[:, None] < points / 3) & (np.arange(points // 2 + 1)[None, :] < points / 3)
    w = fft.irfft2(spectrum, (points, points))
    change = fft.irfft2(NavierStokes(points=points)._spectral.transport(spectrum), (points, points))
    squared = squared_waves(points)
    stream = fft.ifft2(fft.fft2(w) / np.where(squared > 0, squared, np.inf)).real
    scale = np.sqrt((change**2).mean())
    assert abs((w * change).mean()) < 1e-15 * scale * np.sqrt((w**2).mean()) * points
    assert abs((stream * change).mean()) < 1e-15 * scale * np.sqrt((stream**2).mean()) * points


@pytest.mark.parametrize("forcing", ["diagonal", "kolmogorov"])
def test_balances_of_energy_and_enstrophy_close(forcing):
    problem = NavierStokes(points=32, viscosity=5e-3, drag=0.1, forcing=forcing, final_time=0.4, frames=40, dt=0.01)
    # smooth from the beginning, for Simpson's rule
    start = 5 * SpectralField(6.0, 7.0).sample(np.random.default_rng(2), (32, 32))
    frames = problem.solve(start)
    squared = squared_waves(32)
    spectrum, force = fft.fft2(frames), fft.fft2(problem.force())
    rate = -(0.005 * squared + 0.1)

    def balance(weight):
        total = 0.5 * (weight * np.abs(spectrum) ** 2).sum(axis=(1, 2))
        gain = (weight * (rate * np.abs(spectrum) ** 2 + (spectrum.conj() * force).real)).sum(axis=(1, 2))
        put_in = (0.01 / 3) * (gain[:-2:2] + 4 * gain[1::2] + gain[2::2]).sum()
        return total[-1] - total[0], put_in

    for weight in (np.ones_like(squared), 1 / np.where(squared > 0, squared, np.inf)):
        change, put_in = balance(weight)
        assert change == pytest.approx(put_in, rel=1e-5)
    assert np.abs(frames.mean(axis=(1, 2))).max() < 1e-14


def test_more_points_and_single_precision_give_the_same_flow():
    start = SpectralField(2.5, 7.0).sample(np.random.default_rng(3), (32, 32))
    settings = {"final_time": 2.0, "frames": 1, "dt": 0.02}
    flows = {
        (points, precision): NavierStokes(points=points, precision=precision, **settings).solve(
            resample_periodic(start, points, axes=2)
        )[-1]
        for points, precision in ((64, "double"), (96, "double"), (64, "single"))
    }
    exact = flows[64, "double"]
    assert np.abs(resample_periodic(flows[96, "double"], 64, axes=2) - exact).max() < 1e-6
    assert flows[64, "single"].dtype == np.float32
    assert np.abs(flows[64, "single"] - exact).max() < 2e-6 * np.abs(exact).max()


def test_fewer_output_points_are_samples_of_the_same_flow():
    settings = {"points": 64, "final_time": 0.1, "frames": 1}
    full = draw_sample(NavierStokes(**settings), 0)["vorticity"]
    half = draw_sample(NavierStokes(**settings, output_points=32), 0)["vorticity"]
    assert half.shape == (2, 1, 32, 32)
    # the initial field has waves that 32 points do not hold; its energy there is small
    assert np.sqrt(np.mean((full[:, :, ::2, ::2] - half) ** 2)) < 2e-2 * full.std()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"viscosity": -1.0}, "viscosity must be positive"),
        ({"forcing": "wind"}, "forcing='wind' is not known"),
        ({"forcing_waves": 30}, "forcing_waves must be between 1 and 21"),
        ({"length": 2.0}, "initial.length=1.0 must be the side of the square, 2.0"),
        ({"output_points": 128}, "output_points must be between 2 and 64"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NavierStokes(**settings)
