"""Relative errors of fields, one for each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.operators.grids import UniformGrid
from nde.operators.points import ScatteredPoints
from nde.operators.sphere import SphereGrid

__all__ = ["RelativeH1", "RelativeL2"]


class RelativeL2:
    """``||prediction - target|| / ||target||`` over channels and space, for each sample.

    Args:
        grid: Where the values are, in a box, on the sphere or at scattered points; its weights make sums integrals.
            None for equal weights.

    Raises:
        TypeError: The grid has no weights.
    """

    def __init__(self, grid: UniformGrid | SphereGrid | ScatteredPoints | None = None) -> None:
        if grid is not None and not isinstance(grid, (UniformGrid, SphereGrid, ScatteredPoints)):
            raise TypeError(
                "grid must be a UniformGrid, SphereGrid, PointCloud or SpherePoints, or None, "
                f"but is a {type(grid).__name__}."
            )
        self.grid = grid

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the errors, shape ``(batch,)``, in the target's precision.

        Args:
            prediction, target: Shape ``(batch, channels, *space)``.

        Raises:
            ValueError: The shapes differ, hold no axis of space or do not fit the grid.
        """
        _check_fields(prediction, target)
        if isinstance(self.grid, (SphereGrid, ScatteredPoints)):
            self.grid.check(tuple(target.shape[2:]))
        # differences in half precision would be mostly rounding
        prediction = prediction.to(target.dtype)
        error, scale = self.squared_norm(prediction - target), self.squared_norm(target)
        return (error / scale.clamp_min(torch.finfo(target.dtype).tiny)).sqrt()

    def squared_norm(self, field: Tensor) -> Tensor:
        """Return squared norms, shape ``(batch,)``."""
        squared = field.square().sum(1)
        if self.grid is not None:
            known = self.grid.weights
            weights = known if isinstance(known, Tensor) else known(tuple(squared.shape[1:]))
            squared = squared * weights.to(squared)
        return squared.flatten(1).sum(1)


class RelativeH1(RelativeL2):
    """The error in values and in first derivatives, relative to the target's: the norm of ``H^1``.

    Derivatives are spectral along periodic axes and differences of second order along the others.

    Args:
        grid: Where the values are.
        scale: Weight of squared derivatives, in squared units of length.

    Raises:
        TypeError: The grid is no `UniformGrid`.
        ValueError: The scale is not positive.
    """

    grid: UniformGrid

    def __init__(self, grid: UniformGrid, scale: float = 1.0) -> None:
        if not isinstance(grid, UniformGrid):
            raise TypeError(
                f"grid must be a UniformGrid, whose spacing derivatives need, but is a {type(grid).__name__}."
            )
        super().__init__(grid)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be positive and finite, but is {scale}.")
        self.scale = scale

    def squared_norm(self, field: Tensor) -> Tensor:
        """Return squared norms, shape ``(batch,)``."""
        total = super().squared_norm(field)
        shape = tuple(field.shape[2:])
        spacing, wraps = self.grid.spacing(shape), self.grid.wraps(len(shape))
        for axis, (step, periodic) in enumerate(zip(spacing, wraps, strict=True), start=2):
            slope = _spectral_derivative(field, axis, step) if periodic else _differences(field, axis, step)
            total = total + self.scale * super().squared_norm(slope)
        return total


def _spectral_derivative(field: Tensor, axis: int, step: float) -> Tensor:
    count = field.shape[axis]
    waves = 2 * math.pi * torch.fft.rfftfreq(count, step, dtype=field.dtype, device=field.device)
    if count % 2 == 0:
        # the sine that this wave's derivative would be is zero at all points
        waves = torch.cat([waves[:-1], waves.new_zeros(1)])
    shape = [-1 if other == axis else 1 for other in range(field.dim())]
    return torch.fft.irfft(1j * waves.view(shape) * torch.fft.rfft(field, dim=axis), n=count, dim=axis)


def _differences(field: Tensor, axis: int, step: float) -> Tensor:
    if field.shape[axis] < 3:
        raise ValueError(
            f"derivatives need three points along each axis, but the field has shape {tuple(field.shape)}."
        )
    (slope,) = torch.gradient(field, spacing=step, dim=axis, edge_order=2)
    return slope


def _check_fields(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or target.dim() < 3:
        raise ValueError(
            "prediction and target must have one shape (batch, channels, *space), but have "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}."
        )
