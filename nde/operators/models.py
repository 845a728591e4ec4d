"""Neural operators with the usual branches: FNO, SFNO on the sphere, LocalNO with local kernels on every grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import functional

from nde.operators.bases import Basis
from nde.operators.block import OperatorBlock
from nde.operators.checks import check_count, check_dims
from nde.operators.differential import DifferentialKernel
from nde.operators.grids import Grid
from nde.operators.layer import OperatorLayer
from nde.operators.local_integral import Boundary, LocalIntegral, RegularizedDifferential
from nde.operators.neural_operator import Activation, NeuralOperator
from nde.operators.pointwise import Pointwise
from nde.operators.spectral import SpectralConvolution
from nde.operators.sphere import SphereGrid
from nde.operators.spherical import SphericalConvolution

__all__ = ["FNO", "SFNO", "LocalNO"]


class FNO(NeuralOperator):
    """Fourier neural operator: spectral convolution plus pointwise map in every block.

    Li et al. (2021), Fourier neural operator for parametric partial differential equations.

    Args:
        in_channels, out_channels: Channels of the functions it maps from and to.
        dims: Dimension of the domain.
        width: Channels of the blocks.
        depth: Number of blocks; the last has no activation.
        modes, padding: See `SpectralConvolution`.
        activation: Of the blocks, lifting and projection.
        coordinates, time, grid: See `NeuralOperator`.

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
        width: int = 32,
        depth: int = 4,
        modes: int | Sequence[int] = 12,
        padding: float = 0.0,
        activation: Activation = functional.gelu,
        coordinates: int | None = None,
        time: bool = False,
        grid: Grid | None = None,
    ) -> None:
        def branches() -> list[OperatorLayer]:
            return [
                SpectralConvolution(width, width, dims, modes=modes, padding=padding),
                Pointwise(width, width, dims),
            ]

        super().__init__(
            in_channels,
            out_channels,
            stack(branches, width, dims, depth, activation),
            coordinates=coordinates,
            time=time,
            activation=activation,
            grid=grid,
        )


class SFNO(NeuralOperator):
    """Spherical Fourier neural operator: spherical convolution plus pointwise map in every block.

    Bonev et al. (2023), Spherical Fourier neural operators: learning stable dynamics on the sphere. With
    ``coordinates=0`` it commutes with rotations up to what its activations make of harmonics above ``degree``.

    Args:
        in_channels, out_channels: Channels of the functions it maps from and to.
        width: Channels of the blocks.
        depth: Number of blocks; the last has no activation.
        degree: See `SphericalConvolution`.
        activation: Of the blocks, lifting and projection.
        coordinates, time, grid: See `NeuralOperator`; by default, the three coordinates of a point and `SphereGrid`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        depth: int = 4,
        degree: int = 12,
        activation: Activation = functional.gelu,
        coordinates: int = 3,
        time: bool = False,
        grid: Grid | None = None,
    ) -> None:
        def branches() -> list[OperatorLayer]:
            return [SphericalConvolution(width, width, degree=degree), Pointwise(width, width)]

        super().__init__(
            in_channels,
            out_channels,
            stack(branches, width, 2, depth, activation),
            coordinates=coordinates,
            time=time,
            activation=activation,
            grid=SphereGrid() if grid is None else grid,
        )


class LocalNO(NeuralOperator):
    """Neural operator with local kernels of fixed physical radius beside, or in place of, the spectral convolution.

    Liu-Schiaffini et al. (2024), Neural operators with localized integral and differential kernels. By default each
    block sums a spectral convolution, two local integrals and a pointwise map. Stencils are to be asked for: where
    fields jump they diverge under refinement; ``regularized`` takes their place there.

    Args:
        in_channels, out_channels: Channels of the functions it maps from and to.
        dims: Dimension of the domain; 2 on the sphere.
        width: Channels of the blocks.
        depth: Number of blocks; the last has no activation.
        modes, padding: See `SpectralConvolution`; ``modes=None`` for none, as on the sphere.
        degree: See `SphericalConvolution`, which takes the place of the spectral one on the sphere; None for none.
        radii: Radii of the local integrals, for a box of length 1; empty for none.
        regularized: Radii of regularised differentials.
        differential: Orders of stencils, out of 1 and 2.
        unit: Length per which stencils differentiate, see `DifferentialKernel`.
        basis: Of the local integrals and the regularised differentials.
        boundary: Of the same, see `LocalIntegral`.
        activation: Of the blocks, lifting and projection.
        coordinates, time, grid: See `NeuralOperator`.

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
        width: int = 32,
        depth: int = 4,
        modes: int | Sequence[int] | None = 12,
        padding: float = 0.0,
        degree: int | None = None,
        radii: Sequence[float] = (1 / 16, 0.047),
        regularized: Sequence[float] = (),
        differential: Sequence[int] = (),
        unit: float = 1 / 32,
        basis: Basis | None = None,
        boundary: Boundary = "zero",
        activation: Activation = functional.gelu,
        coordinates: int | None = None,
        time: bool = False,
        grid: Grid | None = None,
    ) -> None:
        shape = (width, width, dims)
        kernel: dict[str, Any] = {"basis": basis, "boundary": boundary}

        for values, name in ((radii, "radii"), (regularized, "regularized"), (differential, "differential")):
            if not isinstance(values, (tuple, list)):
                raise TypeError(f"{name} must be a sequence of numbers, such as (0.1,), but is {values!r}.")

        def branches() -> list[OperatorLayer]:
            spectral: list[OperatorLayer]
            spectral = [] if modes is None else [SpectralConvolution(*shape, modes=modes, padding=padding)]
            if degree is not None:
                spectral.append(SphericalConvolution(width, width, degree=degree))
            return [
                *spectral,
                *(LocalIntegral(*shape, radius=radius, **kernel) for radius in radii),
                *(RegularizedDifferential(*shape, radius=radius, **kernel) for radius in regularized),
                *(DifferentialKernel(*shape, order=order, unit=unit) for order in differential),
                Pointwise(*shape),
            ]

        super().__init__(
            in_channels,
            out_channels,
            stack(branches, width, dims, depth, activation),
            coordinates=coordinates,
            time=time,
            activation=activation,
            grid=grid,
        )


def stack(
    branches: Callable[[], list[OperatorLayer]], width: int, dims: int, depth: int, activation: Activation
) -> list[OperatorBlock]:
    """Return ``depth`` blocks of branches, the last without an activation."""
    check_count(width, "width")
    check_count(depth, "depth")
    check_dims(dims)
    return [OperatorBlock(branches(), activation=activation if at < depth - 1 else None) for at in range(depth)]
