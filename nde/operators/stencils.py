"""Stencils of a given derivative order on grids of any spacing, from parameters that do not know the spacing.

A stencil is written as the dual stencils of its leading moments (each scaled by the spacings of its own axes) plus a
rest without moments up to that order. Therefore the limit under refinement is the same on square and on stretched
grids.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from nde.operators.constants import kept

__all__ = ["StencilSpace", "scaled_stencils", "stencil_space"]


class StencilSpace(NamedTuple):
    """A basis of the stencils of one derivative order.

    Attributes:
        exponents: Of the derivatives, for example ``(1, 0)`` and ``(0, 1)``.
        leading: Stencils of these derivatives on unit spacing, shape ``(derivatives, *taps)``.
        rest: Orthonormal stencils without moments up to the order, shape ``(functions, *taps)``.
    """

    exponents: tuple[tuple[int, ...], ...]
    leading: Tensor
    rest: Tensor


@kept(64)
def scaled_stencils(
    order: int, width: int, dims: int, symmetric: bool, spacing: tuple[float, ...], unit: float
) -> Tensor:
    """Return all stencils of a derivative order for a spacing, with derivatives per length ``unit``.

    Args:
        order, width, dims, symmetric: See `stencil_space`.
        spacing: Of the grid, along each axis.
        unit: The length.

    Returns:
        Shape ``(size, *taps)``, float64.
    """
    with torch.inference_mode(False):
        space = stencil_space(order, width, dims, symmetric)
        inverse = [unit / step for step in spacing]
        scales = torch.tensor(
            [
                math.prod(factor**power for factor, power in zip(inverse, powers, strict=True))
                for powers in space.exponents
            ],
            dtype=torch.float64,
        )
        typical = math.prod(inverse) ** (order / dims)
        return torch.cat((space.leading * scales.view(-1, *(1,) * dims), space.rest * typical))


@kept(64)
def stencil_space(order: int, width: int, dims: int, symmetric: bool) -> StencilSpace:
    """Return the stencils of a derivative order.

    Args:
        order: 1 or 2: moments below it are zero.
        width: Points along each axis, odd.
        dims: Dimension.
        symmetric: Whether to keep only those with the parity of the order, whose error is of second order.
    """
    with torch.inference_mode(False):
        half = width // 2
        points = torch.tensor(list(product(range(-half, half + 1), repeat=dims)), dtype=torch.float64)
        exponents = [powers for powers in product(range(order + 1), repeat=dims) if sum(powers) <= order]
        monomials = torch.stack(
            [
                math.prod(
                    (points[:, axis] ** power / math.factorial(power) for axis, power in enumerate(powers)), start=1.0
                )
                * torch.ones(len(points), dtype=torch.float64)
                for powers in exponents
            ]
        )
        duals = torch.linalg.pinv(monomials)  # columns: moment 1 at their own monomial, 0 at the others
        top = [index for index, powers in enumerate(exponents) if sum(powers) == order]
        free = torch.eye(len(points), dtype=torch.float64) - duals @ monomials
        if symmetric:
            free = (free + (-1) ** order * free.flip(0)) / 2  # points in reverse are the points mirrored
        left, values, _ = torch.linalg.svd(free)
        rest = left[:, values > 0.5].t()  # a projection: its singular values are 0 and 1
        taps = (width,) * dims
        return StencilSpace(
            tuple(exponents[index] for index in top),
            duals[:, top].t().reshape(-1, *taps).contiguous(),
            rest.reshape(-1, *taps).contiguous(),
        )
