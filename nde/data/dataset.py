"""Samples in memory: fields by name, as arrays and as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """Fields by name, of shape ``(samples, channels, *space)`` or ``(samples, times, channels, *space)``.

    Args:
        arrays: The fields.
        settings: What they were made with.

    Raises:
        ValueError: There is no field, or the fields differ in their number of samples.
    """

    arrays: Mapping[str, NDArray[Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {name: len(array) for name, array in self.arrays.items()}
        if not counts:
            raise ValueError("arrays must hold at least one field.")
        if len(set(counts.values())) > 1:
            raise ValueError(f"arrays must have the same number of samples, but have {counts}.")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a field.

        Raises:
            KeyError: There is none of this name.
        """
        if name not in self.arrays:
            raise KeyError(f"there is no field {name!r}. Choose one of: {', '.join(map(repr, self.arrays))}.")
        return self.arrays[name]

    def tensor(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a field as a tensor; it shares the array's memory where the dtype is the array's.

        Raises:
            KeyError: There is none of this name.
        """
        return torch.from_numpy(np.ascontiguousarray(self[name])).to(dtype)

    def part(self, start: int, stop: int) -> Dataset:
        """Return samples ``start`` to ``stop``, as views.

        Raises:
            ValueError: There are no such samples.
        """
        if not 0 <= start < stop <= len(self):
            raise ValueError(f"start and stop must be in order within {len(self)} samples, but are {start}, {stop}.")
        return Dataset({name: array[start:stop] for name, array in self.arrays.items()}, self.settings)

    def split(self, first: int) -> tuple[Dataset, Dataset]:
        """Return the first samples and the others, as views.

        Raises:
            ValueError: One of the two would be empty.
        """
        if not 0 < first < len(self):
            raise ValueError(f"first must leave samples in both parts of {len(self)}, but is {first}.")
        return self.part(0, first), self.part(first, len(self))
