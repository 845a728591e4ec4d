"""The weights of the trees against exact covariances: sums of squares instead of samples."""

import math
import random

import numpy as np
import pytest

from nde.solvers.brownian.bridge import leaf_weights, mean_weights
from nde.solvers.brownian.chen import join, join_weights
from nde.solvers.brownian.weights import LEAF_BITS, levels_of, row_weights, span_weights

VARIANCES = np.array([1.0, 1 / 12, 1 / 720])
DEPTH = 8
QUANTA = 1 << (DEPTH + LEAF_BITS)


def constants(depth=DEPTH):
    levels = np.arange(depth + 1)
    return 2.0 ** (-0.5 * levels), np.int64(1) << (depth + LEAF_BITS - levels)


def covariance(start, end, count):
    """Return the covariance of (w, h, k) of a part of a cell of length 1, by what it is a weighted sum of."""
    weights = span_weights(start, end, DEPTH, count, *constants())
    mean = np.array(weights.mean, dtype=float)
    total = mean.T @ np.diag(VARIANCES[:count]) @ mean
    for table in (weights.end, weights.start):
        total += np.einsum("lcv,lcw->vw", table, table)
    return total


def intervals():
    source = random.Random(1)
    for _ in range(60):
        yield tuple(sorted(source.sample(range(QUANTA + 1), 2)))
    leaf = 1 << LEAF_BITS
    for start, end in ((0, 256), (0, 1), (1, 2), (127, 129), (3, 256), (64, 192), (100, 101), (255, 256), (0, 128)):
        yield start * leaf, end * leaf  # between nodes
    for start, end in ((0, 1), (0, leaf // 2), (leaf // 3, 5 * leaf), (leaf - 1000, leaf), (7 * leaf, 9 * leaf - 1)):
        yield start, end  # an end inside a leaf


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_numbers_of_any_interval_have_the_exact_covariance(count):
    for start, end in intervals():
        if count == 3 and end - start < 10:
            continue  # K of a millionth of a leaf: see the next test
        length = (end - start) / QUANTA
        expected = np.diag(VARIANCES[:count] * length)
        # some 20 terms of the size of the interval's own variance
        assert np.abs(covariance(start, end, count) - expected).max() < 1e-13 * length + 1e-19, (start, end)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_interval_of_one_quantum_at_a_leaf_s_start_keeps_its_variance(count):
    scale = np.diag(1 / np.sqrt(VARIANCES[:count] / QUANTA))
    # the integrals of so short a time are differences of numbers that are as much larger as the leaf is longer
    assert np.abs(scale @ covariance(0, 1, count) @ scale - np.eye(count)).max() < 1e-3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_weights_of_a_split_interval_join_to_those_of_the_whole(count):
    source = random.Random(2)
    for _ in range(30):
        start, middle, end = sorted(source.sample(range(QUANTA + 1), 3))
        parts = []
        for first, last in ((start, middle), (middle, end), (start, end)):
            weights = span_weights(first, last, DEPTH, count, *constants())
            nodes = {("cell", c): np.array(weights.mean[c], dtype=float) for c in range(count)}
            ways = ((last - 1, 0, weights.end), (first, weights.start_from, weights.start))
            for place, begin, table in ways:
                for level in range(table.shape[0]):
                    for c in range(count):
                        key = begin + level, (place >> LEAF_BITS) >> (DEPTH - begin - level), c
                        nodes[key] = nodes.get(key, 0.0) + table[level, c]
            parts.append(nodes)
        prepared = join_weights((middle - start) / (end - start), count)
        for key in set().union(*parts):
            left, right, whole = (np.zeros(count) + nodes.get(key, 0.0) for nodes in parts)
            assert np.abs(np.array(join(left, right, prepared)) - whole).max() < 1e-13, key  # weights are up to 60


def test_the_mean_given_the_conditions_is_the_gaussian_regression():
    # E[W(x) | w, h, k] from the covariances of W(x) with w, h and k, which follow from min(x, y) by integration
    for x in (0.1, 0.5, 0.83):
        with_w = x
        with_h = (x - x * x / 2) - x / 2
        expected = [with_w, with_h / VARIANCES[1], _covariance_with_k(x) / VARIANCES[2]]
        weights = mean_weights(0.0, x, 3)
        assert [weights[condition][0] for condition in range(3)] == pytest.approx(expected, abs=1e-12)


def _covariance_with_k(x):
    # K is the integral of (W(u) - u W(1)) (1/2 - u): integrate (min(x, u) - u x) (1/2 - u)
    below = x * x * (1 - x) / 4 - x**3 * (1 - x) / 3
    above = x * (0.5 * (1 - x) - 0.75 * (1 - x * x) + (1 - x**3) / 3)
    return below + above


def test_the_leaf_s_weights_have_the_covariance_of_the_bridge():
    for x in (0.25, 0.01, 0.5):
        weights = np.array(leaf_weights(x, 1.0, 1))
        assert weights[0, 0] ** 2 == pytest.approx(x * (1 - x), rel=1e-14)
        with_h = np.array(leaf_weights(x, 1.0, 2))
        # W(x) less its mean given w and h: x (1 - x) less the variance of 6 x (1 - x) h
        assert (with_h[:, 0] ** 2).sum() == pytest.approx(x * (1 - x) - 36 * (x * (1 - x)) ** 2 / 12, rel=1e-12)
        with_k = np.array(leaf_weights(x, 1.0, 3))
        third = (60 * x * (1 - x) * (1 - 2 * x)) ** 2 / 720
        expected = x * (1 - x) - 3 * (x * (1 - x)) ** 2 - third
        assert (with_k[:, 0] ** 2).sum() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_weights_per_row_are_bit_for_bit_those_of_each_row(count):
    places = [*intervals(), (5, 9), (0, QUANTA), (QUANTA - 3, QUANTA)]
    start, end = (np.array(column) for column in zip(*places, strict=True))
    scales, sizes = constants()
    rows = row_weights(start, end, DEPTH, count, scales, sizes, DEPTH + 1)
    for row, place in enumerate(places):
        alone = span_weights(*place, DEPTH, count, scales, sizes)
        padded = np.zeros((2, DEPTH + 1, count, count))
        padded[0, : alone.end.shape[0]] = alone.end
        padded[1, alone.start_from : alone.start_from + alone.start.shape[0]] = alone.start
        assert np.array_equal(padded[0], rows.end[..., row])
        assert np.array_equal(padded[1], rows.start[..., row])
        for condition in range(count):
            for value in range(condition + 1):
                assert float(alone.mean[condition][value]) == float(rows.mean[condition][value][row])


@pytest.mark.parametrize("level", range(DEPTH + 1))
def test_levels_below_all_ends_have_no_weights(level):
    node, source = 1 << (DEPTH + LEAF_BITS - level), random.Random(level)
    cuts = [sorted(source.sample(range((1 << level) + 1), 2)) for _ in range(20)]
    start, end = (np.array(column) * node for column in zip(*cuts, strict=True))
    levels = levels_of(start, end, DEPTH)
    assert levels <= level
    whole, part = (row_weights(start, end, DEPTH, 2, *constants(), number) for number in (DEPTH + 1, levels))
    for wide, narrow in ((whole.end, part.end), (whole.start, part.start)):
        assert np.array_equal(wide[:levels], narrow) and not wide[levels:].any()


def test_chen_s_identity_of_a_polynomial_path():
    # f = x^3 - 2 x^2 + x / 2 on [0, 1], cut at 0.3: (w, h, k) by exact integration of polynomials
    polynomial = np.polynomial.Polynomial([0, 0.5, -2.0, 1.0])

    def numbers(start, end):
        length = end - start
        part = polynomial(np.polynomial.Polynomial([start, length])) - polynomial(start)
        line = np.polynomial.Polynomial([0, part(1.0)])
        area = (part - line).integ()(1.0)
        return part(1.0), area, ((part - line) * np.polynomial.Polynomial([0.5, -1])).integ()(1.0)

    joined = join(numbers(0, 0.3), numbers(0.3, 1), join_weights(0.3, 3))
    assert joined == pytest.approx(numbers(0, 1), abs=1e-15)
    assert math.isclose(numbers(0, 1)[0], -0.5)
