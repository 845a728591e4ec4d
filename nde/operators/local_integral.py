"""Local integral kernels of a fixed physical radius: one operator on grids, on scattered points and on the sphere."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nde.checks import check_choice
from nde.operators.bases import Basis, HatBasis, OddBasis
from nde.operators.checks import check_radius
from nde.operators.convolution import direct, multiply_spectra, padded_lengths, taps_of, weigh_walls
from nde.operators.extension import extend
from nde.operators.grids import Grid, UniformGrid
from nde.operators.kernel_tables import half_widths, kernel_spectrum, kernel_table, point_moments
from nde.operators.layer import OperatorLayer, transformable
from nde.operators.points import ScatteredPoints
from nde.operators.sparse import sparse_product
from nde.operators.sphere import SphereGrid

__all__ = ["LocalIntegral", "RegularizedDifferential"]

Boundary = Literal["zero", "reflect"]

# Kernels of more taps are multiplied in Fourier space, by the crossover that benchmarks/operators.py measures.
_DIRECT_TAPS = {1: 16, 2: 36, 3: 64}


class LocalIntegral(OperatorLayer):
    """``(K v)(x) = r^-dims int_B(x, r) kappa((y - x) / r) v(y) dy`` with ``kappa = sum_l weight_l psi_l``.

    Discrete-continuous convolution: the functions ``psi_l`` are fixed, only the integral is discretized, with the
    quadrature weights of the points at hand. So one set of weights is one operator at every resolution and on every
    kind of `Grid`, up to quadrature errors, of second order on uniform grids. Ocampo, Price, McEwen (2023), Scalable
    and equivariant spherical CNNs by discrete-continuous convolutions; Liu-Schiaffini et al. (2024), Neural operators
    with localized integral and differential kernels.

    Args:
        in_channels, out_channels, dims: See `OperatorLayer`.
        radius: Radius of the kernel, in the lengths of the grid; in radians on the sphere.
        basis: The functions; see `HatBasis`, `ZernikeBasis` and `HarmonicBasis`.
        boundary: At walls, ``"zero"`` integrates over the part of the ball inside the domain; ``"reflect"`` continues
            the field evenly.
        method: On uniform grids, ``"direct"``, ``"fft"``, or ``"auto"`` for the faster one. They differ by rounding.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    mean_free = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dims: int = 2,
        *,
        radius: float = 1 / 16,
        basis: Basis | None = None,
        boundary: Boundary = "zero",
        method: Literal["auto", "direct", "fft"] = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, dims)
        check_radius(radius)
        check_choice(boundary, ("zero", "reflect"), "boundary")
        check_choice(method, ("auto", "direct", "fft"), "method")
        self.radius = float(radius)
        self.basis = check_basis(basis)
        self.boundary = boundary
        self.method = method
        size = self.basis.size(dims)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size) / math.sqrt(in_channels * size))

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        if isinstance(grid, UniformGrid):
            return self._on_grid(x, grid)
        if isinstance(grid, ScatteredPoints):
            return self._on_points(x, grid)
        if isinstance(grid, SphereGrid):
            return self._on_sphere(x, grid)
        raise TypeError(f"{type(self).__name__} does not know how to integrate on a {type(grid).__name__}.")

    def _on_grid(self, x: Tensor, grid: UniformGrid) -> Tensor:
        shape = tuple(x.shape[2:])
        spacing, wraps = grid.spacing(shape), grid.wraps(self.dims)
        halves = half_widths(self.radius, spacing)
        self._check_fit(shape, spacing, halves, wraps)
        kinds = tuple("periodic" if periodic else self.boundary for periodic in wraps)
        cut = self.boundary == "zero"
        halved = tuple(half and cut for half in grid.halved_walls(self.dims))
        weighed = weigh_walls(x, halved)
        if self.method == "fft" or (self.method == "auto" and taps_of(halves) > _DIRECT_TAPS[self.dims]):
            result = self._by_transforms(weighed, grid, spacing, halves, kinds)
        else:
            table = kernel_table(self.basis, self.radius, spacing).to(self.weight)
            kernel = torch.tensordot(self.weight, table, 1)
            result = direct(weighed, kernel, kinds, grid.centering)
        if self.mean_free and cut and not all(wraps):
            moments = point_moments(self.basis, self.radius, spacing, shape, wraps, halved).to(x)
            result = result - self._own_value(x, moments)
        return result

    def _by_transforms(
        self, x: Tensor, grid: UniformGrid, spacing: tuple[float, ...], halves: tuple[int, ...], kinds: tuple[str, ...]
    ) -> Tensor:
        dtype, shape = x.dtype, tuple(x.shape[2:])
        x = transformable(x)
        lengths = padded_lengths(shape, halves, kinds)
        before = [half if kind == "reflect" else 0 for half, kind in zip(halves, kinds, strict=True)]
        for axis, width in enumerate(before, start=2):
            x = extend(x, axis, width, "reflect", grid.centering)
        spectrum = kernel_spectrum(self.basis, self.radius, spacing, lengths, x.dtype, x.device)
        result = multiply_spectra(x, spectrum, self.weight.to(x.dtype), lengths)
        for axis, (start, count) in enumerate(zip(before, shape, strict=True), start=2):
            result = result.narrow(axis, start, count)
        return result.to(dtype)

    def _own_value(self, x: Tensor, moments: Tensor) -> Tensor:
        """Return ``sum_l moments_l(x) weight_l v(x)``: what a constant field of value ``v(x)`` would give."""
        flat = x.flatten(2)
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for weight, moment in zip(self.weight.unbind(-1), moments.flatten(1), strict=True):
            total = total + (weight @ flat) * moment
        return total.view(x.shape[0], self.out_channels, *x.shape[2:])

    def _on_points(self, x: Tensor, points: ScatteredPoints) -> Tensor:
        pair = points.filters(self.basis, self.radius, self.boundary, self.mean_free, self.weight.dtype, x.device)
        batch, count = x.shape[0], len(points)
        columns = x.to(self.weight.dtype).permute(2, 0, 1).reshape(count, -1)
        filtered = sparse_product(pair, columns).view(-1, count, batch, self.in_channels)
        features = filtered.permute(2, 1, 3, 0).reshape(
            batch, count, -1
        )  # channels and functions last, as in the weight
        return (features @ self.weight.flatten(1).t()).transpose(1, 2)

    def _on_sphere(self, x: Tensor, grid: SphereGrid) -> Tensor:
        dtype = x.dtype
        x = transformable(x)
        batch, channels, rows, columns = x.shape
        spectra = grid.spectra(self.basis, self.radius, self.mean_free, (rows, columns), x.dtype, x.device)
        waves = torch.fft.rfft(x, dim=-1).permute(3, 2, 0, 1).reshape(-1, rows, batch * channels)
        filtered = (spectra @ waves).view(waves.shape[0], -1, rows, batch, channels)
        features = torch.view_as_real(filtered.permute(3, 2, 0, 4, 1).resolve_conj().contiguous())
        mixed = torch.einsum("birclk,ocl->boirk", features, self.weight.to(x.dtype)).contiguous()
        return torch.fft.irfft(torch.view_as_complex(mixed), n=columns, dim=-1).to(dtype)

    def _check_fit(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], halves: tuple[int, ...], wraps: tuple[bool, ...]
    ) -> None:
        for axis, (count, step, half, periodic) in enumerate(zip(shape, spacing, halves, wraps, strict=True)):
            if self.radius < step * (1 - 1e-9):
                raise ValueError(
                    f"radius={self.radius:.4g} is below the spacing {step:.4g} of the {count} points along axis "
                    f"{axis}. Give a larger radius or at least {math.ceil(count * step / self.radius)} points."
                )
            if half > ((count - 1) // 2 if periodic else count - 1):
                raise ValueError(
                    f"radius={self.radius:.4g} is larger than {'half ' if periodic else ''}the box along axis {axis}, "
                    f"whose length is {count * step:.4g}. Give a smaller radius."
                )

    def extra_repr(self) -> str:
        """Say the settings too."""
        return f"{super().extra_repr()}, radius={self.radius:.4g}, basis={self.basis}, boundary={self.boundary!r}"


class RegularizedDifferential(LocalIntegral):
    """``(D v)(x) = (unit / r) r^-dims int_B(x, r) kappa((y - x) / r) (v(y) - v(x)) dy`` with an odd ``kappa``.

    A learned first derivative of the field smoothed at a fixed radius: for small radii, ``unit b . grad v``. A stencil
    divided by the spacing diverges under refinement where the field jumps; this stays bounded. Constants give zero
    on every grid, up to the walls.

    Args:
        in_channels, out_channels, dims, radius, boundary, method: See `LocalIntegral`.
        basis: The functions whose odd parts to take.
        unit: The length per which the derivative is taken; the radius by default, which keeps outputs of the size of
            the field's differences.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the basis has no odd functions.
    """

    mean_free = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dims: int = 2,
        *,
        radius: float = 1 / 32,
        basis: Basis | None = None,
        boundary: Boundary = "zero",
        method: Literal["auto", "direct", "fft"] = "auto",
        unit: float | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            dims,
            radius=radius,
            basis=OddBasis(check_basis(basis)),
            boundary=boundary,
            method=method,
        )
        if unit is not None:
            check_radius(unit, "unit")
        self.unit = self.radius if unit is None else float(unit)

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        result = super().evaluate(x, grid)
        return result if self.unit == self.radius else result * (self.unit / self.radius)

    def slope(self) -> Tensor:
        """Return ``b``, shape ``(out_channels, in_channels, dims)``: the derivative at the limit of small radii."""
        table = kernel_table(self.basis, 1.0, (1 / 64,) * self.dims)
        offsets = [torch.arange(-(count // 2), count // 2 + 1, dtype=torch.float64) / 64 for count in table.shape[1:]]
        ways = torch.stack(torch.meshgrid(*offsets, indexing="ij")).flatten(1)
        moments = table.flatten(1) @ ways.t()
        return self.weight @ moments.to(self.weight)


def check_basis(basis: Any) -> Basis:
    """Return a basis, `HatBasis` for None; raise TypeError unless it is one."""
    if basis is None:
        return HatBasis()
    if not isinstance(basis, Basis):
        raise TypeError(f"basis must be a Basis such as HatBasis(), but is {basis!r}.")
    return basis
