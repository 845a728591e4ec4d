"""Checks the arguments of the Brownian motions, with torchsde's types of exceptions."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.compat.torchsde.settings import LEVY_AREA_APPROXIMATIONS

__all__ = [
    "check_caching",
    "check_given",
    "check_levy_area",
    "check_resolution",
    "check_span",
    "check_time",
    "new_entropy",
    "path_seed",
    "warn_of_point",
]


def check_time(value: Any, name: str) -> float:
    """Return a finite time as a number.

    Raises:
        ValueError: It is no number and no tensor of one element, or it is not finite.
    """
    if not (isinstance(value, numbers.Real) or (isinstance(value, Tensor) and value.numel() == 1)):
        raise ValueError(f"{name} must be a number or a tensor of one element, but is {value!r}.")
    time = float(value)
    if not math.isfinite(time):
        raise ValueError(f"{name} must be finite, but is {time}.")
    return time


def check_span(t0: Any, t1: Any) -> tuple[float, float]:
    """Return the ends of the span; they may be one time."""
    start, end = check_time(t0, "t0"), check_time(t1, "t1")
    if start > end:
        raise ValueError(f"t0 must not be after t1, but t0 = {start:.10g} and t1 = {end:.10g}.")
    return start, end


def check_resolution(dt: Any, tol: Any, halfway_tree: bool) -> tuple[float | None, float]:
    """Return ``dt`` and ``tol`` as numbers.

    Raises:
        ValueError: ``dt`` is not positive, or given with ``halfway_tree``; ``tol`` is negative, or zero with it.
    """
    step = None if dt is None else check_time(dt, "dt")
    if step is not None and step <= 0:
        raise ValueError(f"dt must be positive, but is {step}. It is the expected length of a step; None if unknown.")
    length = check_time(tol, "tol")
    if length < 0:
        raise ValueError(f"tol must not be negative, but is {length}. It is a length of time; try tol=1e-6.")
    if halfway_tree and length == 0:
        raise ValueError("tol must be positive with halfway_tree=True, but is 0. Try tol=1e-6.")
    if halfway_tree and step is not None:
        raise ValueError(f"dt is of no use with halfway_tree=True, but is {step}. Leave it out.")
    return step, length


def check_caching(pool_size: Any, cache_size: Any) -> None:
    """Check what only torchsde's own algorithm uses.

    Raises:
        TypeError: They are no integers.
        ValueError: ``pool_size`` is below 4, the least that numpy's ``SeedSequence`` takes; ``cache_size`` is negative.
    """
    for name, value, least in (("pool_size", pool_size, 4), ("cache_size", cache_size, 0)):
        if name == "cache_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} must be an integer, but is {value!r}.")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, but is {value}.")


def check_levy_area(kind: Any) -> str:
    """Return the kind of Levy area."""
    if not isinstance(kind, str) or kind not in LEVY_AREA_APPROXIMATIONS:
        raise ValueError(f"levy_area_approximation must be one of {LEVY_AREA_APPROXIMATIONS}, but is {kind!r}.")
    return kind


def check_given(
    size: Any, dtype: Any, device: Any, given: dict[str, Any]
) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    """Return shape, dtype and device of an increment, from the arguments or from the tensors that are given.

    Args:
        size, dtype, device: The arguments; None for what the tensors say or, without any, torch's default dtype and
            the CPU.
        given: ``W`` and ``H`` by name; None for what is not given.

    Raises:
        TypeError: ``size`` is no sequence of integers.
        ValueError: Nothing says the shape; two sources disagree; ``W`` or ``H`` is no floating tensor; the dtype is not
            a floating one.
    """
    tensors = {name: value for name, value in given.items() if value is not None}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, but is {value!r}.")
        if not value.is_floating_point():
            raise ValueError(f"{name} must be a floating-point tensor, but has dtype {value.dtype}.")
    sources = {name: (tuple(value.shape), value.dtype, value.device) for name, value in tensors.items()}
    if size is None and not sources:
        raise ValueError("size must be given, as neither W nor H is, whose shape it would be. Try size=(batch, m).")
    first = next(iter(sources.values()), ((), torch.get_default_dtype(), torch.device("cpu")))
    shape = first[0] if size is None else _sizes(size)
    kind = first[1] if dtype is None else dtype
    place = first[2] if device is None else torch.device(device)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ValueError(f"dtype must be a floating-point dtype of torch, but is {kind!r}.")
    for name, (its_shape, its_dtype, its_device) in sources.items():
        if its_shape != shape:
            raise ValueError(f"{name} must have the shape {shape} of an increment, but has shape {its_shape}.")
        if its_dtype != kind:
            raise ValueError(f"{name} must have the dtype {kind} of an increment, but has dtype {its_dtype}.")
        # "cuda" means the current device of that type
        if its_device.type != place.type or (place.index is not None and its_device != place):
            raise ValueError(f"{name} must be on {place}, as an increment is, but is on {its_device}.")
        place = its_device
    return shape, kind, place


def _sizes(size: Any) -> tuple[int, ...]:
    if isinstance(size, str) or not isinstance(size, Sequence):
        raise TypeError(f"size must be a tuple of integers, but is {size!r}. Try size=(batch, m).")
    for length in size:
        if isinstance(length, bool) or not isinstance(length, numbers.Integral):
            raise TypeError(f"size must hold integers, but is {size!r}. Try size=(batch, m).")
        if length < 0:
            raise ValueError(f"size must not be negative, but is {size!r}.")
    return tuple(int(length) for length in size)


def new_entropy() -> int:
    """Return a random seed; numpy's global generator decides it, as in torchsde, so that one seed fixes both."""
    return int(np.random.randint(0, 2**31 - 1))  # noqa: NPY002


def path_seed(entropy: Any) -> int:
    """Return one integer for an entropy: for a sequence of integers, one that no other sequence has.

    Raises:
        TypeError: It is neither an integer nor a sequence of integers.
        ValueError: It is negative.
    """
    parts = list(entropy) if isinstance(entropy, (list, tuple, np.ndarray)) else [entropy]
    for index, part in enumerate(parts):
        if isinstance(part, Tensor) and part.numel() == 1 and not (part.is_floating_point() or part.is_complex()):
            part = parts[index] = int(part)
        if isinstance(part, bool) or not isinstance(part, numbers.Integral):
            raise TypeError(f"entropy must be an integer or a sequence of integers, but is {entropy!r}.")
        if part < 0:
            raise ValueError(f"entropy must not be negative, but is {entropy!r}.")
        parts[index] = int(part)
    return parts[0] if len(parts) == 1 else int.from_bytes(repr(parts).encode(), "big")


def warn_of_point(motion: Any) -> None:
    """Warn, as torchsde does, where ``motion(t)`` is called without a second time; programs filter on the wording."""
    name = type(motion).__name__
    warnings.warn(f"{name} is optimised for interval-based queries, not point evaluation.", stacklevel=3)
