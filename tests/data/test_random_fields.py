"""Laws of the random fields: variances and covariances against closed forms, within the error of the sample."""

import numpy as np
import pytest

from nde.data import SpectralField, StationaryField, correlation

SAMPLES = 4000


def within_the_error_of_the_sample(estimate, exact, samples, variance):
    # a product of two normal variables has at most twice the squared variance
    return np.all(np.abs(estimate - exact) < 4.5 * variance * np.sqrt(2 / samples))


@pytest.mark.parametrize("boundary", ["periodic", "neumann", "dirichlet"])
def test_covariance_of_spectral_fields_is_the_sum_over_eigenfunctions(boundary):
    law = SpectralField(alpha=2.0, tau=3.0, sigma=1.7, boundary=boundary, constant=True, length=2.0)
    points, rng = 8, np.random.default_rng(0)
    fields = np.stack([law.sample(rng, (points,)) for _ in range(SAMPLES)])
    estimate = fields.T @ fields / SAMPLES

    if boundary == "periodic":
        x = np.arange(points) / points * 2.0
        waves = np.arange(-points // 2, points // 2)
        basis = np.exp(1j * np.pi * np.outer(x, waves)) / np.sqrt(2.0)
        frequencies = np.pi * waves
    else:
        x = (np.arange(points) + 0.5) / points * 2.0
        waves = np.arange(points) + (boundary == "dirichlet")
        function = np.cos if boundary == "neumann" else np.sin
        basis = function(np.pi / 2 * np.outer(x, waves)).astype(complex)
        basis /= np.sqrt((np.abs(basis) ** 2).mean(axis=0) * 2.0)
        frequencies = np.pi / 2 * waves
    exact = ((basis * (1.7**2 * (frequencies**2 + 9.0) ** -2.0)) @ basis.conj().T).real
    assert within_the_error_of_the_sample(estimate, exact, SAMPLES, exact.diagonal().max())


def test_variance_in_two_dimensions_is_the_sum_of_the_eigenvalues():
    law = SpectralField(alpha=2.5, tau=7.0)
    rng = np.random.default_rng(1)
    fields = np.stack([law.sample(rng, (12, 16)) for _ in range(1000)])
    one, two = np.meshgrid(np.fft.fftfreq(12, 1 / 12), np.fft.fftfreq(16, 1 / 16), indexing="ij")
    eigenvalues = 7.0**3 * (4 * np.pi**2 * (one**2 + two**2) + 49.0) ** -2.5
    exact = eigenvalues.sum() - eigenvalues[0, 0]
    assert abs(fields.mean(axis=(1, 2))).max() < 1e-14
    assert fields.var(axis=0).mean() == pytest.approx(exact, rel=0.03)


def test_spectral_fields_at_higher_resolution_have_the_same_variance():
    variances = [np.sum(SpectralField(3.0, 5.0).deviations((points,)) ** 2) for points in (32, 64, 128)]
    # the tail of the series falls off as points^-5
    assert abs(variances[1] - variances[2]) < abs(variances[0] - variances[1]) / 24


@pytest.mark.parametrize("covariance", ["cubic", "exponential", "gaussian"])
def test_stationary_fields_have_the_covariance_of_their_model(covariance):
    law = StationaryField(covariance, variance=1.5, length_scale=0.2)
    points, rng = 12, np.random.default_rng(2)
    pairs = [law.sample_pair(rng, points) for _ in range(SAMPLES // 2)]
    fields = np.concatenate([np.stack([pair[part] for pair in pairs]) for part in (0, 1)]).reshape(SAMPLES, -1)
    estimate = fields.T @ fields / SAMPLES
    x = np.stack(np.meshgrid(np.arange(points), np.arange(points), indexing="ij"), -1).reshape(-1, 2) / points
    distance = np.hypot(*np.moveaxis(x[:, None] - x[None], -1, 0))
    exact = 1.5 * correlation(covariance, distance / 0.2)
    # 20,000 entries: the largest of as many normal variables is below 4.5 deviations
    assert within_the_error_of_the_sample(estimate, exact, SAMPLES, 1.5)

    first, second = (np.stack([pair[part] for pair in pairs]).reshape(len(pairs), -1) for part in (0, 1))
    assert within_the_error_of_the_sample(first.T @ second / len(pairs), 0.0, len(pairs), 1.5)


def test_the_cubic_model_is_one_at_zero_and_leaves_smoothly_at_its_range():
    d = np.array([0.0, 0.5, 0.9999, 1.0, 2.0])
    values = correlation("cubic", d)
    assert values[0] == 1.0
    assert values[1] == pytest.approx(1 - 7 / 4 + 8.75 / 8 - 3.5 / 32 + 0.75 / 128, rel=1e-14)
    assert 0 <= values[2] < 1e-6
    assert np.all(values[3:] == 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -1.0, "tau": 3.0}, "alpha must be positive"),
        ({"alpha": 2.0, "tau": float("nan")}, "tau must be finite"),
        ({"alpha": 2.0, "tau": 0.0}, "sigma must be given"),
        ({"alpha": 2.0, "tau": 1.0, "boundary": "robin"}, "boundary='robin' is not known"),
        ({"alpha": 2.0, "tau": 0.0, "sigma": 1.0, "constant": True}, "infinite variance"),
    ],
)
def test_bad_settings_of_spectral_fields_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SpectralField(**settings)


def test_a_correlation_length_beyond_the_box_is_refused():
    with pytest.raises(ValueError, match="length_scale=50 is too long"):
        StationaryField("gaussian", length_scale=50.0).sample_pair(np.random.default_rng(0), 8)
