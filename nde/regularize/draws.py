"""Random numbers of a penalty's own, that a seed repeats and a count saves; and checks that its parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

__all__ = ["Draws", "check_choice", "check_count", "check_flag"]


class Draws:
    """Random numbers that depend on a seed and on how often they were asked for, and on nothing else.

    Args:
        seed: An integer that is not negative.

    Attributes:
        count: How often they were asked for.

    Raises:
        TypeError: The seed is no integer.
        ValueError: It is negative.
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed must be an integer, but is {seed!r}.")
        if seed < 0:
            raise ValueError(f"seed must be zero or positive, but is {seed}.")
        self.seed = seed
        self.count = 0

    def uniform(self, size: int | tuple[int, ...]) -> numpy.ndarray:
        """Draw numbers in [0, 1)."""
        return self._generator().random(size)

    def normal(self, size: int | tuple[int, ...]) -> numpy.ndarray:
        """Draw normal numbers."""
        return self._generator().standard_normal(size)

    def _generator(self) -> numpy.random.Generator:
        generator = numpy.random.default_rng((self.seed, self.count))
        self.count += 1
        return generator


def check_choice(value: Any, known: Sequence[str], name: str) -> None:
    """Raise ValueError unless a value is one of some names."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, but is {value!r}.")


def check_count(value: Any, name: str) -> None:
    """Raise unless a value is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but is {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, but is {value}.")


def check_flag(value: Any, name: str) -> None:
    """Raise TypeError unless a value is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but is {value!r}.")
