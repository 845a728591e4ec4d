"""ConDiff: the matrix entry by entry, its order of convergence, the contrast and the laws of its fields."""

import numpy as np
import pytest
from scipy.sparse.linalg import spsolve

from nde.data import ConDiff, condiff_matrix, contrast, draw_sample, generate
from tests.data.convergence import orders


def entry_by_entry(k):
    """Assemble the published discretisation from its definition, one face at a time."""
    n = len(k) - 1
    matrix = np.zeros((n * n, n * n))
    for i in range(n):
        for j in range(n):
            row = i + j * n
            matrix[row, row] = (k[i, j] + k[i, j + 1] + k[i + 1, j] + k[i + 1, j + 1]) * (n + 1) ** 2
            if i + 1 < n:
                face = -(0.5 * (k[i + 1, j] + k[i + 1, j + 1])) * (n + 1) ** 2
                matrix[row, row + 1] = matrix[row + 1, row] = face
            if j + 1 < n:
                face = -(0.5 * (k[i, j + 1] + k[i + 1, j + 1])) * (n + 1) ** 2
                matrix[row, row + n] = matrix[row + n, row] = face
    return matrix


@pytest.mark.parametrize("n", [2, 3, 9])
def test_the_matrix_is_the_published_one_bit_for_bit(n):
    k = np.exp(3 * np.random.default_rng(n).standard_normal((n + 1, n + 1)))
    matrix = condiff_matrix(k)
    assert matrix.format == "csc"
    assert np.array_equal(matrix.toarray(), entry_by_entry(k))
    assert matrix.nnz == 5 * n * n - 4 * n


def test_the_discretisation_has_order_two():
    errors = []
    for n in (15, 31, 63):
        corner = (np.arange(n + 1) + 0.5) / (n + 1)
        node = np.arange(1, n + 1) / (n + 1)
        x, y = np.meshgrid(node, node, indexing="ij")
        k = np.exp(corner[:, None]) * (2 + corner[None, :])
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        a, a_y = np.exp(x) * (2 + y), np.exp(x)
        u_x = np.pi * np.cos(np.pi * x) * np.sin(2 * np.pi * y)
        u_y = 2 * np.pi * np.sin(np.pi * x) * np.cos(2 * np.pi * y)
        source = -(a * u_x + a_y * u_y - a * 5 * np.pi**2 * u)
        found = spsolve(condiff_matrix(k), source.ravel(order="F")).reshape(n, n, order="F")
        errors.append(np.abs(found - u).max())
    assert np.abs(orders(errors) - 2).max() < 0.15


@pytest.mark.parametrize(
    ("variance", "lowest", "highest"), [(0.1, 5, 15), (0.4, 50, 250), (1.0, 600, 1000), (2.0, 8e4, 1e5)]
)
@pytest.mark.parametrize("covariance", ["cubic", "exponential", "gaussian"])
def test_samples_of_every_model_and_variance_solve_their_system_with_a_contrast_in_the_published_range(
    covariance, variance, lowest, highest
):
    data = generate(ConDiff(64, covariance, variance), 2, dtype=np.float64, progress=False)
    values = contrast(data["coefficient"][:, 0])
    assert np.all((values >= lowest) & (values <= highest * (1 + 1e-12)))
    for (k,), (f,), (u,) in zip(data["coefficient"], data["source"], data["solution"], strict=True):
        matrix = condiff_matrix(k)
        # as exact as a factorisation is: rounding of the largest entries
        assert np.abs(matrix @ u.ravel(order="F") - f.ravel(order="F")).max() < 1e-14 * np.abs(matrix).max()


def test_samples_solve_the_published_system():
    sample = draw_sample(ConDiff(64, "cubic", 2.0), 1)
    k, f, u = (sample[name][0] for name in ("coefficient", "source", "solution"))
    assert 8e4 <= contrast(k) <= 1e5
    residual = condiff_matrix(k) @ u.ravel(order="F") - f.ravel(order="F")
    assert np.abs(residual).max() < 1e-9
    assert f.std() == pytest.approx(1, abs=4.5 / np.sqrt(2 * f.size))


def test_fields_have_the_correlation_length_of_the_published_ones():
    # one tenth of a side is two correlation lengths: exp(-2) for the exponential model, almost nothing for the others
    problem = ConDiff(39, "exponential", 0.5, contrast_range=(1.0, 1e9))
    data = generate(problem, 200, dtype=np.float64, progress=False)
    field = np.log(data["coefficient"][:, 0])
    assert field.var() == pytest.approx(0.5, rel=0.05)
    lagged = (field[:, 4:] * field[:, :-4]).mean() / (field**2).mean()
    assert lagged == pytest.approx(np.exp(-2), abs=0.02)


def test_poisson_problems_have_coefficient_one():
    sample = draw_sample(ConDiff(16, "constant"), 0)
    assert np.all(sample["coefficient"] == 1)
    assert sample["coefficient"].shape == (1, 17, 17)
    matrix = condiff_matrix(sample["coefficient"][0])
    assert matrix[0, 0] == 4 * 17**2 and matrix[0, 1] == -(17**2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variance": 0.7}, "variance=0.7 has no published range of contrast"),
        ({"covariance": "spherical"}, "covariance='spherical' is not known"),
        ({"contrast_range": (10.0, 5.0)}, r"contrast_range\[1\] must be at least 10"),
        ({"contrast_range": (0.5, 5.0)}, r"contrast_range\[0\] must be at least 1"),
        ({"points": 1}, "points must be at least 2"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ConDiff(**settings)


def test_bad_coefficients_are_refused():
    with pytest.raises(ValueError, match=r"shape \(n \+ 1, n \+ 1\), but has \(4, 5\)"):
        condiff_matrix(np.ones((4, 5)))
    with pytest.raises(ValueError, match="coefficient must be positive"):
        contrast(np.zeros((3, 3)))
