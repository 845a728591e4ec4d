"""Correlation of a field on a uniform grid with a kernel: tap by tap, or as a product of Fourier transforms."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nde.operators.extension import extend
from nde.operators.grids import Centering, trapezoid
from nde.operators.wave_product import multiply_waves

__all__ = ["direct", "fast_length", "multiply_spectra", "padded_lengths", "taps_of", "weigh_walls"]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def weigh_walls(x: Tensor, halved: tuple[bool, ...]) -> Tensor:
    """Return a field with half its value on points that stand on walls."""
    for axis, half in enumerate(halved, start=x.dim() - len(halved)):
        if half:
            view = [1] * x.dim()
            view[axis] = x.shape[axis]
            x = x * trapezoid(x.shape[axis]).to(x).view(view)
    return x


def direct(x: Tensor, kernel: Tensor, kinds: tuple[str, ...], centering: Centering, degree: int = 1) -> Tensor:
    """Return ``sum_j kernel[j] x[i + j]``.

    Args:
        x: Shape ``(batch, in_channels, *shape)``.
        kernel: Shape ``(out_channels, in_channels, *taps)``, odd in number along each axis.
        kinds: How the field goes on beyond the ends of each axis, see `extend`.
        centering, degree: See `extend`.

    Returns:
        Shape ``(batch, out_channels, *shape)``.
    """
    dims = len(kinds)
    halves = [count // 2 for count in kernel.shape[2:]]
    if all(kind == "zero" for kind in kinds):
        return _CONVOLUTIONS[dims](x, kernel, padding=tuple(halves))
    for axis, (half, kind) in enumerate(zip(halves, kinds, strict=True), start=2):
        x = extend(x, axis, half, kind, centering, degree)
    return _CONVOLUTIONS[dims](x, kernel)


def fast_length(count: int) -> int:
    """Return the smallest length of at least ``count`` with no prime factor above 5."""
    while True:
        rest = count
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return count
        count += 1


def padded_lengths(shape: tuple[int, ...], halves: tuple[int, ...], kinds: tuple[str, ...]) -> tuple[int, ...]:
    """Return the shape of transforms whose products do not reach around the box on axes that are not periodic.

    Args:
        shape: Of the field.
        halves: Half-widths of the kernel.
        kinds: How the field goes on beyond its ends: ``"reflect"`` takes a half-width on both sides, ``"zero"`` one for
            both together.
    """
    lengths = []
    for count, half, kind in zip(shape, halves, kinds, strict=True):
        more = {"periodic": 0, "zero": half, "reflect": 2 * half}[kind]
        lengths.append(count if kind == "periodic" else fast_length(count + more))
    return tuple(lengths)


def multiply_spectra(x: Tensor, spectrum: Tensor, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return ``sum_l weight[l] (psi_l * x)``, periodic on ``shape``.

    The kernel is put together in Fourier space, so that its cost does not depend on its radius.

    Args:
        x: Shape ``(batch, in_channels, *inner)``, continued by zeros to ``shape``.
        spectrum: Transforms of the functions, shape ``(waves, size)``.
        weight: Shape ``(out_channels, in_channels, size)``.
        shape: Shape of the transforms.

    Returns:
        Shape ``(batch, out_channels, *shape)``.
    """
    axes = tuple(range(2, 2 + len(shape)))
    out_channels, in_channels, size = weight.shape
    waves = torch.fft.rfftn(x, s=shape, dim=axes)
    mixing = weight.permute(2, 1, 0).reshape(size, in_channels * out_channels).to(spectrum.dtype)
    kernel = (spectrum @ mixing).view(-1, in_channels, out_channels)
    product = multiply_waves(waves.flatten(2), kernel)
    return torch.fft.irfftn(product.unflatten(2, waves.shape[2:]), s=shape, dim=axes)


def taps_of(halves: tuple[int, ...]) -> int:
    """Return how many points a kernel of these half-widths has."""
    return math.prod([2 * half + 1 for half in halves])  # a list: compilers do not read generators here
