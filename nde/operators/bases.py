"""The fixed functions on the unit ball that kernels of local integrals are made of.

Every basis works in one, two and three dimensions, is continuous and zero on the ball's boundary (otherwise the
quadrature would be of first order), and has as many functions as it says: none is identically zero and none is a
combination of the others, so that no weight is without effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from nde.operators.checks import check_count
from nde.operators.harmonics import angular_harmonics, count_harmonics, jacobi

__all__ = ["Basis", "HarmonicBasis", "HatBasis", "OddBasis", "ZernikeBasis"]

# points along each axis for the norms
_NORM_POINTS = {1: 4096, 2: 400, 3: 80}


class Basis:
    """Functions on the unit ball; subclasses are frozen data classes, because tables of their values are kept."""

    def size(self, dims: int) -> int:
        """Return how many functions there are in ``dims`` dimensions."""
        raise NotImplementedError

    def raw(self, z: Tensor) -> Tensor:
        """Return the functions before they are normalized.

        Args:
            z: Points, shape ``(*shape, dims)``.

        Returns:
            Shape ``(size, *shape)``; anything outside the unit ball.
        """
        raise NotImplementedError

    def odd_indices(self, dims: int) -> tuple[int, ...]:
        """Return which functions have odd parts that are independent of each other and span all odd parts."""
        raise NotImplementedError

    def __call__(self, z: Tensor) -> Tensor:
        """Return the functions with integral of the absolute value 1 over the ball, and 0 outside it.

        Args:
            z: Points, shape ``(*shape, dims)``, float64.

        Returns:
            Shape ``(size, *shape)``.
        """
        dims = z.shape[-1]
        inside = z.square().sum(-1) < 1
        values = torch.where(inside, self.raw(z), 0.0)
        return values / _norms(self, dims).view(-1, *(1,) * (z.dim() - 1))


@lru_cache(maxsize=64)
def _norms(basis: Basis, dims: int) -> Tensor:
    """Return the integrals of absolute values over the unit ball: of the continuum, never of a grid's points."""
    with torch.inference_mode(False):
        count = _NORM_POINTS[dims]
        axis = (torch.arange(count, dtype=torch.float64) + 0.5) * (2 / count) - 1
        z = torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), dim=-1)
        z = z[z.square().sum(-1) < 1]
        return basis.raw(z).abs().sum(1) * (2 / count) ** dims


