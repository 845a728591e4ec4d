"""Operators of first order: the gradient, by reverse mode or from random directions, and the divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.taylor.evaluate import jet
from nde.taylor.operators.checks import check_output, check_points, scalar_output
from nde.taylor.operators.draws import LAWS, Draw, draw_directions
from nde.taylor.operators.estimate import Estimate
from nde.taylor.operators.frames import CoordinateFrame
from nde.taylor.operators.modes import check_mode, resolved_mode

__all__ = ["divergence", "gradient"]

_MODES = ("exact", *LAWS)


def gradient(
    f: Callable[[Any], Any],
    x: Tensor,
    *,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Return the gradient of a scalar function at points, shape ``(*S, d)``.

    ``"exact"`` is one pass of reverse mode, the cheapest way to all ``d`` derivatives. The random modes are forward
    gradients, ``mean_v (v . grad u) v``: unbiased and without a tape in ``x``, but with a variance that grows with
    ``d``.

    Args:
        f: Function or module, ``(*S, d) -> (*S,)`` or ``(*S, 1)``; each value may depend on its own point only.
        x: Points, shape ``(*S, d)``, floating.
        mode: ``"exact"``, ``"sparse"``, ``"rademacher"``, ``"gaussian"`` or ``"orthogonal"``.
        samples, groups, generator: See `nde.taylor.operators.laplacian`.

    Raises:
        TypeError: ``x`` is not a floating tensor, ``f`` is not callable.
        ValueError: ``f`` is not scalar or has no derivative; the mode is unknown; ``samples`` does not fit.
    """
    check_points(f, x)
    check_mode(mode, _MODES)
    mode, samples = resolved_mode(mode, None, x.shape[-1], samples)
    if mode == "exact":
        value, derivative = _reverse_gradient(f, x)
        return Estimate(derivative.unsqueeze(0), value, 1.0)
    assert samples is not None  # resolved_mode has checked it
    draw = draw_directions(mode, x.shape[-1], samples, groups, x, generator)
    result = jet(f, x, CoordinateFrame(x.shape[-1], None, x.device).seed(draw, x), order=1)
    check_output(result, x)
    size = draw.samples // groups
    slopes = result.coefficient(1)
    slopes = scalar_output(slopes, torch.empty(draw.samples, *x.shape, device="meta"), "gradient") * draw.scale
    by_group = slopes.reshape(groups, size, *slopes.shape[1:])
    if draw.vectors is None:
        parts = x.new_zeros(groups, *x.shape)
        indices = _draw_indices(draw).reshape(groups, size)
        parts = torch.stack([parts[g].index_copy(-1, indices[g], by_group[g].movedim(0, -1)) for g in range(groups)])
    else:
        vectors = draw.vectors.reshape(groups, size, -1)
        parts = torch.einsum("gv...,gvd->g...d", by_group, vectors)
    return Estimate(parts, result.primal, draw.fraction)


def divergence(
    f: Callable[[Any], Any],
    x: Any,
    *,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Return ``sum_i d f_i / d x_i`` of a vector field at points, shape ``S``.

    Args:
        f: Field, ``(*S, d) -> (*S, d)``.
        x: Points, shape ``(*S, d)``, floating.
        mode: ``"exact"``, ``"sparse"``, ``"rademacher"``, ``"gaussian"`` or ``"orthogonal"``.
        samples, groups, generator: See `nde.taylor.operators.laplacian`.

    Raises:
        TypeError: ``x`` is not a floating tensor, ``f`` is not callable.
        ValueError: ``f`` does not return one value for each coordinate; the mode is unknown; ``samples`` does not fit.
    """
    check_points(f, x)
    check_mode(mode, _MODES)
    dimension = x.shape[-1]
    mode, samples = resolved_mode(mode, None, dimension, samples)
    if mode == "exact":
        draw = Draw.everything(dimension, x.device)
    else:
        assert samples is not None  # resolved_mode has checked it
        draw = draw_directions(mode, dimension, samples, groups, x, generator)
    result = jet(f, x, CoordinateFrame(dimension, None, x.device).seed(draw, x), order=1)
    if result.primal.shape != x.shape:
        raise ValueError(
            f"divergence needs a field with one value for each coordinate, of the shape {tuple(x.shape)}, but f "
            f"returned {tuple(result.primal.shape)}."
        )
    check_output(result, x)
    slopes = result.coefficient(1)
    if draw.vectors is None:
        indices = _draw_indices(draw).reshape(-1, *[1] * x.ndim).expand(*slopes.shape[:-1], 1)
        each = slopes.gather(-1, indices).squeeze(-1)
    else:
        each = torch.einsum("v...d,vd->v...", slopes, draw.vectors)
    parts = each.reshape(groups, draw.samples // groups, *each.shape[1:]).sum(1) * draw.scale
    return Estimate(parts, result.primal, draw.fraction)


def _draw_indices(draw: Draw) -> Tensor:
    assert draw.indices is not None  # asked for only where directions are columns
    return draw.indices


def _reverse_gradient(f: Callable[[Any], Any], x: Tensor) -> tuple[Tensor, Tensor]:
    tracked = torch.is_grad_enabled()
    with torch.enable_grad():
        points = x if tracked and x.requires_grad else x.detach().requires_grad_()
        value = f(points)
        scalar = scalar_output(value, x, "gradient")
        if not value.requires_grad:
            raise ValueError(
                "f has no derivative with respect to x: its result does not depend on the points that it is given. "
                "Look for detach(), .data, .item(), NumPy or a comparison inside of it."
            )
        (derivative,) = torch.autograd.grad(scalar.sum(), points, create_graph=tracked, allow_unused=True)
    if derivative is None:
        raise ValueError(
            "f has no derivative with respect to x: it does not use the points. Look for detach() inside of it."
        )
    return (value, derivative) if tracked else (value.detach(), derivative)
