"""The functions of a basis on the points of a uniform grid around one of its points, and their Fourier transforms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.operators.bases import Basis
from nde.operators.constants import kept
from nde.operators.layer import complex_of

__all__ = ["half_widths", "kernel_spectrum", "kernel_table", "point_moments"]

# A cell is cut into this many parts along each axis at least: its average then has a quarter of the spacing's error.
_SUBCELLS = 4
# Kernels of few cells are cut finer, so that their radius has this many parts.
_PARTS_OF_RADIUS = 16
_POINTS_AT_ONCE = 1 << 20


def half_widths(radius: float, spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Return how many cells next to a point's own the ball around it touches, along each axis."""
    return tuple(math.ceil(radius / step - 0.5) for step in spacing)


@kept(64)
def kernel_table(basis: Basis, radius: float, spacing: tuple[float, ...]) -> Tensor:
    """Return the averages of a basis over the cells around a point, times the cells' measure in units of the radius.

    The averages make the quadrature of second order in the spacing for any ratio of radius and spacing.

    Args:
        basis: The functions.
        radius: Radius of the ball.
        spacing: Of the grid, along each axis.

    Returns:
        Shape ``(size, *taps)``, ``taps = 2 half_widths + 1``, float64.
    """
    with torch.inference_mode(False):  # what is kept must also serve training
        dims = len(spacing)
        parts = [max(_SUBCELLS, math.ceil(_PARTS_OF_RADIUS * step / radius)) for step in spacing]
        axes = []
        for half, step, count in zip(half_widths(radius, spacing), spacing, parts, strict=True):
            inner = (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5
            offsets = torch.arange(-half, half + 1, dtype=torch.float64)
            axes.append((offsets.unsqueeze(1) + inner).flatten() * (step / radius))
        rows = max(1, _POINTS_AT_ONCE // math.prod(len(axis) for axis in axes[1:]) // parts[0])
        measure = math.prod(spacing) / radius**dims
        slabs = []
        for first in axes[0].split(rows * parts[0]):
            z = torch.stack(torch.meshgrid(first, *axes[1:], indexing="ij"), dim=-1)
            values = basis(z)
            cells: list[int] = []
            for size, count in zip(z.shape[:-1], parts, strict=True):
                cells += [size // count, count]
            slabs.append(values.view(-1, *cells).mean(dim=tuple(range(2, 2 * dims + 1, 2))))
        return torch.cat(slabs, dim=1) * measure


@kept(32)
def kernel_spectrum(
    basis: Basis,
    radius: float,
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return the transforms by which a correlation with a table becomes a product.

    Returns:
        Shape ``(waves, size)``, complex.
    """
    with torch.inference_mode(False):
        table = kernel_table(basis, radius, spacing)
        dims = len(shape)
        taps = table.shape[1:]
        padded = torch.zeros(table.shape[0], *shape, dtype=torch.float64)
        padded[(slice(None), *(slice(count) for count in taps))] = table
        padded = padded.roll([-(count // 2) for count in taps], dims=list(range(1, dims + 1)))
        spectrum = torch.fft.rfftn(padded, dim=list(range(1, dims + 1))).conj().resolve_conj().flatten(1)
        return spectrum.t().contiguous().to(device=device, dtype=complex_of(dtype))


@kept(32)
def point_moments(
    basis: Basis,
    radius: float,
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    periodic: tuple[bool, ...],
    halved: tuple[bool, ...],
) -> Tensor:
    """Return the integrals of a basis over the part of the ball around each point that is inside the box.

    Returns:
        Shape ``(size, *shape)``, float64.
    """
    from nde.operators.convolution import padded_lengths, weigh_walls

    with torch.inference_mode(False), torch.no_grad():
        ones = weigh_walls(torch.ones(1, 1, *shape, dtype=torch.float64), halved)[0, 0]
        kinds = tuple("periodic" if wraps else "zero" for wraps in periodic)
        lengths = padded_lengths(shape, half_widths(radius, spacing), kinds)
        spectrum = kernel_spectrum(basis, radius, spacing, lengths, ones.dtype, ones.device)
        waves = torch.fft.rfftn(ones, s=lengths)
        products = (spectrum.t() * waves.flatten()).unflatten(1, waves.shape)
        moments = torch.fft.irfftn(products, s=lengths, dim=tuple(range(1, len(shape) + 1)))
        return moments[(slice(None), *(slice(count) for count in shape))].contiguous()
