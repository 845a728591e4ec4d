"""What the two parts of an interval that is cut take from its own numbers and from fresh normals.

Closed forms, for one interval or an array of them. The paths that are drawn as they are asked for cut by them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["VARIANCES", "cut_weights"]

#: variances of (w, h, k) in an interval of length 1
VARIANCES = (1.0, 1 / 12, 1 / 720)


def cut_weights(left: Any, right: Any, count: int) -> np.ndarray:
    """Return the weights of a Brownian bridge's parts, given the whole.

    The numbers of both parts, scaled to variance 1, are a vector of ``2 count`` independent normals; those of the whole
    are ``count`` orthonormal combinations of it (Chen's identity, see `nde.solvers.brownian.chen.join`). Given these,
    it varies freely in the orthogonal complement, of which an orthonormal basis is written down here.

    Args:
        left, right: Lengths of the two parts, positive: numbers, or float64 arrays of one shape.
        count: How many of (w, h, k) there are.

    Returns:
        Shape ``(2 count, 2 count, *shape)``: rows are the numbers of the left part and then of the right one, columns
        the numbers of the whole and then the fresh normals.
    """
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    length = left + right
    u, v = left / length, right / length
    root_u, root_v = np.sqrt(u), np.sqrt(v)
    # columns are vectors of the space of both parts' normals, (w, h, k) of the left one and of the right one
    weights = np.zeros((2 * count, 2 * count, *length.shape))
    weights[0, 0], weights[count, 0] = root_u, root_v
    # what is orthogonal to that in the plane of both increments
    across = root_v, -root_u
    if count == 1:
        weights[0, 1], weights[1, 1] = across
    else:
        product = u * v
        mixed, h_left, h_right = np.sqrt(3.0 * product), u * root_u, v * root_v
        _put(weights[:, 1], across, mixed, h_left, h_right, count)
        # the rest of the space of (across, h, h)
        square = 1.0 - 3.0 * product  # u^3 + v^3
        size = np.sqrt(square)
        first = 0.0 * u, h_right / size, -h_left / size
        second = size, -mixed * h_left / size, -mixed * h_right / size
        if count == 2:
            _put(weights[:, 2], across, *first, count)
            _put(weights[:, 3], across, *second, count)
        else:
            _put_areas(weights, across, (first, second), (u, v, root_u, root_v, size))
    variances = np.array(VARIANCES[:count]).reshape(-1, *(1,) * length.ndim)
    weights *= np.sqrt(np.concatenate([left * variances, right * variances]))[:, None]
    weights[:, :count] /= np.sqrt(length * variances)
    return weights


def _put(column: np.ndarray, across: tuple[Any, Any], mixed: Any, h_left: Any, h_right: Any, count: int) -> None:
    """Write a vector, given its coordinates along ``across`` and the two space-time areas."""
    column[0], column[count] = mixed * across[0], mixed * across[1]
    column[1], column[count + 1] = h_left, h_right


def _put_areas(weights: np.ndarray, across: tuple[Any, Any], basis: tuple[Any, Any], parts: tuple[Any, ...]) -> None:
    """Write k's vector and the fresh ones of (w, h, k)."""
    first, second = basis
    u, v, root_u, root_v, size = parts
    product = u * v
    root = root_u * root_v
    # k of the whole, in the orthonormal basis of the two vectors and the two parts' k
    a = np.sqrt(15.0) * product * root / size
    b = np.sqrt(5.0) * root * (v - u) / size
    c, d = u * u * root_u, v * v * root_v
    # three unit vectors orthogonal to one of four dimensions: its products with the quaternions i, j, k
    for column, (one, two, three, four) in (
        (2, (a, b, c, d)),
        (3, (-b, a, -d, c)),
        (4, (-c, d, a, -b)),
        (5, (-d, -c, b, a)),
    ):
        mixed, h_left, h_right = (one * x + two * y for x, y in zip(first, second, strict=True))
        _put(weights[:, column], across, mixed, h_left, h_right, 3)
        weights[2, column], weights[5, column] = three, four
