"""A jet through an elementwise function, with its gradient written by hand, for any orders.

With ``y = F(z)`` in the algebra of truncated series, a change of ``z`` changes ``y`` by ``F'(z) dz``: the gradient is
one correlation with the jet ``h`` of ``F'``, which shares its powers of ``z`` with ``y``. Automatic differentiation of
the same formulas reads every coefficient several times more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.taylor.frame import Frame
from nde.taylor.series import compose

__all__ = ["compose_by_hand"]

LocalSeries = Callable[[Any, int], list[Any]]


def compose_by_hand(frame: Frame, local: LocalSeries, z: Sequence[Any]) -> list[Any] | None:
    """Return the coefficients of a function of a jet; ``local(z0, m)`` are its Taylor coefficients up to order ``m``.

    None where the function is linear in pieces: composition is cheaper then.
    """
    with torch.no_grad():
        outer = local(z[0], frame.degree + 1)
    if outer[1] is None or outer[2] is None:
        return None
    places = [order for order, coefficient in enumerate(z) if coefficient is not None]
    found: list[int] = []
    values = _Composition.apply(frame, local, outer, places, found, *(z[order] for order in places))
    result: list[Any] = [None] * (frame.order + 1)
    for order, value in zip(found, values, strict=True):
        result[order] = value
    return result


class _Composition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        frame: Frame,
        local: LocalSeries,
        outer: list[Any],
        places: list[int],
        found: list[int],
        *inner: Tensor,
    ) -> tuple[Tensor, ...]:
        z = _spread(frame, places, inner)
        powers = _powers(frame, z)
        y = _combined(frame, outer, powers)
        found.extend(order for order, value in enumerate(y) if value is not None)
        ctx.frame, ctx.local, ctx.places, ctx.found = frame, local, places, list(found)
        slopes: list[Tensor] = []
        ctx.slope_places = []
        if any(ctx.needs_input_grad):
            slope = _combined(frame, _derivative(outer), powers)
            ctx.slope_places = [order for order, value in enumerate(slope) if value is not None]
            slopes = [slope[order] for order in ctx.slope_places]
        ctx.save_for_backward(*inner, *slopes)
        return tuple(y[order] for order in found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        frame, places = ctx.frame, ctx.places
        inner = ctx.saved_tensors[: len(places)]
        if torch.is_grad_enabled():  # to be differentiated again
            z = _spread(frame, places, inner)
            slope = compose(frame, _derivative(ctx.local(z[0], frame.degree + 1)), z)
        else:
            slope = _spread(frame, ctx.slope_places, ctx.saved_tensors[len(places) :])
        g = _spread(frame, ctx.found, gradients)
        results = [
            _correlation(frame, g, slope, order, value) if needed else None
            for order, value, needed in zip(places, inner, ctx.needs_input_grad[5:], strict=True)
        ]
        return None, None, None, None, None, *results


def _spread(frame: Frame, places: Sequence[int], values: Sequence[Tensor]) -> list[Any]:
    series: list[Any] = [None] * (frame.order + 1)
    for order, value in zip(places, values, strict=True):
        series[order] = value
    return series


def _derivative(outer: Sequence[Any]) -> list[Any]:
    """Return the Taylor coefficients of the derivative: ``f'_m = (m + 1) f_(m + 1)``."""
    return [outer[1], *(None if f is None else f * float(m) for m, f in enumerate(outer[2:], start=2))]


def _powers(frame: Frame, z: Sequence[Any]) -> list[Sequence[Any]]:
    """Return what `nde.taylor.series.powers_of` does, without automatic differentiation and in place."""
    inner = [None, *z[1:]]
    powers: list[Sequence[Any]] = [inner, inner]
    for m in range(2, frame.degree + 1):
        left, square = powers[-1], m == 2
        power: list[Any] = [None] * (frame.order + 1)
        for order in range(m, frame.order + 1):
            if not frame.keeps(order):
                continue
            total = None
            for j in range(m - 1, (order + 1) // 2 if square else order):
                if left[j] is not None and inner[order - j] is not None:
                    total = _added(total, left[j], inner[order - j])
            if square:
                total = None if total is None else total.mul_(2)
                middle = inner[order // 2] if order % 2 == 0 else None
                if middle is not None:
                    total = _added(total, middle, middle)
            power[order] = None if total is None else frame.summed(total, order)
        powers.append(power)
    return powers


def _combined(frame: Frame, outer: Sequence[Any], powers: Sequence[Any]) -> list[Any]:
    """Return ``sum_m outer_m powers_m`` without automatic differentiation, in as few passes as there are terms."""
    result: list[Any] = [outer[0]]
    for order in range(1, frame.order + 1):
        total = None
        for m in range(1, min(order, frame.degree) + 1):
            power = powers[m][order]
            if power is None or outer[m] is None:
                continue
            total = _added(total, outer[m], power)
        result.append(total)
    return result


def _added(total: Any, a: Any, b: Any) -> Any:
    """Return ``total + a * b``, written into ``total`` where nothing else can see it and the shapes allow it."""
    if total is None:
        return a * b
    if torch.is_grad_enabled() or torch.broadcast_shapes(a.shape, b.shape) != total.shape:
        return torch.addcmul(total, a, b)
    return total.addcmul_(a, b)


def _correlation(frame: Frame, g: Sequence[Any], slope: Sequence[Any], order: int, like: Tensor) -> Tensor:
    """Return ``sum_n g_n h_(n - order)``, summed over what the coefficient of that order is shared by."""
    sums: dict[torch.Size, Tensor] = {}  # terms of one shape are added before they are summed over what is shared
    for n in range(order, frame.order + 1):
        gradient, factor = g[n], slope[n - order]
        if gradient is None or factor is None:
            continue
        if frame.collapse and n == frame.order and 0 < order < n:
            gradient = _of_each_direction(frame, gradient)
        shape = torch.broadcast_shapes(gradient.shape, factor.shape)
        sums[shape] = _added(sums.get(shape), gradient, factor)
    parts = [part.sum_to_size(like.shape) for part in sums.values()]
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(like)


def _of_each_direction(frame: Frame, top: Tensor) -> Tensor:
    """Return the gradient that the collapsed sum hands to each direction."""
    if frame.weights is None:
        return top.expand(frame.directions, *top.shape[1:])
    return torch.tensordot(frame.weights, top.expand(len(frame.weights), *top.shape[1:]), dims=([0], [0]))
