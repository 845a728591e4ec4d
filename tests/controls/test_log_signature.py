"""Signatures and log-signatures are those of an independent representation, and of hand-computed paths."""

from __future__ import annotations

import itertools

import numpy
import pytest
import scipy.linalg
import torch
from torch import Tensor

from nde.controls import LinearPath, LogSignaturePath, log_signature, lyndon_words, signature, word_coefficients
from tests.problems import double


def words(channels: int, depth: int) -> list[tuple[int, ...]]:
    return [word for length in range(depth + 1) for word in itertools.product(range(channels), repeat=length)]


def letters(channels: int, depth: int) -> numpy.ndarray:
    """Return matrices that append a letter to a word, a faithful representation of the truncated tensor algebra."""
    place = {word: index for index, word in enumerate(words(channels, depth))}
    matrices = numpy.zeros((channels, len(place), len(place)))
    for word, index in place.items():
        for letter in range(channels):
            longer = place.get((*word, letter))
            if longer is not None:
                matrices[letter, index, longer] = 1
    return matrices


@pytest.mark.parametrize(("channels", "depth"), [(1, 4), (2, 1), (2, 4), (3, 3), (4, 2)])
def test_they_are_those_of_products_of_matrix_exponentials(channels: int, depth: int) -> None:
    generator = torch.Generator().manual_seed(0)
    increments = torch.randn(5, channels, generator=generator, dtype=torch.float64)
    matrices = letters(channels, depth)
    product = numpy.eye(matrices.shape[1])
    for increment in increments.numpy():
        product = product @ scipy.linalg.expm(numpy.tensordot(increment, matrices, 1))
    nilpotent = product - numpy.eye(len(product))
    logarithm, power = numpy.zeros_like(product), numpy.eye(len(product))
    for number in range(1, depth + 1):
        power = power @ nilpotent
        logarithm += (-1) ** (number + 1) / number * power
    for levels, expected in ((signature(increments, depth), product), (log_signature(increments, depth), logarithm)):
        found = torch.cat(levels, -1)
        torch.testing.assert_close(found, torch.from_numpy(expected[0, 1:]), rtol=1e-12, atol=1e-12)
    coefficients = dict(zip(words(channels, depth)[1:], torch.cat(log_signature(increments, depth)), strict=True))
    lyndon = torch.stack([coefficients[word] for word in lyndon_words(channels, depth)])
    torch.testing.assert_close(word_coefficients(log_signature(increments, depth)), lyndon, rtol=0, atol=0)


def test_two_pieces_obey_the_formula_of_baker_campbell_and_hausdorff() -> None:
    a, b = double(0.3, -1.2), double(0.7, 0.4)

    def bracket(left: Tensor, right: Tensor) -> Tensor:
        return left[(...,) + (None,) * right.dim()] * right - right[(...,) + (None,) * left.dim()] * left

    first, second, third = log_signature(torch.stack([a, b]), 3)
    torch.testing.assert_close(first, a + b)
    torch.testing.assert_close(second, 0.5 * bracket(a, b).flatten())
    expected = (bracket(a, bracket(a, b)) + bracket(b, bracket(b, a))) / 12
    torch.testing.assert_close(third, expected.flatten())


def test_second_level_of_a_square_is_the_area_that_it_encloses() -> None:
    corners = double([0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [0.0, 3.0], [0.0, 0.0])
    first, second = log_signature(corners.diff(dim=0), 2)
    torch.testing.assert_close(first, double(0.0, 0.0))
    torch.testing.assert_close(second, double(0.0, 6.0, -6.0, 0.0))


@pytest.mark.parametrize(("channels", "depth", "count"), [(1, 5, 1), (2, 4, 8), (3, 3, 14), (5, 2, 15)])
def test_number_of_lyndon_words_is_witt_s(channels: int, depth: int, count: int) -> None:
    found = lyndon_words(channels, depth)
    assert len(found) == count == len(set(found))
    assert list(found) == sorted(found, key=lambda word: (len(word), word))
    for word in found:
        assert all(word < word[place:] + word[:place] for place in range(1, len(word)))


def test_derivatives_are_those_of_finite_differences() -> None:
    increments = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.cat(log_signature(x, 3), -1), increments)


