"""What picks elements by their order at the primal: sorting, the largest few, medians, running extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from nde.taylor.frame import Frame
from nde.taylor.jet_type import plain_of
from nde.taylor.registry import RULES, functions_named, rule_for

__all__ = ["Picked"]


class Picked(NamedTuple):
    """Values and where they were, as torch returns them."""

    values: Any
    indices: Any


def _register_picking(name: str) -> None:
    """Carry a function that returns values along an axis and their indices."""
    of_tensors = getattr(torch, name)

    def rule(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
        where = of_tensors(plain_of(input), *args, **kwargs)[1]
        positions = [arg for arg in args if isinstance(arg, int) and not isinstance(arg, bool)]
        skipped = 1 if name in ("topk", "kthvalue") and "k" not in kwargs else 0  # k comes before the axis
        dim = kwargs.get("dim", positions[skipped] if len(positions) > skipped else -1)
        gone = where.ndim < input.ndim  # the axis, unless keepdim was asked for
        picked = torch.gather(input, dim, where.unsqueeze(dim) if gone else where)
        return Picked(torch.squeeze(picked, dim) if gone else picked, where)

    for function in functions_named(name):
        RULES[function] = rule


for _name in ("sort", "topk", "kthvalue", "cummax", "cummin"):
    _register_picking(_name)


def _median_by(name: str) -> Callable[..., Any]:
    of_tensors = getattr(torch, name)

    def rule(frame: Frame, input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            flat = torch.reshape(input, (-1,))
            return torch.squeeze(torch.gather(flat, 0, of_tensors(plain_of(flat), 0, True)[1]), 0)
        where = of_tensors(plain_of(input), dim, True)[1]
        picked = torch.gather(input, dim, where)
        if keepdim:
            return Picked(picked, where)
        return Picked(torch.squeeze(picked, dim), where.squeeze(dim))

    return rule


for _name in ("median", "nanmedian"):
    for _function in functions_named(_name):
        RULES[_function] = _median_by(_name)


@rule_for("msort")
def _msort(frame: Frame, input: Any) -> Any:
    return torch.sort(input, 0)[0]


@rule_for("aminmax")
def _aminmax(frame: Frame, input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    axes = () if dim is None else dim
    return _Extremes(torch.amin(input, axes, keepdim), torch.amax(input, axes, keepdim))


class _Extremes(NamedTuple):
    min: Any
    max: Any
