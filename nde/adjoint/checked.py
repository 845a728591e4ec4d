"""A field whose dependence on tensors that an adjoint does not know of is noticed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nde.adjoint.captured import find_unknown
from nde.solvers.field import VectorField

__all__ = ["CheckedField", "inspect"]


class CheckedField(VectorField):
    """The field, whose first evaluation is checked for tensors that were missed: their gradient would be lost."""

    def __init__(self, field: VectorField, targets: Sequence[Tensor], adjoint: str) -> None:
        super().__init__(field.function, field.structure, field.args)
        self._targets = targets
        self._adjoint = adjoint

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """See `VectorField.__call__`; raises RuntimeError where a tensor was missed."""
        if self.evaluations:
            return super().__call__(t, y)
        with torch.enable_grad():
            value = super().__call__(t, y)
        inspect(value, [y, *([t] if isinstance(t, Tensor) else []), *self._targets], self._adjoint)
        return value if torch.is_grad_enabled() else value.detach()


def inspect(value: Tensor, known: Sequence[Tensor], adjoint: str) -> None:
    """Raise RuntimeError if a value of the field depends on tensors that an adjoint does not know of."""
    missed = find_unknown(value, known)
    if missed is not None:
        raise RuntimeError(
            f"the field depends on a tensor of shape {tuple(missed.shape)} that requires a gradient, but "
            f'adjoint="{adjoint}" cannot find it in the field or in args. Pass it through args, make it a '
            'parameter of an nn.Module field, or use adjoint="direct".'
        )
