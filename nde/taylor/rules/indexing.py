"""Indexing with everything that a tensor can be indexed with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet
from nde.taylor.onehot import OneHotCoefficient
from nde.taylor.registry import rule_for
from nde.taylor.rules.algebra import full_along
from nde.taylor.rules.linear import apply_linear, each

__all__: list[str] = []

_WHOLE = slice(None)


@rule_for("__getitem__")
def _getitem(frame: Frame, input: Any, index: Any) -> Any:
    if isinstance(index, Jet):
        raise TypeError("a jet cannot be an index. Use its value: index.primal.")
    items = list(index) if isinstance(index, tuple) else [index]
    items = [torch.as_tensor(item) if isinstance(item, list) else item for item in items]
    consumed = sum(_axes_of(item) for item in items if item is not Ellipsis)
    if Ellipsis in [item for item in items if not isinstance(item, Tensor)]:
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        items[at : at + 1] = [_WHOLE] * (input.ndim - consumed)
    else:
        items += [_WHOLE] * (input.ndim - consumed)
    if _scattered(items):
        return apply_linear(frame, lambda t: t[tuple(items)], input)
    touched: list[int] = []
    axis = -input.ndim
    for item in items:
        if not (isinstance(item, slice) and item == _WHOLE):
            touched += range(axis, axis + _axes_of(item))
        axis += _axes_of(item)
    whole = (_WHOLE, *items)
    series = _lazily_full(input.lifted, touched, whole)
    return each(Jet(frame, series), lambda c: c.picked(whole) if isinstance(c, OneHotCoefficient) else c[whole])


@rule_for("take")
def _take(frame: Frame, input: Any, index: Any) -> Any:
    return torch.reshape(input, (-1,))[index]


def _axes_of(item: Any) -> int:
    if item is None:
        return 0
    return item.ndim if isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) and item.ndim else 1


def _scattered(items: list[Any]) -> bool:
    """Whether arrays and numbers stand apart, which moves their axis to the front, or an item is True or False."""
    if any(isinstance(item, bool) for item in items):
        return True
    if not any(isinstance(item, Tensor) for item in items):
        return False
    places = [i for i, item in enumerate(items) if isinstance(item, (Tensor, int))]
    return places[-1] - places[0] >= len(places)


def _lazily_full(series: Any, touched: list[int], whole: tuple[Any, ...]) -> Any:
    """Expand the axes that an index touches, of one-hot directions where it does not pick from the last axis alone."""

    def full(c: Lifted) -> Lifted:
        if c is None:
            return None
        if isinstance(c, OneHotCoefficient):
            if c.picks_lazily(whole):
                return c
            c = c.dense()
        return full_along([series[0], c], *touched)[1]

    return [series[0], *map(full, series[1:])]
