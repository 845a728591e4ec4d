"""Checks of settings, before any work is done."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["check_activation", "check_count", "check_dims", "check_flags", "check_numbers", "check_radius"]


def check_count(value: Any, name: str, least: int = 1) -> None:
    """Raise unless a setting is an integer of at least some size.

    Raises:
        TypeError: It is no integer.
        ValueError: It is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but is {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, but is {value}.")


def check_dims(dims: Any) -> None:
    """Raise unless a domain has 1, 2 or 3 dimensions."""
    check_count(dims, "dims")
    if dims > 3:
        raise ValueError(f"dims must be 1, 2 or 3, but is {dims}.")


def check_activation(value: Any) -> None:
    """Raise TypeError unless an activation can be called."""
    if not callable(value):
        raise TypeError(f"activation must be a function such as torch.nn.functional.gelu, but is {value!r}.")


def check_numbers(value: Any, name: str, positive: bool = False) -> None:
    """Raise unless a setting is one finite number or one for each axis.

    Raises:
        TypeError: One is no number.
        ValueError: One is not finite, or not positive.
    """
    for number in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise TypeError(f"{name} must be a number, or one for each axis, but is {value!r}.")
        if not math.isfinite(number) or (positive and number <= 0):
            raise ValueError(f"{name} must be {'positive and ' if positive else ''}finite, but is {value}.")


def check_flags(value: Any, name: str) -> None:
    """Raise TypeError unless a setting is True or False, or one of them for each axis."""
    for flag in value if isinstance(value, (tuple, list)) else (value,):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, or one of them for each axis, but is {value!r}.")


def check_radius(radius: Any, name: str = "radius") -> None:
    """Raise unless a length is a positive number.

    Raises:
        TypeError: It is no number.
        ValueError: It is not positive or not finite.
    """
    if isinstance(radius, bool) or not isinstance(radius, (int, float)):
        raise TypeError(f"{name} must be a number, but is {radius!r}.")
    if not 0 < radius < math.inf:
        raise ValueError(f"{name} must be positive and finite, but is {radius}.")
