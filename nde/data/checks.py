"""Checks of the settings of problems, before any work is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["check_choice", "check_count", "check_number", "check_positive"]


def check_count(value: Any, name: str, minimum: int = 1, maximum: int | None = None) -> None:
    """Raise unless ``value`` is an integer in a range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but is {value!r}.")
    if value < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise ValueError(f"{name} must be {limits}, but is {value}.")


def check_number(value: Any, name: str, minimum: float = -math.inf) -> None:
    """Raise unless ``value`` is a finite number, ``minimum`` or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, but is {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, but is {value}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum:g}, but is {value}.")


def check_positive(value: Any, name: str) -> None:
    """Raise unless ``value`` is a finite number above zero."""
    check_number(value, name)
    if value <= 0:
        raise ValueError(f"{name} must be positive, but is {value}.")


def check_choice(value: Any, known: Sequence[str], name: str) -> None:
    """Raise ValueError unless ``value`` is one of some names."""
    if value not in known:
        raise ValueError(f"{name}={value!r} is not known. Choose one of: {', '.join(map(repr, known))}.")
