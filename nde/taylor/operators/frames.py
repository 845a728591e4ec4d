"""The columns that an operator sums over, and the seeds of a jet along directions that are drawn in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde.taylor.operators.draws import Draw
from nde.taylor.seeds import OneHot

__all__ = ["ColumnFrame", "CoordinateFrame", "shared_seed"]


class CoordinateFrame:
    """Coordinate axes, all or some of them.

    Args:
        dimension: ``d``.
        axes: The coordinates that are meant; None: all.

    Raises:
        ValueError: An axis is out of range or occurs twice, or there is none.
    """

    def __init__(self, dimension: int, axes: Sequence[int] | Tensor | None, device: torch.device) -> None:
        self.dimension = dimension
        self.axes = None if axes is None else _checked_axes(axes, dimension, device)
        self.columns = dimension if self.axes is None else self.axes.shape[0]

    def seed(self, draw: Draw, x: Any) -> OneHot | Tensor:
        """Return the directions of a draw: lazy for single axes, shared by all points."""
        if draw.vectors is None:
            assert draw.indices is not None  # one of the two is set
            return OneHot(draw.indices if self.axes is None else self.axes[draw.indices])
        vectors = draw.vectors
        if self.axes is not None:
            vectors = vectors.new_zeros(draw.samples, self.dimension).index_copy(1, self.axes, vectors)
        return shared_seed(vectors, x)

    def masked(self, vectors: Tensor) -> Tensor:
        """Return vectors with the entries of the other axes set to zero."""
        if self.axes is None:
            return vectors
        mask = vectors.new_zeros(self.dimension).index_fill(0, self.axes, 1.0)
        return vectors * mask


class ColumnFrame:
    """The columns of a matrix, shared by the points or one matrix for each.

    Args:
        matrix: Shape ``(d, r)`` or ``(*S, d, r)``.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.columns = matrix.shape[-1]

    def seed(self, draw: Draw, x: Any) -> Tensor:
        """Return the directions of a draw: ``(V, 1, d)`` where the points share the matrix, else ``(V, *S, d)``."""
        if draw.vectors is None:
            assert draw.indices is not None  # one of the two is set
            chosen = self.matrix.index_select(-1, draw.indices)
        else:
            chosen = self.matrix @ draw.vectors.T
        return shared_seed(chosen.T, x) if chosen.ndim == 2 else chosen.movedim(-1, 0)


def shared_seed(vectors: Tensor, x: Any) -> Tensor:
    """Return ``(V, d)`` vectors as a seed that all points share."""
    return vectors.reshape(vectors.shape[0], *[1] * (x.ndim - 1), vectors.shape[-1])


def _checked_axes(axes: Sequence[int] | Tensor, dimension: int, device: torch.device) -> Tensor:
    indices = torch.as_tensor(axes, device=device)
    if indices.ndim != 1 or indices.numel() == 0 or indices.dtype.is_floating_point or indices.dtype == torch.bool:
        raise ValueError(f"axes must be a sequence of whole numbers, at least one, but is {axes!r}.")
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= dimension:
        raise ValueError(f"axes must be in 0 .. {dimension - 1}, the coordinates of x, but reach from {low} to {high}.")
    if indices.unique().numel() != indices.numel():
        raise ValueError("axes must be distinct, but one occurs twice.")
    return indices
