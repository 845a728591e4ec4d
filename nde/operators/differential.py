"""Differential kernels: stencils with zero moments, scaled by the spacing."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nde.checks import check_choice
from nde.operators.checks import check_count, check_radius
from nde.operators.convolution import direct
from nde.operators.grids import Grid, UniformGrid
from nde.operators.layer import OperatorLayer
from nde.operators.stencils import StencilSpace, scaled_stencils, stencil_space

__all__ = ["DifferentialKernel"]


class DifferentialKernel(OperatorLayer):
    """A stencil whose limit under refinement is a learned derivative ``unit^order sum_a b_a d^a v`` of its order.

    Moments below the order are zero and each leading moment is divided by the spacings of its own axes, so that one
    set of weights is one operator at every resolution and on stretched grids, with an error of first order in the
    spacing (of second for ``symmetric``). On fields with jumps it diverges under refinement, as every stencil does
    that is divided by the spacing; see `RegularizedDifferential`. Liu-Schiaffini et al. (2024), Neural operators with
    localized integral and differential kernels.

    Args:
        in_channels, out_channels, dims: See `OperatorLayer`.
        order: Order of the derivative, 1 or 2.
        width: Points of the stencil along each axis, odd.
        boundary: Beyond walls, the field is continued by ``"extrapolate"`` (polynomials of the degree of the order: the
            derivative is right up to the wall), ``"replicate"`` or ``"reflect"`` (right for fields without slope
            there, except for second derivatives on a wall's own vertices, which ``"replicate"`` halves). Periodic axes
            are continued periodically.
        symmetric: Whether to keep only stencils with the parity of the order.
        unit: The length per which the derivative is taken: 1/32, say, keeps outputs small where fields vary over that.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dims: int = 2,
        *,
        order: int = 1,
        width: int = 3,
        boundary: Literal["extrapolate", "replicate", "reflect"] = "extrapolate",
        symmetric: bool = False,
        unit: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, dims)
        check_count(order, "order")
        check_count(width, "width", 3)
        if order > 2:
            raise ValueError(f"order must be 1 or 2, but is {order}. Higher derivatives are compositions of layers.")
        if width % 2 == 0:
            raise ValueError(f"width must be odd, so that the stencil has a middle, but is {width}.")
        check_choice(boundary, ("extrapolate", "replicate", "reflect"), "boundary")
        check_radius(unit, "unit")
        self.order = order
        self.width = width
        self.boundary = boundary
        self.symmetric = symmetric
        self.unit = float(unit)
        space = self._space()
        size = len(space.leading) + len(space.rest)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size) / math.sqrt(in_channels * size))

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        if not isinstance(grid, UniformGrid):
            raise ValueError(
                f"a DifferentialKernel needs a UniformGrid, but the grid is a {type(grid).__name__}. "
                "RegularizedDifferential works there."
            )
        shape = tuple(x.shape[2:])
        needed = max(self.width // 2 + 1, self.order + 1)
        if min(shape) < needed:
            raise ValueError(
                f"a stencil of width {self.width} and order {self.order} needs {needed} points along each axis, "
                f"but the field has shape {shape}."
            )
        stencils = scaled_stencils(*self._kind(), grid.spacing(shape), self.unit)
        kernel = torch.tensordot(self.weight, stencils.to(self.weight), 1)
        kinds = tuple("periodic" if wraps else self.boundary for wraps in grid.wraps(self.dims))
        return direct(x, kernel, kinds, grid.centering, degree=self.order)

    def derivatives(self) -> dict[tuple[int, ...], Tensor]:
        """Return the learned coefficients ``b`` by the exponents of their derivatives, each ``(out, in)``."""
        space = self._space()
        return {powers: self.weight[..., index] for index, powers in enumerate(space.exponents)}

    def _kind(self) -> tuple[int, int, int, bool]:
        return self.order, self.width, self.dims, self.symmetric

    def _space(self) -> StencilSpace:
        return stencil_space(*self._kind())

    def extra_repr(self) -> str:
        """Say the settings too."""
        return f"{super().extra_repr()}, order={self.order}, width={self.width}, boundary={self.boundary!r}"
