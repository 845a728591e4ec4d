"""The Brownian path of a solve: its shape, a check of one that was given, or a new one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.solvers.brownian import BrownianPath, BrownianWalk, RowWalk
from nde.solvers.rows.field import RowLayout, whole
from nde.solvers.sde.areas import APPROXIMATE, serves
from nde.solvers.sde.field import Path, diffusion_matrix
from nde.solvers.structure import State, StateStructure

__all__ = ["noise_channels", "path_of_solve", "path_shape"]


def path_of_solve(
    path: Path | None,
    seed: int | None,
    shape: tuple[int, ...],
    grid: Sequence[float],
    walk: Sequence[tuple[float, float]] | None,
    method: str,
    area: str,
    structure: StateStructure,
    by_rows: bool = False,
    matrix: bool = False,
) -> Path:
    """Return the path of a solve: the one that was given, after a check, or a new one.

    Args:
        path, seed: As the user gave them.
        shape: Shape of an increment.
        grid: Times that steps are known to end on, increasing.
        walk: The first time and the last, of each row, where one solve alone chooses its steps; None otherwise.
        method: Name of the method.
        area: What it asks of the path.
        structure: Structure of the state.
        by_rows: Whether each row has a time of its own.
        matrix: Whether the diffusion is a matrix.

    Raises:
        TypeError, ValueError: The path does not serve the solve, or comes with a seed.
    """
    if path is not None:
        _check_path(path, seed, shape, grid, method, area, structure.device)
        return path
    if area in APPROXIMATE and len(shape) < 2:
        raise ValueError(
            f"y0 must have a batch axis with method={method!r}, where each row of the path needs areas, but has shape "
            f"{shape}. Use y0.unsqueeze(0)."
        )
    own_seed = int(torch.randint(2**62, ())) if seed is None else seed
    common: dict[str, Any] = {"levy_area": area, "dtype": structure.dtype, "device": structure.device}
    if seed is None:
        # nobody can ask for this path elsewhere, so that it may be made as the steps come
        if walk is None and not by_rows:
            # without areas between the entries, the shape that the steps work in does
            own_shape = shape if area in APPROXIMATE or matrix else (math.prod(shape),)
            return BrownianPath.of_solve(grid, own_shape, own_seed, **common)
        if walk is not None and not by_rows:
            return BrownianWalk(*walk[0], shape, seed=own_seed, **common)
        if walk is not None and area not in APPROXIMATE:
            return RowWalk(walk, shape, seed=own_seed, **common)
    return BrownianPath(grid[0], grid[-1], shape, seed=own_seed, grid=grid, **common)


def noise_channels(
    diffusion: Callable[..., Any],
    layout: RowLayout,
    y0: State,
    begins: Sequence[float],
    args: tuple[Any, ...],
    noise: str,
) -> int | None:
    """Return the number of motions that drive each row, by one look at the diffusion; None if it is diagonal."""
    structure = layout.structure
    if noise == "diagonal":
        return None
    if not isinstance(y0, Tensor):
        raise TypeError(
            f"y0 must be one tensor with noise={noise!r}, but is a {type(y0).__name__}; nested states take diagonal "
            "noise."
        )
    with torch.no_grad():
        time = torch.tensor(begins, dtype=structure.time_dtype, device=structure.device)
        time = time.reshape(()) if layout.samples is None else time.reshape(-1, *(1,) * (layout.rank - 1))
        value = diffusion(time, y0.detach().clone(), *whole(args))
    if noise == "additive" and isinstance(value, Tensor) and value.shape == y0.shape:
        return None
    least = 1 if layout.samples is None else 2
    if y0.dim() < least:
        raise ValueError(
            f"y0 must have at least {least} axes with noise={noise!r}{', (batch, size)' if least > 1 else ''}, but has "
            f"the shape {tuple(y0.shape)}. Use y0.unsqueeze(-1)."
        )
    return diffusion_matrix(value, structure, noise, 1 if noise == "scalar" else None).shape[-1]


def path_shape(layout: RowLayout, channels: int | None) -> tuple[int, ...]:
    """Return the shape of an increment."""
    structure = layout.structure
    shape = structure.plain_shape if len(structure.leaves) > 1 else structure.leaves[0].shape
    if channels is not None and shape is not None:
        return (*shape[:-1], channels)
    if shape is not None:
        return tuple(shape)
    return (structure.size,) if layout.samples is None else (layout.count, layout.row.size)


def _check_path(
    path: Any,
    seed: int | None,
    shape: tuple[int, ...],
    grid: Sequence[float],
    method: str,
    area: str,
    device: Any,
) -> None:
    """Raise unless a path serves the solve."""
    if not callable(path):
        raise TypeError(f"path must be callable as path(s, t), but is {path!r}. Try nde.BrownianPath(t0, t1, {shape}).")
    if seed is not None:
        raise ValueError("seed belongs to a new path, but path was given, which has its own. Leave one of them out.")
    own = getattr(path, "shape", None)
    if own is not None and tuple(own) != shape:
        raise ValueError(f"path must have shape {shape} for this state and noise, but has shape {tuple(own)}.")
    where = getattr(path, "device", device)
    if torch.device(where) != device:
        raise ValueError(f"path must be on {device}, like y0, but is on {where}. Try path.to({str(device)!r}).")
    begin, end = getattr(path, "t0", -math.inf), getattr(path, "t1", math.inf)
    if begin > grid[0] or end < grid[-1]:
        raise ValueError(
            f"path must cover the span of ts, from {grid[0]:.10g} to {grid[-1]:.10g}, but is known from "
            f"{begin:.10g} to {end:.10g}."
        )
    has = getattr(path, "levy_area", area)
    if not serves(has, area):
        raise ValueError(f"path must have levy_area={area!r} for method={method!r}, but has {has!r}.")
