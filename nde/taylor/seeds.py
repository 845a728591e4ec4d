"""Seeds of a jet: how directions are given, checked and lifted; lazy coordinate directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde.taylor.jet_type import Jet
from nde.taylor.onehot import OneHotCoefficient

__all__ = ["OneHot", "Seed", "lifted_seeds"]


class OneHot:
    """Coordinate directions ``e_j`` of the last axis, one for each index, shared by all points.

    Args:
        indices: Shape ``(V,)``, integers in ``0 .. d - 1``, where ``d`` is the size of the last axis of ``x``.

    Raises:
        TypeError: ``indices`` is not a tensor of integers.
        ValueError: ``indices`` does not have one axis, or is empty.
    """

    def __init__(self, indices: Tensor) -> None:
        if not isinstance(indices, Tensor) or indices.dtype not in (torch.int64, torch.int32):
            kind = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
            raise TypeError(f"indices must be a tensor of int64, but is {kind}. Try torch.tensor([0, 2, 5]).")
        if indices.ndim != 1 or indices.shape[0] == 0:
            raise ValueError(f"indices must have shape (V,) with V >= 1, but has shape {tuple(indices.shape)}.")
        self.indices = indices


Seed = Tensor | OneHot


def lifted_seeds(
    x: Any, seeds: Sequence[Any], order: int, collapse: bool, weights: Tensor | None
) -> tuple[list[Any], int | None]:
    """Check the arguments of an evaluation and return the coefficients of the curve with their leading axis.

    The second result is the number of directions, None where no seed has an axis of directions.
    """
    _check_order(order, collapse)
    _check_points(x)
    if len(seeds) > order:
        raise ValueError(f"tangents has {len(seeds)} seeds, but order is {order}: there is one seed for each order.")
    if all(seed is None for seed in seeds):
        raise ValueError("tangents needs at least one seed that is not None.")
    groups = _check_weights(x, weights, collapse)
    directions = None if groups is None else groups[1]
    source = "weights"
    lifted = [x.unsqueeze(0)]
    for k, seed in enumerate(seeds, start=1):
        if seed is None:
            lifted.append(None)
            continue
        coefficient, count = _lifted_seed(x, seed, k)
        if collapse and k == order:
            allowed = 1 if groups is None else groups[0]
            if count not in (None, 1, allowed):
                raise ValueError(
                    f"the seed of order {k}, the collapsed one, must have the shape {tuple(x.shape)} of x: it "
                    f"is that of the sum over the directions. It has {count} rows. "
                    "Sum them, or evaluate without collapse."
                )
        elif count is not None:
            if directions is not None and count != directions:
                raise ValueError(
                    f"the seed of order {k} has {count} directions, but {source} has {directions}. "
                    "All seeds with an axis of directions need as many."
                )
            directions, source = count, f"the seed of order {k}"
        lifted.append(coefficient)
    return lifted + [None] * (order - len(seeds)), directions


def _lifted_seed(x: Any, seed: Any, order: int) -> tuple[Any, int | None]:
    """Return a seed with its leading axis, and the number of directions that it says there are."""
    if isinstance(seed, OneHot):
        return _lifted_one_hot(x, seed), seed.indices.shape[0]
    if not isinstance(seed, (Tensor, Jet)):
        raise TypeError(
            f"the seed of order {order} must be a tensor, OneHot or None, but is {type(seed).__name__}. "
            "Convert arrays with torch.as_tensor."
        )
    if seed.dtype != x.dtype or seed.device != x.device:
        raise TypeError(
            f"the seed of order {order} is {seed.dtype} on {seed.device}, but x is {x.dtype} on {x.device}. "
            "Use seed.to(x)."
        )
    batched = seed.ndim == x.ndim + 1
    own = tuple(seed.shape[1:] if batched else seed.shape)
    fits = len(own) == x.ndim and all(size in (1, full) for size, full in zip(own, x.shape, strict=True))
    if not fits or (batched and seed.shape[0] == 0):
        raise ValueError(
            f"the seed of order {order} has shape {tuple(seed.shape)}, which does not fit x of shape {tuple(x.shape)}. "
            f"Give one direction as {tuple(x.shape)}, or V directions as (V, {', '.join(map(str, x.shape))}); "
            "sizes of 1 are broadcast, so (V, 1, d) is shared by a batch."
        )
    return (seed, seed.shape[0]) if batched else (seed.unsqueeze(0), None)


def _lifted_one_hot(x: Any, seed: OneHot) -> OneHotCoefficient:
    if x.ndim == 0:
        raise ValueError(
            "OneHot needs x with at least one axis. For a scalar x the only direction is torch.ones_like(x)."
        )
    width = x.shape[-1]
    if not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in seed.indices.aminmax())
        if low < 0 or high >= width:
            raise ValueError(
                f"OneHot indices must be in 0 .. {width - 1} for x of shape {tuple(x.shape)}, "
                f"but reach {low} .. {high}."
            )
    values = x.new_ones(()).expand(seed.indices.shape[0], *[1] * (x.ndim - 1))
    return OneHotCoefficient(seed.indices.to(x.device), values, width)


def _check_order(order: Any, collapse: bool) -> None:
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise ValueError(
            f"order must be a whole number of at least 1, but is {order!r}. For the value alone, call f(x)."
        )
    if collapse and order < 2:
        raise ValueError(
            "collapse needs order >= 2. The first-order coefficient is linear: "
            "give the sum of the directions as one direction."
        )


def _check_points(x: Any) -> None:
    if not isinstance(x, (Tensor, Jet)):
        raise TypeError(f"x must be a tensor, but is {type(x).__name__}. Use torch.as_tensor(x, dtype=torch.float32).")
    if not x.dtype.is_floating_point:
        raise TypeError(
            f"x must be floating, because it is differentiated, but is {x.dtype}. Use x.float() or x.double()."
        )


def _check_weights(x: Any, weights: Any, collapse: bool) -> tuple[int, int] | None:
    if weights is None:
        return None
    if not collapse:
        raise ValueError(
            "weights belong to the collapsed coefficient: set collapse=True, or weigh the coefficients of the result."
        )
    if not isinstance(weights, Tensor) or weights.dtype != x.dtype:
        kind = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise TypeError(f"weights must be a tensor of the dtype of x, {x.dtype}, but is {kind}.")
    if weights.ndim not in (1, 2) or 0 in weights.shape:
        raise ValueError(f"weights must have shape (V,) or (G, V), but has shape {tuple(weights.shape)}.")
    return (1, weights.shape[0]) if weights.ndim == 1 else (weights.shape[0], weights.shape[1])
