"""The user's vector field as a function of a flat vector, counted and checked.

Uses `structure`; methods and adjoints call the field only through it, so that every evaluation is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.solvers.structure import StateStructure

__all__ = ["VectorField"]


class VectorField:
    """``field(t, y, *args)`` on flat vectors.

    Args:
        function: The user's callable.
        structure: Structure of its state.
        args: Further arguments handed to it unchanged.

    Attributes:
        evaluations: Number of calls so far.
    """

    def __init__(self, function: Callable[..., Any], structure: StateStructure, args: tuple[Any, ...] = ()) -> None:
        self.function = function
        self.structure = structure
        self.args = args
        self.evaluations = 0

    def time(self, t: float | Tensor) -> Tensor:
        """Return ``t`` as the 0-d tensor that the field sees: the state's real dtype, on its device."""
        if isinstance(t, Tensor):
            return t.to(dtype=self.structure.time_dtype, device=self.structure.device)
        return torch.full((), t, dtype=self.structure.time_dtype, device=self.structure.device)

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """Evaluate the field.

        Args:
            t: Time, a host float or a 0-d tensor.
            y: Flat state, shape ``(size,)``.

        Returns:
            Its time derivative, shape ``(size,)``.

        Raises:
            TypeError: The field returned something of another structure or dtype.
            ValueError: The field returned another shape.
        """
        self.evaluations += 1
        structure = self.structure
        try:
            value = self.function(self.time(t), structure.unflatten(y), *self.args)
        except Exception as error:
            at = float(t.detach()) if isinstance(t, Tensor) else t
            error.add_note(f"raised by the field at t = {at:.10g}, in its evaluation number {self.evaluations}")
            raise
        return structure.flatten(value, "the value of field(t, y)")
