"""What is kept at the output times in place of the states, where the user says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.solvers.structure import State, StateStructure

__all__ = ["Saver"]

_NAME = "the value of save(t, y)"


class Saver:
    """The user's ``save(t, y)``, on rows.

    Args:
        function: The user's callable.
        state: Structure of the state.
        y0: The initial state, from which the structure of what is saved is found.
        t0: The initial time.

    Raises:
        TypeError: The callable returned something else than floating-point or complex tensors.
        ValueError: It returned no entries.
    """

    def __init__(self, function: Callable[..., State], state: StateStructure, y0: Tensor, t0: float) -> None:
        self.function = function
        self._state = state
        with torch.no_grad():
            self.structure = StateStructure(function(self._time(torch.tensor(t0), y0), state.unflatten(y0)), _NAME)

    def _time(self, t: Tensor, y: Tensor) -> Tensor:
        return t.to(dtype=self._state.time_dtype, device=y.device).reshape(())

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
        values: list[Any] = [
            self.function(self._time(time, y), self._state.unflatten(state)) for time, state in zip(t, y, strict=True)
        ]
        return torch.stack([self.structure.flatten(value, _NAME) for value in values])
