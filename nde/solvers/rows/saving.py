"""What is kept at the output times in place of the states, where the user says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.solvers.structure import State, StateStructure

__all__ = ["Saver", "first_entries"]

_NAME = "the value of save(t, y)"


class Saver:
    """The user's ``save(t, y)``, on rows.

    Args:
        function: The user's callable.
        arguments: Turns times and rows into what the user's functions take; see `RowField.arguments`.
        batched: Whether it takes the rows of many samples at once, and returns one entry for each of them.
        t0: The initial times, shape ``(rows, 1)``.
        y0: The initial states, from which the structure of what is saved is found.

    Raises:
        TypeError: The callable returned something else than floating-point or complex tensors.
        ValueError: It returned no entries, or not one for each sample.
    """

    def __init__(
        self,
        function: Callable[..., State],
        arguments: Callable[[Tensor, Tensor], tuple[Tensor, State]],
        batched: bool,
        t0: Tensor,
        y0: Tensor,
    ) -> None:
        self.function = function
        self._arguments = arguments
        self._batched = batched
        with torch.no_grad():
            value = function(*arguments(t0, y0))
        if batched:
            for path, tensor in StateStructure.paths(value, _NAME):
                if tensor.dim() == 0 or tensor.shape[0] != len(y0):
                    raise ValueError(
                        f"{path} must have a first axis of length {len(y0)}, the samples that save was called with, "
                        f"but has the shape {tuple(tensor.shape)}."
                    )
            value = first_entries(value)
        self.structure = StateStructure(value, _NAME)

    def empty(self, like: Tensor) -> Tensor:
        """Return what is saved at no time, on the device of a tensor."""
        return torch.empty(0, self.structure.size, dtype=self.structure.dtype, device=like.device)

    def rows(self, t: Tensor, y: Tensor) -> Tensor:
        """Return what is kept of states, shape ``(times, entries)``.

        Args:
            t: Their times, shape ``(times, 1)``.
            y: The states, shape ``(times, row size)``.

        Raises:
            TypeError: The callable returned another structure than at first.
            ValueError: It returned other shapes.
        """
        if not y.shape[0]:
            return self.empty(y)
        if self._batched:
            return self.structure.flatten(self.function(*self._arguments(t, y)), _NAME, (y.shape[0],))
        values: list[Any] = [
            self.function(*self._arguments(time[None], state[None])) for time, state in zip(t, y, strict=True)
        ]
        return torch.stack([self.structure.flatten(value, _NAME) for value in values])


def first_entries(value: State) -> State:
    """Return the first entry of every tensor of a state along its first axis."""
    if isinstance(value, Tensor):
        return value[0]
    if isinstance(value, dict):
        return {key: first_entries(item) for key, item in value.items()}
    items = [first_entries(item) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
