"""Signatures and log-signatures of paths of straight pieces, in the truncated tensor algebra.

An element of the algebra without constant term is a list of its levels; level ``n`` has one number for each word of
``n`` channels, in lexicographic order, along its last axis. Everything is computed for all paths of a batch at once,
with a loop over the levels alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["log_signature", "lyndon_words", "signature", "split_levels", "word_coefficients"]

Levels = list[Tensor]


def signature(increments: Tensor, depth: int) -> Levels:
    """Return the iterated integrals of paths of straight pieces.

    Those of a piece are powers of its increment over factorials; Chen's identity joins the pieces: the sums over those
    that came before are cumulative ones.

    Args:
        increments: Increments of the pieces, shape ``(..., pieces, channels)``; zero for pieces that there are not.
        depth: Number of levels.

    Returns:
        Level ``n`` of shape ``(..., channels ** n)``: ``int_(u1 < ... < un) dX dX ... dX`` for the words of length
        ``n``.

    Raises:
        TypeError: The depth is no integer.
        ValueError: It is not positive.
    """
    if isinstance(depth, bool) or not isinstance(depth, int):
        raise TypeError(f"depth must be an integer, but is {depth!r}.")
    if depth < 1:
        raise ValueError(f"depth must be at least 1, but is {depth}.")
    powers = [increments]
    for level in range(2, depth + 1):
        powers.append(_outer(powers[-1], increments) / level)
    before: Levels = []  # each level up to the beginning of every piece
    whole: Levels = []
    for level in range(depth):
        gained = powers[level]
        for lower in range(level):
            gained = gained + _outer(before[lower], powers[level - 1 - lower])
        reached = gained.cumsum(-2)
        before.append(reached - gained)
        whole.append(reached[..., -1, :])
    return whole


def log_signature(increments: Tensor, depth: int) -> Levels:
    """Return the logarithm of the signature in the tensor algebra: ``s - s s / 2 + s s s / 3 - ...``.

    Args:
        increments, depth: See `signature`.

    Returns:
        Levels of the shapes that `signature` has; level 1 is the increment, level 2 the signed areas.
    """
    whole = signature(increments, depth)
    found = [level / depth for level in whole]
    for power in range(depth - 1, 0, -1):  # Horner's scheme
        product = _product(whole, found)
        found = [level / power - other for level, other in zip(whole, product, strict=True)]
    return found


def split_levels(joined: Tensor, channels: int) -> Levels:
    """Return the levels of an element whose levels were joined along the last axis."""
    levels, start, size = [], 0, channels
    while start < joined.shape[-1]:
        levels.append(joined[..., start : start + size])
        start, size = start + size, size * channels
    return levels


@functools.cache
def lyndon_words(channels: int, depth: int) -> tuple[tuple[int, ...], ...]:
    """Return the Lyndon words up to a length: those that are smaller than all of their rotations.

    They are ordered by length, and lexicographically among those of one length. Duval (1988), Theor. Comput. Sci. 60.
    """
    words: list[tuple[int, ...]] = []
    word = [-1]
    while word:
        word[-1] += 1
        words.append(tuple(word))
        period = len(word)
        while len(word) < depth:
            word.append(word[-period])
        while word and word[-1] == channels - 1:
            word.pop()
    return tuple(sorted(words, key=lambda one: (len(one), one)))


def word_coefficients(levels: Sequence[Tensor]) -> Tensor:
    """Return the coefficients of the Lyndon words, which determine an element of the free Lie algebra.

    Args:
        levels: Levels of a log-signature.

    Returns:
        Shape ``(..., words)``, in the order of `lyndon_words`.
    """
    channels = levels[0].shape[-1]
    places: list[list[int]] = [[] for _ in levels]
    for word in lyndon_words(channels, len(levels)):
        places[len(word) - 1].append(functools.reduce(lambda number, letter: number * channels + letter, word, 0))
    pairs = zip(levels, places, strict=True)
    # one channel has no words but its own
    return torch.cat([level[..., torch.tensor(some, device=level.device)] for level, some in pairs if some], -1)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return the products of all words of one factor with those of the other."""
    return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)


def _product(left: Levels, right: Levels) -> Levels:
    """Return the product of two elements without constant terms, as far as the levels go."""
    found = [torch.zeros_like(left[0])]
    for level in range(1, len(left)):
        terms = [_outer(left[lower], right[level - 1 - lower]) for lower in range(level)]
        found.append(torch.stack(terms).sum(0))
    return found