def test_windows_hold_the_log_signatures_of_their_pieces_between_observations_too() -> None:
    x = torch.randn(4, 6, 2, dtype=torch.float64)
    times = double(0.0, 0.5, 0.7, 1.5, 2.0, 3.0)
    knots = double(0.0, 0.7, 1.0, 2.2, 3.0)
    path = LogSignaturePath(x, times, depth=3, windows=knots)
    straight = LinearPath(x, times)
    assert path.depth == 3 and path.channels == 2 and path.jump_ts == [0.7, 1.0, 2.2]
    for begin, end in itertools.pairwise(knots.tolist()):
        inner = times[(times > begin) & (times < end)]
        corners = straight.evaluate(torch.cat([double(begin), inner, double(end)]))
        expected = torch.cat(log_signature(corners.diff(dim=-2), 3), -1) / (end - begin)
        torch.testing.assert_close(path.derivative((begin + end) / 2), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(path.evaluate(knots), straight.evaluate(knots))
    middle = (straight.evaluate(0.7) + straight.evaluate(1.0)) / 2
    torch.testing.assert_close(path.evaluate(0.85), middle)


def test_a_number_of_pieces_makes_windows_of_that_many_and_a_rest() -> None:
    x = torch.randn(8, 3, dtype=torch.float64)
    path = LogSignaturePath(x, depth=2, windows=3)
    assert path.times.tolist() == [0.0, 3.0, 6.0, 7.0]
    expected = torch.cat(log_signature(x[6:].diff(dim=0), 2))
    torch.testing.assert_close(path.derivative(6.5), expected)
    apart = LogSignaturePath(x, torch.arange(16, dtype=torch.float64)[::2] / 2, depth=2, windows=3)
    torch.testing.assert_close(apart.coefficients, path.coefficients, rtol=0, atol=0)  # times that a channel holds
    whole = LogSignaturePath(x, depth=2, windows=100)
    torch.testing.assert_close(whole.derivative(1.0), torch.cat(log_signature(x.diff(dim=0), 2)) / 7)


def test_missing_values_are_those_of_straight_lines() -> None:
    x = torch.randn(3, 7, 2, dtype=torch.float64)
    x[0, 2, 1] = x[1, 0, 0] = x[2, 6, 1] = torch.nan
    filled = LinearPath(x).coefficients
    found, expected = (LogSignaturePath(data, depth=2, windows=3) for data in (x, filled))
    torch.testing.assert_close(found.coefficients, expected.coefficients, rtol=0, atol=0)


def test_coefficients_can_be_kept_and_batched() -> None:
    x = torch.randn(5, 6, 2)
    path = LogSignaturePath(x, depth=3, windows=2)
    part = LogSignaturePath.from_coefficients(path.coefficients[1:3], path.times, channels=2)
    assert part.depth == 3
    torch.testing.assert_close(part.derivative(3.0), path.derivative(3.0)[1:3])
    torch.testing.assert_close(part.evaluate(3.0), path.evaluate(3.0)[1:3])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: LogSignaturePath(x, depth=0), ValueError, "depth must be at least 1"),
        (lambda x: LogSignaturePath(x, depth=2.0), TypeError, "depth must be an integer"),
        (lambda x: LogSignaturePath(x, windows=0), ValueError, "windows must be at least 1"),
        (lambda x: LogSignaturePath(x, windows=1.5), TypeError, "windows must be an integer or a sequence"),
        (lambda x: LogSignaturePath(x, windows=(0.0, 2.0)), ValueError, "windows must go from the first to the last"),
        (lambda x: LogSignaturePath(x, windows=(0.0, 2.0, 1.0, 3.0)), ValueError, "strictly increasing"),
        (lambda x: LogSignaturePath.from_coefficients(x), TypeError, "channels must be an integer"),
        (lambda x: LogSignaturePath.from_coefficients(x, channels=2), ValueError, "windows, channels"),
        (lambda x: LogSignaturePath.from_coefficients(3, channels=2), TypeError, "coefficients must be a tensor"),
    ],
)
def test_wrong_arguments_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call(torch.randn(4, 2))
