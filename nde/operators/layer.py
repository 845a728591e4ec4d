"""What all layers share: the checks of a field against a grid, and any number of batch axes."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, nn

from nde.operators.checks import check_count, check_dims
from nde.operators.grids import Grid, UniformGrid

__all__ = ["OperatorLayer", "complex_of", "transformable"]


class OperatorLayer(nn.Module):
    """A map of fields ``(*batch, in_channels, *shape)`` to fields ``(*batch, out_channels, *shape)`` on the same grid.

    Args:
        in_channels, out_channels: Channels before and after.
        dims: Dimension of the domain, 1, 2 or 3; 2 for a sphere.

    Raises:
        TypeError: An argument is no integer.
        ValueError: An argument is out of range.
    """

    def __init__(self, in_channels: int, out_channels: int, dims: int) -> None:
        super().__init__()
        check_count(in_channels, "in_channels")
        check_count(out_channels, "out_channels")
        check_dims(dims)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.dims = dims

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """Apply the operator.

        Args:
            x: The field, shape ``(*batch, in_channels, *shape)``; ``shape`` has one axis for each dimension on a
                `UniformGrid`, latitude and longitude on a `SphereGrid`, and one axis in all on a cloud of points.
            grid: Where its values are known; the unit box with walls by default.

        Returns:
            Shape ``(*batch, out_channels, *shape)``.

        Raises:
            TypeError: ``x`` is no real tensor or has another dtype than the parameters.
            ValueError: Field, grid and layer do not fit each other.
        """
        grid = UniformGrid() if grid is None else grid
        axes = self.check(x, grid)
        batch, shape = x.shape[: -axes - 1], x.shape[-axes:]
        result = self.evaluate(x.reshape(-1, self.in_channels, *shape), grid)
        return result.reshape(*batch, self.out_channels, *shape)

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """Apply the operator to a checked field of shape ``(batch, in_channels, *shape)``."""
        raise NotImplementedError

    def check(self, x: Any, grid: Any) -> int:
        """Raise unless field, grid and layer fit each other, and return how many axes of the field are the grid's."""
        if not isinstance(grid, Grid):
            raise TypeError(f"grid must be a Grid, but is a {type(grid).__name__}. Try nde.operators.UniformGrid().")
        if not isinstance(x, Tensor) or not x.is_floating_point():
            given = f"of dtype {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise TypeError(f"x must be a tensor of real numbers, but is {given}.")
        axes = grid.axes(self.dims)
        if x.dim() < axes + 1 or x.shape[-axes - 1] != self.in_channels:
            raise ValueError(
                f"x must have shape (*batch, {self.in_channels}, {', '.join(['points'] * axes)}) on a "
                f"{type(grid).__name__}, but has shape {tuple(x.shape)}."
            )
        if x.numel() == 0:
            raise ValueError(f"x must hold values, but has shape {tuple(x.shape)}.")
        # a compiled graph is for one shape, because its tables are; index() says so to the compiler
        grid.check(tuple(operator.index(count) for count in x.shape[-axes:]))
        parameter = next(self.parameters(), None)
        if parameter is not None and parameter.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"x has dtype {x.dtype}, but the layer's parameters have {parameter.dtype}. Convert one of them."
            )
        return axes

    def extra_repr(self) -> str:
        """Say the channels and the dimension."""
        return f"{self.in_channels}, {self.out_channels}, dims={self.dims}"


def transformable(x: Tensor) -> Tensor:
    """Return a field in a precision that Fourier transforms know: float32 where autocast made it shorter."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def complex_of(dtype: torch.dtype) -> torch.dtype:
    """Return the complex numbers of a real precision; ``dtype.to_complex()``, which compilers do not know."""
    return torch.complex128 if dtype == torch.float64 else torch.complex64
