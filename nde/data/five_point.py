"""Direct solution of the five-point systems of elliptic equations in rectangles."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from nde.data.problem import Array

__all__ = ["five_point_matrix", "solve_five_point"]

# Up to this bandwidth, Cholesky's factorisation of the band is faster than that of nested parts: 3 and 5 ms on 64 x 64
# unknowns, 20 and 24 ms on 128 x 128.
_WIDEST_BAND = 128
# A part of this many unknowns or fewer is not cut further.
_SMALLEST_PART = 16


def solve_five_point(diagonal: Array, down: Array, right: Array, source: Array) -> Array:
    """Return the solution of a symmetric positive definite system that couples neighbours in a rectangle.

    Args:
        diagonal: Of the matrix, shape ``(rows, columns)``.
        down: Entries between an unknown and that of the next row, shape ``(rows - 1, columns)``.
        right: Entries between an unknown and that of the next column, shape ``(rows, columns - 1)``.
        source: Right-hand side, shape ``(rows, columns)``.

    Returns:
        Shape ``(rows, columns)``, float64.
    """
    if diagonal.shape[0] < diagonal.shape[1]:
        return solve_five_point(diagonal.T, right.T, down.T, source.T).T
    columns = diagonal.shape[1]
    if columns <= _WIDEST_BAND:
        return _solve_band(diagonal, down, right, source)
    order = _nested_parts(*diagonal.shape)
    matrix = five_point_matrix(diagonal, down, right)[order][:, order]
    # pivots stay on the diagonal, which dominates
    factors = sparse_linalg.splu(
        matrix.tocsc(),
        permc_spec="NATURAL",
        diag_pivot_thresh=0.0,
        relax=4,
        panel_size=4,
        options={"SymmetricMode": True},
    )
    solution = np.empty(diagonal.size)
    solution[order] = factors.solve(source.ravel().astype(np.float64)[order])
    return solution.reshape(diagonal.shape)


def five_point_matrix(diagonal: Array, down: Array, right: Array) -> Any:
    """Return the matrix of `solve_five_point`, in compressed sparse rows; unknowns are numbered along rows."""
    columns = diagonal.shape[1]
    between = np.zeros_like(diagonal)
    between[:, :-1] = right
    across = between.ravel()[:-1]
    entries = [diagonal.ravel(), down.ravel(), down.ravel(), across, across]
    return sparse.diags_array(entries, offsets=[0, columns, -columns, 1, -1], format="csr")


def _solve_band(diagonal: Array, down: Array, right: Array, source: Array) -> Array:
    rows, columns = diagonal.shape
    band = np.zeros((columns + 1, rows, columns))
    band[0] = diagonal
    band[1, :, :-1] = right
    if columns > 1:
        band[columns, :-1] = down
    else:
        band[1, :-1] += down
    solution = linalg.solveh_banded(
        band.reshape(columns + 1, -1), source.ravel(), lower=True, overwrite_ab=True, check_finite=False
    )
    return np.asarray(solution.reshape(rows, columns))


@lru_cache(maxsize=8)
def _nested_parts(rows: int, columns: int) -> NDArray[np.intp]:
    """Return the unknowns in the order of George's nested dissection: two halves, then the line between them."""
    parts: list[NDArray[np.intp]] = []

    def cut(part: NDArray[np.intp]) -> None:
        if part.size <= _SMALLEST_PART or max(part.shape) < 3:
            parts.append(part.ravel())
            return
        longer = part if part.shape[0] >= part.shape[1] else part.T
        middle = longer.shape[0] // 2
        cut(longer[:middle])
        cut(longer[middle + 1 :])
        parts.append(longer[middle])

    cut(np.arange(rows * columns).reshape(rows, columns))
    return np.concatenate(parts)
