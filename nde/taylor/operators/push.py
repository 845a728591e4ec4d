"""Pushes many directions through a function and sums a Taylor coefficient over groups of them, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.taylor.evaluate import jet
from nde.taylor.operators.checks import check_output

__all__ = ["Pushed", "push_directions"]

_MOST_COLLAPSED_GROUPS = 16  # each group costs a row in every product of coefficients; above, keep directions apart


class Pushed(NamedTuple):
    """Sums over groups of directions.

    Attributes:
        parts: Shape ``(G, *O)``: the weighted sum of each group, with the drift.
        primal: ``f(x)``.
        cross: ``Du[cross]``, or None.
    """

    parts: Any
    primal: Any
    cross: Any


def push_directions(
    f: Callable[[Any], Any],
    x: Any,
    seed: Any,
    *,
    order: int,
    directions: int,
    groups: int = 1,
    factor: float = 1.0,
    each: Tensor | None = None,
    drift: Tensor | None = None,
    cross: Tensor | None = None,
) -> Pushed:
    """Return ``factor * sum_v each_v D^order u[v, ..., v] / order! + Du[drift]`` for each group, and ``Du[cross]``.

    The sums are collapsed: only one vector for each group is carried for the highest order. A seed of that order enters
    every operation linearly, so that first-order terms ride along in the vector that carries the sum; ``cross`` has one
    of its own.

    Args:
        f: Function of points.
        x: Points, shape ``S``.
        seed: Directions, the first axis of length ``directions``; consecutive ones are of one group.
        order: Which derivative; ``each``, ``drift`` and ``cross`` need 2 or more.
        directions, groups: Their numbers.
        factor: Weight of all directions.
        each: Shape ``(directions,)``: a weight for each direction.
        drift, cross: Broadcastable to ``S``.
    """
    size = directions // groups
    if cross is None and each is None and (groups in (1, directions) or groups > _MOST_COLLAPSED_GROUPS):
        return _push_plain(f, x, seed, order, size, groups, factor, drift)
    if order == 1:
        return _push_plain(f, x, seed, order, size, groups, factor, None)
    weights = torch.eye(groups, dtype=x.dtype, device=x.device).repeat_interleave(size, 1) * factor
    if each is not None:
        weights = weights * each
    tops = [drift] * groups
    if cross is not None:
        weights = torch.cat([weights, weights.new_zeros(1, directions)])
        tops.append(cross)
    seeds = [seed, *[None] * (order - 2)]
    if any(top is not None for top in tops):
        zero = x.new_zeros([1] * x.ndim)
        seeds.append(torch.stack([(zero if top is None else top).expand(x.shape) for top in tops]))
    result = jet(f, x, seeds, order=order, collapse=True, weights=weights)
    check_output(result, x)
    sums = result.coefficient(order)
    return Pushed(sums[:groups], result.primal, None if cross is None else sums[groups])


def _push_plain(
    f: Callable[[Any], Any],
    x: Any,
    seed: Any,
    order: int,
    size: int,
    groups: int,
    factor: float,
    drift: Tensor | None,
) -> Pushed:
    """Sum all directions with equal weights, or carry them apart and sum at the end."""
    collapse = groups == 1 and order > 1
    share = factor if collapse else factor * size
    seeds = [seed, *[None] * (order - 2)]
    if drift is not None:
        seeds.append(drift / share)
    result = jet(f, x, seeds, order=order, collapse=collapse)
    check_output(result, x)
    top = result.coefficient(order) * factor
    if collapse:
        return Pushed(top.unsqueeze(0), result.primal, None)
    return Pushed(top.reshape(groups, size, *top.shape[1:]).sum(1), result.primal, None)