@dataclass(frozen=True)
class HatBasis(Basis):
    """Piecewise linear functions: one around the centre, then rings cut into angles.

    In one dimension there are hats at the nodes left and right of the centre; in three, each ring is cut into the six
    directions of the axes, with the squares of the direction cosines as weights. The basis of Liu-Schiaffini et al.
    (2024), Neural operators with localized integral and differential kernels, without its functions of no effect.

    Args:
        rings: Nodes along a radius, the centre included.
        angles: Functions around each ring in two dimensions; 1 for isotropic kernels in two and three dimensions.

    Raises:
        TypeError: One of them is no integer.
        ValueError: One of them is below 1.
    """

    rings: int = 2
    angles: int = 4

    def __post_init__(self) -> None:
        check_count(self.rings, "rings")
        check_count(self.angles, "angles")

    def _sectors(self, dims: int) -> int:
        return {1: 2, 2: self.angles, 3: 1 if self.angles == 1 else 6}[dims]

    def size(self, dims: int) -> int:
        """See `Basis.size`."""
        return 1 + (self.rings - 1) * self._sectors(dims)

    def raw(self, z: Tensor) -> Tensor:
        """See `Basis.raw`."""
        radius = z.norm(dim=-1)
        rings = [(1 - (radius * self.rings - ring).abs()).clamp(min=0) for ring in range(self.rings)]
        sectors = self._around(z, radius)
        return torch.stack([rings[0], *(ring * sector for ring in rings[1:] for sector in sectors)])

    def _around(self, z: Tensor, radius: Tensor) -> list[Tensor]:
        dims = z.shape[-1]
        if dims == 1:
            return [(z[..., 0] > 0).to(z), (z[..., 0] < 0).to(z)]
        if self.angles == 1:
            return [torch.ones_like(radius)]
        if dims == 2:
            turn = torch.atan2(z[..., 1], z[..., 0]) * (self.angles / (2 * math.pi))
            apart = [turn - sector for sector in range(self.angles)]
            return [(1 - (x - self.angles * torch.round(x / self.angles)).abs()).clamp(min=0) for x in apart]
        cosines = z / radius.clamp(min=torch.finfo(z.dtype).tiny).unsqueeze(-1)
        return [(sign * cosines[..., axis]).clamp(min=0).square() for sign in (1, -1) for axis in range(3)]

    def odd_indices(self, dims: int) -> tuple[int, ...]:
        """See `Basis.odd_indices`.

        Raises:
            ValueError: In two or three dimensions the angles are not even in number, or there is one ring only.
        """
        sectors = self._sectors(dims)
        if self.rings < 2 or sectors % 2:
            raise ValueError(
                f"{self} has no odd functions to differentiate with: it needs two rings or more and an even number of "
                "angles. Try HatBasis(rings=2, angles=4)."
            )
        return tuple(1 + ring * sectors + sector for ring in range(self.rings - 1) for sector in range(sectors // 2))


@dataclass(frozen=True)
class ZernikeBasis(Basis):
    """Zernike's polynomials of the ball times the window ``(1 - |z|^2)^2``.

    ``|z|^l P_k^(0, l + dims/2 - 1)(2 |z|^2 - 1)`` times the harmonics of degree ``l``, for ``l + 2 k < degree``:
    polynomials that are orthogonal on the ball (Legendre's in one dimension). Without the window they would jump at
    the boundary.

    Args:
        degree: Number of polynomial degrees, counted from 0; 4 has 4, 10 and 20 functions in 1, 2 and 3 dimensions.
        frequency: Largest degree ``l`` of a harmonic; 0 for isotropic kernels, None for all.

    Raises:
        TypeError: One of them is no integer.
        ValueError: ``degree`` is below 1 or ``frequency`` negative.
    """

    degree: int = 4
    frequency: int | None = None

    def __post_init__(self) -> None:
        check_count(self.degree, "degree")
        if self.frequency is not None:
            check_count(self.frequency, "frequency", 0)

    def _orders(self, dims: int) -> list[tuple[int, int]]:
        highest = self.degree - 1 if self.frequency is None else self.frequency
        return [
            (total, harmonic)
            for total in range(self.degree)
            for harmonic in range(total % 2, total + 1, 2)
            if harmonic <= highest and count_harmonics(harmonic, dims)
        ]

    def size(self, dims: int) -> int:
        """See `Basis.size`."""
        return sum(count_harmonics(harmonic, dims) for _, harmonic in self._orders(dims))

    def raw(self, z: Tensor) -> Tensor:
        """See `Basis.raw`."""
        dims = z.shape[-1]
        square = z.square().sum(-1)
        window = (1 - square).square()
        functions: list[Tensor] = []
        for total, harmonic in self._orders(dims):
            radial = window * jacobi((total - harmonic) // 2, harmonic + dims / 2 - 1, 2 * square - 1)
            functions += [radial * angular for angular in angular_harmonics(harmonic, z)]
        return torch.stack(functions)

    def odd_indices(self, dims: int) -> tuple[int, ...]:
        """See `Basis.odd_indices`.

        Raises:
            ValueError: There is none.
        """
        degrees = [harmonic for _, harmonic in self._orders(dims) for _ in range(count_harmonics(harmonic, dims))]
        odd = tuple(index for index, degree in enumerate(degrees) if degree % 2)
        if not odd:
            raise ValueError(f"{self} has no odd functions to differentiate with. Try ZernikeBasis(degree=4).")
        return odd


@dataclass(frozen=True)
class HarmonicBasis(Basis):
    """Products of 1, ``cos(pi k z_i)`` and ``sin(pi k z_i)`` times Hann's window ``cos(pi |z| / 2)^2``.

    Args:
        frequencies: Largest ``k``; there are ``(2 frequencies + 1)^dims`` functions.

    Raises:
        TypeError: It is no integer.
        ValueError: It is below 1.
    """

    frequencies: int = 1

    def __post_init__(self) -> None:
        check_count(self.frequencies, "frequencies")

    def size(self, dims: int) -> int:
        """See `Basis.size`."""
        return int((2 * self.frequencies + 1) ** dims)

    def _waves(self, dims: int) -> list[tuple[int, ...]]:
        # k > 0 stands for the cosine of frequency k, k < 0 for the sine of frequency -k
        return list(product(range(-self.frequencies, self.frequencies + 1), repeat=dims))

    def raw(self, z: Tensor) -> Tensor:
        """See `Basis.raw`."""
        window = torch.cos(math.pi / 2 * z.norm(dim=-1)).square()
        functions = []
        for wave in self._waves(z.shape[-1]):
            value = window
            for axis, k in enumerate(wave):
                if k:
                    value = value * (torch.cos if k > 0 else torch.sin)(math.pi * abs(k) * z[..., axis])
            functions.append(value)
        return torch.stack(functions)

    def odd_indices(self, dims: int) -> tuple[int, ...]:
        """See `Basis.odd_indices`."""
        return tuple(index for index, wave in enumerate(self._waves(dims)) if sum(k < 0 for k in wave) % 2)


@dataclass(frozen=True)
class OddBasis(Basis):
    """The odd parts of another basis's functions: kernels of zero mean that answer to differences alone.

    Args:
        basis: The other basis.
    """

    basis: Basis

    def size(self, dims: int) -> int:
        """See `Basis.size`."""
        return len(self.basis.odd_indices(dims))

    def raw(self, z: Tensor) -> Tensor:
        """See `Basis.raw`."""
        chosen = list(self.basis.odd_indices(z.shape[-1]))
        return (self.basis.raw(z)[chosen] - self.basis.raw(-z)[chosen]) / 2

    def odd_indices(self, dims: int) -> tuple[int, ...]:
        """See `Basis.odd_indices`."""
        return tuple(range(self.size(dims)))
