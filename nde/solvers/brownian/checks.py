"""Checks the arguments of a Brownian path before anything is drawn, and says what would be right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.chen import COMPONENTS
from nde.solvers.brownian.plan import Plan

__all__ = [
    "check_covariance",
    "check_depth",
    "check_device",
    "check_dtype",
    "check_grid",
    "check_levy_area",
    "check_row_times",
    "check_seed",
    "check_shape",
    "check_time",
]

# with more levels, and the bits inside a leaf, a time's place in its cell would not fit a float64
_MAX_DEPTH = 32


def _number(value: Any, name: str) -> float:
    if isinstance(value, Tensor) and value.dim() == 0 and not value.is_complex() and value.dtype != torch.bool:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number, but is {value!r}. Try {name}=1.0.")
    return float(value)


def check_grid(t0: Any, t1: Any, grid: Any) -> np.ndarray:
    """Return the times between the path's cells, float64, shape ``(cells + 1,)``.

    Raises:
        TypeError: They are no real numbers.
        ValueError: They are not finite, not increasing, or the grid does not run from ``t0`` to ``t1``.
    """
    start, end = _number(t0, "t0"), _number(t1, "t1")
    for name, time in (("t0", start), ("t1", end)):
        if not math.isfinite(time):
            raise ValueError(f"{name} must be finite, but is {time}.")
    if start >= end:
        raise ValueError(
            f"t0 must be before t1, but t0 = {start:.10g} and t1 = {end:.10g}. To go backwards, build the path "
            "forwards and ask for path(t, s), or use path.reversed()."
        )
    if grid is None:
        return np.array([start, end])
    try:
        values = grid.detach().cpu().tolist() if isinstance(grid, Tensor) else grid
        times = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"grid must be a sequence of times, but is {grid!r}. Try grid=torch.linspace(t0, t1, 101)."
        ) from error
    if times.ndim != 1 or times.shape[0] < 2:
        raise ValueError(f"grid must have shape (cells + 1,) with at least two times, but has shape {times.shape}.")
    if not np.isfinite(times).all():
        at = int(np.flatnonzero(~np.isfinite(times))[0])
        raise ValueError(f"grid must be finite, but grid[{at}] is {times[at]}.")
    falls = np.flatnonzero(np.diff(times) <= 0)
    if falls.size:
        at = int(falls[0])
        raise ValueError(
            f"grid must be strictly increasing, but grid[{at}] = {times[at]:.10g} and grid[{at + 1}] = "
            f"{times[at + 1]:.10g}. Sort it and remove repeated times."
        )
    if times[0] != start or times[-1] != end:
        slack = 1e-6 * float(np.diff(times).min())  # a grid made in float32, or by adding steps up
        if abs(times[0] - start) > slack or abs(times[-1] - end) > slack:
            raise ValueError(
                f"grid must run from t0 = {start:.10g} to t1 = {end:.10g}, but runs from {times[0]:.10g} to "
                f"{times[-1]:.10g}. Pass t0=grid[0], t1=grid[-1]."
            )
        times[0], times[-1] = start, end
    return times


def check_shape(shape: Any) -> tuple[int, ...]:
    """Return the state's shape as a tuple of integers."""
    if isinstance(shape, (bool, str)) or not isinstance(shape, (int, tuple, list)):
        raise TypeError(f"shape must be a tuple of integers, but is {shape!r}. Try shape=(batch, channels).")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise TypeError(f"shape must hold integers, but is {shape!r}. Try shape=(batch, channels).")
        if size < 1:
            raise ValueError(f"shape must hold positive sizes, but is {sizes}.")
    return tuple(int(size) for size in sizes)


def check_seed(seed: Any) -> int:
    """Return the seed as an integer."""
    if isinstance(seed, Tensor) and seed.dim() == 0 and not (seed.is_floating_point() or seed.is_complex()):
        seed = int(seed)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(
            f"seed must be an integer, but is {seed!r}. For a new path each time, try int(torch.randint(2**62, ()))."
        )
    return int(seed)


