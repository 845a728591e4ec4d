"""The spectral convolution of Fourier neural operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nde.operators.checks import check_count, check_numbers
from nde.operators.convolution import weigh_walls
from nde.operators.grids import Grid, UniformGrid
from nde.operators.layer import OperatorLayer, complex_of, transformable
from nde.operators.points import PointCloud
from nde.operators.wave_product import multiply_waves

__all__ = ["SpectralConvolution"]


class SpectralConvolution(OperatorLayer):
    """Convolution with a kernel of the wave numbers ``|k_i| <= modes_i``, periodic on the box.

    Li et al. (2021), Fourier neural operator for parametric partial differential equations. The kernel is real, so its
    transform is Hermitian: parameters are real, one for each degree of freedom, none for the imaginary part of the
    mean or twice for mirrored wave numbers. On scattered points the transforms are sums with quadrature weights.

    Args:
        in_channels, out_channels, dims: See `OperatorLayer`.
        modes: Largest wave number along each axis; one number for all axes. A field needs ``2 modes + 1`` points.
        padding: Zeros behind the walls of axes that are not periodic, in parts of the box: the kernel is then periodic
            on a box that is larger by this part, and what leaves the box on one side does not come in on the other.

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
        modes: int | Sequence[int] = 12,
        padding: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, dims)
        numbers: tuple[Any, ...] = tuple(modes) if isinstance(modes, (tuple, list)) else (modes,) * dims
        if len(numbers) != dims:
            raise ValueError(
                f"modes has {len(numbers)} entries, but the domain has {dims} axes. Give one for each axis."
            )
        for number in numbers:
            check_count(number, "modes")
        check_numbers(padding, "padding")
        if padding < 0:
            raise ValueError(f"padding must be zero or positive, but is {padding}.")
        self.modes: tuple[int, ...] = numbers
        self.padding = float(padding)
        scale = 1 / math.sqrt(2 * in_channels)
        sides = tuple(2 * number + 1 for number in numbers[:-1])
        # wave numbers with a positive last entry: real and imaginary parts
        self.weight = nn.Parameter(scale * torch.randn(*sides, numbers[-1], in_channels, out_channels, 2))
        # those with a last entry of 0 mirror each other: the transform's even and odd parts are its real and
        # imaginary ones
        self.plane = nn.Parameter(scale * math.sqrt(2) * torch.randn(*sides, in_channels, out_channels))

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        dtype = x.dtype
        if isinstance(grid, UniformGrid):
            return self._on_grid(transformable(x), grid).to(dtype)
        if isinstance(grid, PointCloud):
            return self._on_points(transformable(x), grid).to(dtype)
        raise ValueError(
            f"a SpectralConvolution needs a UniformGrid or a PointCloud, but the grid is a {type(grid).__name__}. "
            "Build the model without it: on the sphere, LocalNO(..., modes=None, degree=12)."
        )

    def multipliers(self) -> Tensor:
        """Return the kernel's transform, shape ``(waves, in, out)``; the last wave number runs fastest, from 0."""
        mirrored = self.plane.flip(tuple(range(self.dims - 1)))
        plane = torch.complex((self.plane + mirrored) / 2, (self.plane - mirrored) / 2).unsqueeze(self.dims - 1)
        return torch.cat((plane, torch.view_as_complex(self.weight)), self.dims - 1).flatten(0, self.dims - 1)

    def _on_grid(self, x: Tensor, grid: UniformGrid) -> Tensor:
        inner = x.shape[2:]
        lengths = self._lengths(grid, tuple(inner))
        self._check_modes(lengths)
        halved = grid.halved_walls(self.dims)
        x = weigh_walls(x, halved)
        for axis, (count, length) in enumerate(zip(inner, lengths, strict=True), start=2):
            if length == count - 1:  # both walls are one point of the circle
                first, rest = x.narrow(axis, 0, 1), x.narrow(axis, 1, count - 2)
                x = torch.cat((first + x.narrow(axis, count - 1, 1), rest), axis)
        waves = self._forward(x, lengths)
        kept = waves.shape[2:]
        mixed = multiply_waves(waves.flatten(2), self.multipliers().to(complex_of(x.dtype)))
        result = self._backward(mixed.unflatten(2, kept), lengths)
        for axis, (count, length) in enumerate(zip(inner, lengths, strict=True), start=2):
            if length == count - 1:
                result = torch.cat((result, result.narrow(axis, 0, 1)), axis)
            elif length > count:
                result = result.narrow(axis, 0, count)
        return result

    def _forward(self, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
        """Return the kept Fourier coefficients: transformed axis by axis, so that later axes have few waves left."""
        waves = torch.fft.rfft(x, n=lengths[-1], dim=-1, norm="forward").narrow(-1, 0, self.modes[-1] + 1)
        for axis in reversed(range(2, self.dims + 1)):
            number = self.modes[axis - 2]
            waves = torch.fft.fft(waves, n=lengths[axis - 2], dim=axis, norm="forward")
            low = waves.narrow(axis, 0, number + 1)
            waves = torch.cat((waves.narrow(axis, waves.shape[axis] - number, number), low), axis)
        return waves

    def _backward(self, waves: Tensor, lengths: tuple[int, ...]) -> Tensor:
        for axis in range(2, self.dims + 1):
            number, length = self.modes[axis - 2], lengths[axis - 2]
            shape = list(waves.shape)
            shape[axis] = length - 2 * number - 1
            parts = (waves.narrow(axis, number, number + 1), waves.new_zeros(shape), waves.narrow(axis, 0, number))
            waves = torch.fft.ifft(torch.cat(parts, axis), dim=axis, norm="forward")
        return torch.fft.irfft(waves, n=lengths[-1], dim=-1, norm="forward")

    def _on_points(self, x: Tensor, points: PointCloud) -> Tensor:
        periods = tuple(
            length if wraps else length * (1 + self.padding)
            for length, wraps in zip(points.lengths, points.periodic, strict=True)
        )
        count = math.prod([2 * number + 1 for number in self.modes])
        if count > len(points):
            raise ValueError(
                f"modes={self.modes} are {count} waves, which {len(points)} points do not tell apart. "
                "Give fewer modes or more points."
            )
        waves = points.waves(self.modes, periods, x.dtype, x.device)
        measure = (points.weights / math.prod(periods)).to(x)
        coefficients = (x * measure).to(waves.dtype) @ waves.mH  # batch, in, waves
        mixed = multiply_waves(coefficients, self.multipliers().to(complex_of(x.dtype)))
        # the half of the waves that is not kept is the conjugate of this one; the last wave number runs fastest
        doubled = mixed.unflatten(2, (-1, self.modes[-1] + 1))
        doubled = torch.cat((doubled[..., :1], 2 * doubled[..., 1:]), -1).flatten(2)
        return (doubled @ waves).real

    def _lengths(self, grid: UniformGrid, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many points the circle along each axis has."""
        lengths = []
        settings = zip(shape, grid.wraps(self.dims), grid.halved_walls(self.dims), strict=True)
        for count, wraps, halved in settings:
            exact = (count - halved) * (1 if wraps else 1 + self.padding)
            length = round(exact)
            if abs(length - exact) > 1e-6 * exact:
                raise ValueError(
                    f"padding={self.padding} of {count - halved} cells is not a whole number of cells: the "
                    "period would change with the resolution. Give a padding such as 0.25, or another resolution."
                )
            lengths.append(length)
        return tuple(lengths)

    def _check_modes(self, lengths: tuple[int, ...]) -> None:
        for axis, (number, length) in enumerate(zip(self.modes, lengths, strict=True)):
            if 2 * number + 1 > length:
                raise ValueError(
                    f"modes={number} along axis {axis} needs {2 * number + 1} points or more, but the field has "
                    f"{length}: waves at or above Nyquist's are not told apart. Give at most modes={(length - 1) // 2}."
                )

    def extra_repr(self) -> str:
        """Say the settings too."""
        return f"{super().extra_repr()}, modes={self.modes}, padding={self.padding}"
