"""What the normal numbers of a tree of Brownian bridges weigh in an interval: closed forms of exact covariances.

Given an interval's (w, h, k), the path's mean in it is a polynomial; a node's normals add to it one polynomial on each
half, with no increment and no areas over the whole node. Written with operators alone, so that floats, numpy arrays
(shared times) and tensors (times per row) go through the same lines and round alike. The trees use it.
"""

from __future__ import annotations

import math
from typing import Any

from nde.solvers.brownian.chen import root

__all__ = ["leaf_weights", "mean_weights", "part_weights", "prefix_weights"]

# What a node's normals add to (w, h, k) of its halves, for a node of length 1: per normal (w, h, h', k, k'), where w,
# h' and k' have opposite signs in the two halves, and h and k the same. Whitened, with sums (s) and differences (a) of
# the halves, h of the node is 1/2 hs + sqrt(3)/2 wa and its k is 1/4 ks + sqrt(15)/4 ha (Chen's identity at the
# middle); the normals span what is orthogonal to that. For (w) and (w, h) the parts that no longer meet a condition are
# free. Jelincic, Foster, Kidger (2024), "Single-seed generation of Brownian paths and integrals for adaptive and high
# order SDE solvers", derive the same laws.
_SPLITS: dict[int, tuple[tuple[float, float, float, float, float], ...]] = {
    1: ((1 / 2, 0.0, 0.0, 0.0, 0.0),),
    2: ((1 / 4, -1 / 8, 0.0, 0.0, 0.0), (0.0, 0.0, 1 / math.sqrt(48), 0.0, 0.0)),
    3: (
        (1 / 4, -1 / 8, 0.0, 0.0, 0.0),
        (0.0, 0.0, 1 / math.sqrt(768), -math.sqrt(3) / 96, 0.0),
        (0.0, 0.0, 0.0, 0.0, 1 / math.sqrt(2880)),
    ),
}
# run backwards, a node's halves change places: the same addition, with the normal's sign turned or not
_TURNED = (-1.0, 1.0, -1.0)


def _cubic(w: Any, h: Any, k: Any) -> tuple[Any, Any, Any]:
    """Return the coefficients of ``x, x^2, x^3`` of the path's mean given (w, h, k), on a unit interval."""
    return w + 6.0 * h + 60.0 * k, -6.0 * h - 180.0 * k, 120.0 * k


def _part(cubic: tuple[Any, Any, Any], start: Any, length: Any, count: int) -> list[Any]:
    """Return (w, h, k) of a cubic on ``[start, start + length]``: differences of its values would lose digits."""
    first, second, third = cubic
    slope = length * (first + start * (2.0 * second + 3.0 * third * start))
    square = length * length * (second + 3.0 * third * start)
    cube = length * length * length * third
    return [slope + square + cube, square * (-1 / 6) - cube * (1 / 4), cube * (1 / 120)][:count]


def mean_weights(start: Any, length: Any, count: int) -> list[list[Any]]:
    """Return what (w, h, k) of a unit interval weigh in those of a part of it: ``[condition][value]``."""
    unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    return [_part(_cubic(*unit[condition]), start, length, count) for condition in range(count)]


def part_weights(sign: Any, start: Any, length: Any, count: int) -> list[list[Any]]:
    """Return what a node's normals weigh in a part of one of its halves: ``[normal][value]``, node of length 1.

    Args:
        sign: 1 for the left half, -1 for the right one.
        start, length: The part, in units of the half.
        count: How many of (w, h, k) there are.
    """
    weights = []
    for w, h, h_turning, k, k_turning in _SPLITS[count]:
        cubic = _cubic(sign * w, h + sign * h_turning, k + sign * k_turning)
        weights.append(_part(cubic, start, length, count))
    return weights


