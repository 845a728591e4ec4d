"""Linear operations: applied to every coefficient, with the leading axis hidden from the operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet, belongs, series_of
from nde.taylor.onehot import OneHotCoefficient
from nde.taylor.registry import RULES, functions_named

__all__ = ["apply_jointly", "apply_linear", "each", "last_axes", "mapped", "register_linear"]


def each(jet: Any, operation: Callable[[Lifted], Lifted]) -> Any:
    """Apply an operation on lifted coefficients to all that are not zero."""
    return Jet(jet.frame, [None if c is None else operation(c) for c in jet.lifted])


def last_axes(dim: Any, rank: int) -> Any:
    """Return axes counted from the end, where a leading axis does not move them."""
    if dim is None:
        return tuple(range(-rank, 0))
    if isinstance(dim, (tuple, list)):
        return tuple(last_axes(axis, rank) for axis in dim) or last_axes(None, rank)
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise IndexError(
            f"dim must be in {-max(rank, 1)} .. {max(rank, 1) - 1} for a jet of {rank} axes, but is {dim}."
        )
    return dim if dim < 0 else dim - max(rank, 1)


def mapped(function: Callable[..., Any], *coefficients: Lifted) -> Lifted:
    """Apply a function of unlifted tensors along the leading axes, which are of one size or of size 1."""
    dense = [c.dense() if isinstance(c, OneHotCoefficient) else c for c in coefficients]
    lead = max(c.shape[0] for c in dense)
    if lead == 1:
        return function(*(c.squeeze(0) for c in dense)).unsqueeze(0)
    if all(isinstance(c, Tensor) for c in dense):
        axes = tuple(None if c.shape[0] == 1 else 0 for c in dense)
        plain = [c.squeeze(0) if axis is None else c for c, axis in zip(dense, axes, strict=True)]
        return torch.func.vmap(function, in_dims=axes)(*plain)
    return torch.stack([function(*(c[v if c.shape[0] > 1 else 0] for c in dense)) for v in range(lead)])


def apply_linear(frame: Frame, function: Callable[..., Any], input: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a function that is linear in its first argument to every coefficient."""
    if not belongs(frame, input):
        raise TypeError(f"only the first argument of {getattr(function, '__name__', function)} may be a jet")
    shape = input.shape
    return each(input, lambda c: mapped(lambda t: function(t, *args, **kwargs), c.expand(c.shape[0], *shape)))


def apply_jointly(frame: Frame, function: Callable[..., Any], *operands: Any) -> Any:
    """Apply a function that is linear in several arguments together, such as a sum, to every coefficient."""
    series = [series_of(frame, operand) for operand in operands]
    primals = [
        parts[0] if belongs(frame, operand) else operand.unsqueeze(0)
        for operand, parts in zip(operands, series, strict=True)
    ]
    lifted: list[Lifted] = [mapped(function, *primals)]
    for k in range(1, frame.order + 1):
        parts = [coefficients[k] for coefficients in series]
        if all(part is None for part in parts):
            lifted.append(None)
            continue
        full = [
            torch.zeros_like(primal) if part is None else part.expand(part.shape[0], *primal.shape[1:])
            for part, primal in zip(parts, primals, strict=True)
        ]
        lifted.append(mapped(function, *full))
    return Jet(frame, lifted)


def register_linear(function: Any) -> None:
    """Carry a function that is linear in its first argument by applying it to every coefficient.

    Args:
        function: Any function of PyTorch, or one of yours that calls ``torch.overrides.handle_torch_function``. The
            other arguments are constants.
    """
    RULES[function] = lambda frame, *args, **kwargs: apply_linear(frame, function, *args, **kwargs)


_GENERAL = [
    "flip",
    "fliplr",
    "flipud",
    "roll",
    "rot90",
    "tril",
    "triu",
    "diag",
    "diag_embed",
    "diagonal",
    "trace",
    "cumsum",
    "diff",
    "gather",
    "index_select",
    "take_along_dim",
    "masked_select",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "interpolate",
    "upsample",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
    "fold",
    "repeat",
    "tile",
    "repeat_interleave",
    "channel_shuffle",
]
for _function in functions_named(*_GENERAL):
    register_linear(_function)


def _register_conversion(function: Any) -> None:
    def rule(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
        plain = [arg.primal if belongs(frame, arg) else arg for arg in args]  # what a jet is converted like
        if not belongs(frame, input):
            return function(input, *plain, **kwargs)
        first = function(input.lifted[0], *plain, **kwargs)
        if isinstance(first, Tensor) and not first.is_floating_point() and not first.is_complex():
            return first.squeeze(0)  # whole numbers and truth values: a step function
        return each(input, lambda c: function(c.dense() if isinstance(c, OneHotCoefficient) else c, *plain, **kwargs))

    RULES[function] = rule


for _function in functions_named(
    "clone", "contiguous", "to", "type", "type_as", "float", "double", "half", "bfloat16", "cuda", "cpu"
):
    _register_conversion(_function)
