"""Whether a model is one operator at all resolutions: how much its output changes with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nde.operators.grids import UniformGrid
from nde.operators.layer import OperatorLayer

__all__ = ["coarsened", "resolution_changes"]


def resolution_changes(
    model: OperatorLayer,
    field: Callable[[Tensor], Tensor],
    sizes: Sequence[int],
    grid: UniformGrid | None = None,
) -> list[float]:
    """Return how far the outputs for one function at several resolutions are from that at the finest one.

    An operator with a discretization of order ``p`` has changes that shrink by ``2^p`` with each doubling.

    Args:
        model: Layer or model; its weights are the same in all calls.
        field: The input function: positions, shape ``(dims, *shape)``, to values, ``(batch, channels, *shape)``.
        sizes: Points along each axis, or cells between them for ``"vertices"``, increasing, each a multiple of the one
            before.
        grid: The box; with walls and of length 1 by default.

    Returns:
        Relative L2 changes at all sizes but the last.

    Raises:
        ValueError: The sizes are fewer than two, or no multiples of each other.
    """
    grid = UniformGrid() if grid is None else grid
    if len(sizes) < 2 or any(fine % coarse or fine <= coarse for coarse, fine in itertools.pairwise(sizes)):
        raise ValueError(f"sizes must be two or more, each a multiple of the one before, but are {tuple(sizes)}.")
    like = next(model.parameters())
    outputs = []
    with torch.no_grad():
        for size in sizes:
            shape = tuple(size + halved for halved in grid.halved_walls(model.dims))
            outputs.append(model(field(grid.positions(shape)).to(like), grid=grid))
    finest = outputs[-1]
    changes = []
    for size, output in zip(sizes[:-1], outputs, strict=False):
        expected = coarsened(finest, sizes[-1] // size, grid, model.dims)
        changes.append(float((output - expected).norm() / expected.norm()))
    return changes


def coarsened(x: Tensor, factor: int, grid: UniformGrid, dims: int) -> Tensor:
    """Return a field on a grid with ``factor`` times fewer cells: means of cells, values at vertices.

    Args:
        x: The field, shape ``(*batch, channels, *shape)``.
        factor: By how much.
        grid: The box.
        dims: Its dimension.
    """
    for axis in range(x.dim() - dims, x.dim()):
        if grid.centering == "cells":
            x = x.unflatten(axis, (-1, factor)).mean(axis + 1)
        else:
            x = x.index_select(axis, torch.arange(0, x.shape[axis], factor, device=x.device))
    return x
