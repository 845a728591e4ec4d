"""Direct solutions of five-point systems: both factorisations against a dense matrix made entry by entry."""

import numpy as np
import pytest

from nde.data import five_point
from nde.data.five_point import five_point_matrix, solve_five_point


def system(rows, columns):
    rng = np.random.default_rng(rows)
    down, right = -rng.random((rows - 1, columns)), -rng.random((rows, columns - 1))
    diagonal = 0.1 + rng.random((rows, columns))
    for coupling, axis in ((down, 0), (right, 1)):
        size = coupling.shape[axis]
        for start in (0, 1):
            np.moveaxis(diagonal, axis, 0)[start : start + size] -= np.moveaxis(coupling, axis, 0)
    return diagonal, down, right, rng.standard_normal((rows, columns))


def dense(diagonal, down, right):
    rows, columns = diagonal.shape
    matrix = np.diag(diagonal.ravel())
    for i in range(rows):
        for j in range(columns):
            here = i * columns + j
            if i + 1 < rows:
                matrix[here, here + columns] = matrix[here + columns, here] = down[i, j]
            if j + 1 < columns:
                matrix[here, here + 1] = matrix[here + 1, here] = right[i, j]
    return matrix


@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (3, 5), (12, 12), (9, 30), (30, 9)])
@pytest.mark.parametrize("widest_band", [0, 100])
def test_bands_and_nested_parts_give_the_solution_of_the_dense_system(shape, widest_band, monkeypatch):
    monkeypatch.setattr(five_point, "_WIDEST_BAND", widest_band)
    *entries, source = system(*shape)
    matrix = dense(*entries)
    assert np.array_equal(five_point_matrix(*entries).toarray(), matrix)
    expected = np.linalg.solve(matrix, source.ravel()).reshape(shape)
    np.testing.assert_allclose(solve_five_point(*entries, source), expected, rtol=1e-12, atol=1e-13)