def check_levy_area(levy_area: Any, shape: tuple[int, ...]) -> str:
    """Return the kind of Levy area."""
    if not isinstance(levy_area, str) or levy_area not in COMPONENTS:
        raise ValueError(f"levy_area must be one of {', '.join(map(repr, COMPONENTS))}, but is {levy_area!r}.")
    if levy_area in ("davie", "foster") and len(shape) < 2:
        raise ValueError(
            f'levy_area="{levy_area}" is an area between entries of the last axis of a batch, but shape is {shape}. '
            'Try shape=(batch, m), or levy_area="space-time".'
        )
    return levy_area


def check_dtype(dtype: Any) -> torch.dtype:
    """Return the dtype of the numbers."""
    if dtype is None:
        dtype = torch.get_default_dtype()
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype must be torch.float32 or torch.float64, but is {dtype!r}. Cast the increments instead.")
    return dtype


def check_covariance(covariance: Any, shape: tuple[int, ...]) -> Tensor | None:
    """Return a factor ``L`` with ``L L^T`` = covariance, float64 on the host.

    Raises:
        TypeError: It is not a real matrix.
        ValueError: Its shape does not fit the last axis, or it is not finite, symmetric and positive semi-definite.
    """
    if covariance is None:
        return None
    if not isinstance(covariance, Tensor) or covariance.is_complex():
        raise TypeError(f"covariance must be a real tensor of shape (m, m), but is a {type(covariance).__name__}.")
    matrix = covariance.detach().to(device="cpu", dtype=torch.float64)
    if len(shape) < 2:
        raise ValueError(f"covariance is that of the last axis of a batch, but shape is {shape}. Try shape=(batch, m).")
    m = shape[-1]
    if matrix.shape != (m, m):
        raise ValueError(
            f"covariance must have shape ({m}, {m}), for the last axis of shape {shape}, but has shape "
            f"{tuple(matrix.shape)}."
        )
    if not bool(matrix.isfinite().all()):
        raise ValueError("covariance must be finite, but has entries that are infinite or NaN.")
    scale = float(matrix.abs().max())
    slack = 1e-6 if covariance.dtype == torch.float32 else 1e-12
    apart = float((matrix - matrix.T).abs().max())
    if apart > slack * scale:
        raise ValueError(
            f"covariance must be symmetric, but differs from its transpose by {apart:.3g}. Try (C + C.T) / 2."
        )
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    if float(values[0]) < -slack * m * scale:
        raise ValueError(f"covariance must be positive semi-definite, but has the eigenvalue {float(values[0]):.3g}.")
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        return factor
    return (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T  # a singular matrix has no Cholesky factor


def check_depth(tol: Any, times: np.ndarray, default: int) -> int:
    """Return the levels of the tree below a cell, so that its leaves are no longer than ``tol``."""
    if tol is None:
        return default
    length = _number(tol, "tol")
    if not length > 0:
        raise ValueError(f"tol must be positive, but is {length}. It is a length of time; try tol=1e-6.")
    longest = float(np.diff(times).max())
    return min(max(math.ceil(math.log2(longest / length)), 0), _MAX_DEPTH) if length < longest else 0


def check_device(device: Any) -> torch.device:
    """Return the device of the increments."""
    if device is None:
        return torch.get_default_device()
    try:
        return torch.device(device)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"device must name a device of torch, but is {device!r}. Try device='cpu'.") from error


def check_time(time: Any, name: str) -> float:
    """Return a time that all rows share as a number."""
    return time if type(time) is float else _number(time, name)


def check_row_times(time: Any, name: str, plan: Plan) -> np.ndarray:
    """Return a time per row as float64, shape ``(rows,)``, on the host, where places among the nodes are computed."""
    if not isinstance(time, Tensor):
        return np.full(plan.rows, _number(time, name))
    if time.is_complex() or time.dtype == torch.bool:
        raise TypeError(f"{name} must hold real times, but has dtype {time.dtype}.")
    rows = len(plan.own_shape) > 0 and not plan.single
    if time.dim() and (not rows or time.shape not in ((plan.rows,), (plan.rows, 1))):
        expected = f"({plan.rows},) or ({plan.rows}, 1), a time per row of shape {plan.own_shape}" if rows else "()"
        raise ValueError(f"{name} must be a number or have shape {expected}, but has shape {tuple(time.shape)}.")
    times: np.ndarray = time.detach().to(device="cpu", dtype=torch.float64).reshape(-1).numpy()
    return times if time.dim() else np.full(plan.rows, times[0])
