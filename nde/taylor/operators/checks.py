"""Checks of what the operators are given, before and after the function is evaluated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nde.taylor.jet_type import Jet

__all__ = ["check_count", "check_output", "check_points", "finite_rows", "scalar_output"]


def check_points(f: Any, x: Any) -> None:
    """Raise unless ``f`` can be called and ``x`` holds points that can be differentiated at.

    Raises:
        TypeError: ``f`` is not callable; ``x`` is not a floating tensor.
        ValueError: ``x`` has no axis of coordinates, or that axis is empty.
    """
    if not callable(f):
        raise TypeError(f"f must be a function or module of points, but is a {type(f).__name__}.")
    if not isinstance(x, (Tensor, Jet)):
        raise TypeError(f"x must be a tensor of points of the shape (batch, d), but is a {type(x).__name__}.")
    if not x.dtype.is_floating_point:
        raise TypeError(
            f"x must be floating to be differentiated at, but has the type {x.dtype}. Convert it: x.double() or "
            "x.float()."
        )
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(
            f"x must have the coordinates on its last axis, as (batch, d), but has the shape {tuple(x.shape)}. For "
            "points on a line use x.unsqueeze(-1)."
        )


def check_output(result: Jet, x: Any) -> None:
    """Raise unless ``f`` treats the points apart and depends on them.

    Raises:
        ValueError: The output has other leading axes than the points, or no derivative.
    """
    lead = x.shape[:-1]
    shape = result.primal.shape
    if shape[: len(lead)] != lead or len(shape) > len(lead) + 1:
        raise ValueError(
            f"f must return one value or one vector for each point, of the shape {tuple(lead)}, {(*lead, 1)} or "
            f"{(*lead, 'C')} for points of the shape {tuple(x.shape)}, but returned {tuple(shape)}."
        )
    if all(coefficient is None for coefficient in result.lifted[1:]):
        raise ValueError(
            "f has no derivative with respect to x: its result does not depend on the points that it is given. Look "
            "for detach(), .data, .item(), NumPy or a comparison inside of it; a function that is constant on "
            "purpose needs no operator."
        )


def scalar_output(value: Tensor, x: Any, name: str) -> Tensor:
    """Return the value of a scalar function without the axis of length 1.

    Raises:
        ValueError: The function has several outputs.
    """
    lead = x.shape[:-1]
    if value.shape == lead:
        return value
    if value.shape == (*lead, 1):
        return value.squeeze(-1)
    raise ValueError(
        f"{name} needs a function with one output, of the shape {tuple(lead)} or {(*lead, 1)}, but f returned "
        f"{tuple(value.shape)}. Choose one: lambda x: f(x)[..., 0]."
    )


def check_count(value: Any, name: str, lowest: int, highest: int | None = None, hint: str = "") -> int:
    """Return a whole number in a range.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is out of the range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, but is {value!r}.")
    if value < lowest or (highest is not None and value > highest):
        above = "" if highest is None else f" and at most {highest}"
        raise ValueError(f"{name} must be at least {lowest}{above}, but is {value}.{hint and ' ' + hint}")
    return value


def finite_rows(values: Tensor) -> Tensor:
    """Return which rows of the first axis hold finite numbers only."""
    return torch.isfinite(values).reshape(values.shape[0], -1).all(1)
