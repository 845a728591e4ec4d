"""How a field goes on beyond the walls of a uniform grid."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.operators.constants import kept
from nde.operators.grids import Centering

__all__ = ["extend"]


def extend(x: Tensor, axis: int, width: int, kind: str, centering: Centering = "cells", degree: int = 1) -> Tensor:
    """Return a field with ``width`` more points at both ends of an axis.

    Args:
        x: The field.
        axis: The axis, counted from the front.
        width: How many points.
        kind: ``"periodic"``, ``"zero"``, ``"replicate"``, ``"reflect"`` (the even continuation at the wall: between the
            points of cells, through the last of vertices), or ``"extrapolate"``.
        centering: Where the points are, for ``"reflect"``.
        degree: Degree of the polynomial that ``"extrapolate"`` continues.
    """
    if width == 0:
        return x
    count = x.shape[axis]
    if kind == "zero":
        shape = list(x.shape)
        shape[axis] = width
        before = after = x.new_zeros(shape)
    elif kind == "periodic":
        before, after = x.narrow(axis, count - width, width), x.narrow(axis, 0, width)
    elif kind == "replicate":
        before = x.narrow(axis, 0, 1).repeat_interleave(width, axis)
        after = x.narrow(axis, count - 1, 1).repeat_interleave(width, axis)
    elif kind == "reflect":
        skip = int(centering == "vertices")
        before = x.narrow(axis, skip, width).flip(axis)
        after = x.narrow(axis, count - width - skip, width).flip(axis)
    else:
        ahead = _extrapolation(width, degree).to(x)
        near = x.narrow(axis, 0, degree + 1).movedim(axis, -1)
        far = x.narrow(axis, count - degree - 1, degree + 1).movedim(axis, -1)
        before = (near @ ahead.flip(1)).movedim(-1, axis)
        after = (far @ ahead.flip(0)).movedim(-1, axis)
    return torch.cat((before, x, after), axis)


@kept(64)
def _extrapolation(width: int, degree: int) -> Tensor:
    """Return the weights, shape ``(degree + 1, width)``, of points 0, 1, ... in Lagrange's polynomial at -1, -2, ..."""
    with torch.inference_mode(False):
        weights = torch.ones(degree + 1, width, dtype=torch.float64)
        target = -torch.arange(1, width + 1, dtype=torch.float64)
        for node in range(degree + 1):
            for other in range(degree + 1):
                if other != node:
                    weights[node] *= (target - other) / (node - other)
        return weights
