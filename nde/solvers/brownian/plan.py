"""The definition of a Brownian path: what two equal paths agree in, without anything drawn.

Holds no caches, so that it can be pickled, moved between devices and narrowed to some rows at no cost; the path draws
what it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.chen import COMPONENTS
from nde.solvers.brownian.normals import Normals

__all__ = ["Plan"]


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What defines a path.

    Attributes:
        grid: Times between the cells, float64.
        shape: The whole path's shape; its first axis, if any, is the rows.
        row_ids: Numbers of the rows wanted, int64, shape ``(rows,)`` on the host; None for all.
        single: One row without its axis.
        seed, levy_area, depth, dtype, device: As the path's; ``depth`` is the levels of the trees.
        factor: ``L`` of the covariance ``L L^T``, or None.
        backwards: The path is asked for with times of the opposite sign.
        streamed: Its cells are drawn by torch's generator; see `nde.solvers.brownian.streamed`.
    """

    grid: np.ndarray
    shape: tuple[int, ...]
    row_ids: Tensor | None
    single: bool
    seed: int
    levy_area: str
    factor: Tensor | None
    depth: int
    dtype: torch.dtype
    device: torch.device
    backwards: bool
    streamed: bool = False

    @property
    def count(self) -> int:
        """Numbers of an increment inside: 1, 2 or 3."""
        return COMPONENTS[self.levy_area]

    @property
    def total_rows(self) -> int:
        """Rows of the whole path."""
        return self.shape[0] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows wanted."""
        return self.total_rows if self.row_ids is None else self.row_ids.shape[0]

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The shape of an increment."""
        if not self.shape or self.single:
            return self.shape[1:]
        return (self.rows, *self.shape[1:])

    def normals(self, columns: int | None = None) -> Normals:
        """Return what draws normal numbers for the rows."""
        if columns is None:
            columns = math.prod(self.shape[1:])
        return Normals(self.total_rows, columns, self.row_ids, self.dtype, self.device)

    def select(self, index: Any) -> Plan:
        """Return the plan of some rows.

        Raises:
            TypeError: The path has no rows.
            IndexError: The index does not fit them.
        """
        if not self.shape or self.single:
            raise TypeError(f"a path of shape {self.own_shape} that has no batch axis cannot be indexed.")
        ids = torch.arange(self.total_rows) if self.row_ids is None else self.row_ids
        if isinstance(index, Tensor):
            index = index.detach().cpu()
        if isinstance(index, (list, range)):
            index = torch.as_tensor(list(index))
        try:
            chosen = ids[index]
        except (IndexError, TypeError, ValueError) as error:
            raise IndexError(
                f"rows {index!r} do not fit the {self.rows} rows of a path of shape {self.own_shape}."
            ) from error
        if chosen.dim() > 1 or chosen.numel() == 0:
            raise IndexError(
                f"an index of rows must give one row or a vector of them, but gives shape {tuple(chosen.shape)}. "
                "Rows are the first axis; select of the others from the increments."
            )
        return replace(self, row_ids=chosen.reshape(-1).clone(), single=chosen.dim() == 0)