def prefix_weights(right: Any, x: Any, ratio: Any, count: int, turned: bool) -> list[list[Any]]:
    """Return what a node's normals weigh in an interval that ends inside it: ``[normal][value]``, node of length 1.

    Args:
        right: 1 where the end lies in the right half, 0 where in the left one.
        x: Where it lies, in units of that half.
        ratio: The node's length in units of the interval, which begins at the node's start or before.
        count: How many of (w, h, k) there are.
        turned: The interval begins inside the node instead, and all is seen from its end, backwards.
    """
    weights = []
    sign = 1.0 - 2.0 * right
    for normal, (w, h_same, h_turning, k_same, k_turning) in enumerate(_SPLITS[count]):
        first, second, third = _cubic(sign * w, h_same + sign * h_turning, k_same + sign * k_turning)
        value = right * w + x * (first + x * (second + x * third))
        values = [value]
        if count > 1:
            h = h_same + h_turning
            left = 0.5 * h + 0.25 * w
            once = right * (left + (0.5 * w) * x)
            once = ratio * (once + x * x * (first * (1 / 4) + x * (second * (1 / 6) + x * third * (1 / 8))))
            values.append(once - 0.5 * value)
        if count > 2:
            left_twice = 0.25 * (k_same + k_turning) + 0.125 * h + (1 / 24) * w
            twice = right * (left_twice + x * (0.5 * left + (0.125 * w) * x))
            cubed = first * (1 / 24) + x * (second * (1 / 48) + x * third * (1 / 80))
            twice = ratio * ratio * (twice + x * x * x * cubed)
            values.append(twice - 0.5 * once + value * (1 / 12))
        if turned:
            factor = _TURNED[normal]
            values = [value * (-factor if order == 1 else factor) for order, value in enumerate(values)]
        weights.append(values)
    return weights


def leaf_weights(near: Any, side: Any, count: int) -> list[list[Any]]:
    """Return what a leaf's normals weigh in the path's value and integrals from the leaf's start: ``[normal][order]``.

    The order 0 is the value less its mean given the leaf, 1 its integral, 2 the integral of that; leaf of length 1.
    Their
    covariance at one time is exact: that of Brownian motion less that of the mean. Two times of one leaf share the
    normals, so that the path is smooth there instead of rough.

    Args:
        near: The time's distance from the leaf's nearer end, positive: near that end nothing is lost to cancellation.
        side: 1 where that is the leaf's start, -1 where its end: seen from there, the integral has the other sign.
        count: How many of (w, h, k) the leaf is given.
    """
    d = near
    d2 = d * d
    d3 = d2 * d
    # mean of (value, integral, integral of the integral) by unit of each whitened condition
    means = [(d, d2 * (1 / 2), d3 * (1 / 6))]
    if count > 1:
        factor = math.sqrt(3)
        means.append((factor * (d - d2), factor * (d2 * (1 / 2) - d3 * (1 / 3)), factor * d3 * (1 / 6 - d * (1 / 12))))
    if count > 2:
        factor = math.sqrt(5)
        means.append(
            (
                factor * (d - 3.0 * d2 + 2.0 * d3),
                factor * d2 * (0.5 - d + d2 * 0.5),
                factor * d3 * (1 / 6 - d * (1 / 4) + d2 * (1 / 10)),
            )
        )
    prior = ((d,), (d2 * (1 / 2), d3 * (1 / 3)), (d3 * (1 / 6), d2 * d2 * (1 / 8), d2 * d3 * (1 / 20)))
    rows: list[list[Any]] = []
    for order in range(count):
        row: list[Any] = []
        for column in range(order + 1):
            rest = prior[order][column]
            for mean in means:
                rest = rest - mean[order] * mean[column]
            for earlier in range(column):
                rest = rest - (row[earlier] * rows[column][earlier] if column < order else row[earlier] * row[earlier])
            row.append(root(rest) if column == order else rest / rows[column][column])
        rows.append(row)
    zero = d * 0.0
    weights = []
    for normal in range(count):
        values = [rows[order][normal] if normal <= order else zero for order in range(count)]
        weights.append([value * side if order == 1 else value for order, value in enumerate(values)])
    return weights
