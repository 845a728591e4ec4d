"""A field whose dependence on tensors that an adjoint does not know of is noticed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nde.adjoint.captured import find_unknown
from nde.solvers.field import VectorField
from nde.solvers.rows.problem import RowProblem

__all__ = ["check_rows", "checked"]


def checked(field: VectorField, targets: Sequence[Tensor], adjoint: str) -> VectorField:
    """Return the field; its first evaluation raises RuntimeError where a tensor that needs a gradient was missed."""
    fresh = field.fresh()
    fresh.watch(lambda value, given, again: _check(value, [*given, *targets], adjoint, again))
    return fresh


def check_rows(problem: RowProblem, targets: Sequence[Tensor], adjoint: str) -> None:
    """Have the first evaluation of a row problem's field checked in the same way."""
    problem.field.watch(lambda value, given, again: _check(value, [*given, *targets], adjoint, again))


def _check(value: Tensor, known: Sequence[Tensor], adjoint: str, again: Callable[[], Tensor]) -> None:
    """Raise RuntimeError if a value of the field depends on tensors that an adjoint does not know of.

    Leaves that the evaluation made itself are not missed: a field that takes derivatives of its own, as those with a
    trace or divergence do, calls ``requires_grad_()`` on its state. Another evaluation makes others.

    Args:
        value: The value, on the tape.
        known: Tensors whose gradients are asked for.
        adjoint: The adjoint's name.
        again: Evaluates the field once more; called only if there is a leaf in question.
    """
    unknown = find_unknown(value, known)
    if not unknown:
        return
    with torch.enable_grad():
        others = {id(leaf) for leaf in find_unknown(again(), known)}
    for leaf in unknown:
        if id(leaf) in others:
            raise RuntimeError(
                f"the field depends on a tensor of shape {tuple(leaf.shape)} that requires a gradient, but "
                f'adjoint="{adjoint}" cannot find it in the field or in args. Pass it through args, make it a '
                'parameter of an nn.Module field, or use adjoint="direct".'
            )
