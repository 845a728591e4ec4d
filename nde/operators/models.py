"""Neural operators: lifting, blocks, projection. They map functions to functions at any resolution, on any grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nde.operators.bases import Basis
from nde.operators.block import OperatorBlock
from nde.operators.checks import check_count, check_dims
from nde.operators.differential import DifferentialKernel
from nde.operators.grids import Grid, UniformGrid
from nde.operators.layer import OperatorLayer
from nde.operators.local_integral import Boundary, LocalIntegral, RegularizedDifferential
from nde.operators.pointwise import ChannelMLP, Pointwise
from nde.operators.spectral import SpectralConvolution

__all__ = ["FNO", "LocalNO", "NeuralOperator"]

Activation = Callable[[Tensor], Tensor]


class NeuralOperator(OperatorLayer):
    """Lifting, operator blocks, projection; as a function ``model(x, grid=...)`` or a vector field ``model(t, x)``.

    Args:
        in_channels, out_channels: Channels of the functions it maps from and to.
        blocks: `OperatorBlock` or other layers, one behind the other.
        coordinates: How many coordinates of each point are appended to the field; None for all of a box, 0 for none
            (the operator then commutes with translations of a periodic box), 3 on the sphere.
        time: Whether the time of a vector field is appended too. Without it, the field is autonomous.
        expansion: Hidden channels of lifting and projection, in multiples of the blocks' channels.
        activation: Of lifting and projection.
        grid: The grid of calls that give none: the unit box with walls by default.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the blocks do not follow each other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: Iterable[OperatorLayer],
        *,
        coordinates: int | None = None,
        time: bool = False,
        expansion: int = 2,
        activation: Activation = functional.gelu,
        grid: Grid | None = None,
    ) -> None:
        layers = list(blocks)
        if not layers:
            raise ValueError("blocks must hold at least one layer.")
        for layer in layers:
            if not isinstance(layer, OperatorLayer):
                raise TypeError(f"blocks must be operator layers, but one is a {type(layer).__name__}.")
        for before, after in itertools.pairwise(layers):
            if before.out_channels != after.in_channels or before.dims != after.dims:
                raise ValueError(
                    f"blocks must follow each other, but one gives {before.out_channels} channels in {before.dims} "
                    f"dimensions and the next takes {after.in_channels} in {after.dims}."
                )
        if grid is not None and not isinstance(grid, Grid):
            raise TypeError(f"grid must be a Grid, but is a {type(grid).__name__}.")
        super().__init__(in_channels, out_channels, layers[0].dims)
        check_count(expansion, "expansion")
        self.coordinates = self.dims if coordinates is None else coordinates
        check_count(self.coordinates, "coordinates", 0)
        self.time = bool(time)
        self.grid = UniformGrid() if grid is None else grid
        first, last = layers[0].in_channels, layers[-1].out_channels
        settings: dict[str, Any] = {"dims": self.dims, "activation": activation}
        self.lifting = ChannelMLP(
            in_channels + self.coordinates + self.time, first, hidden=expansion * first, **settings
        )
        self.blocks = nn.ModuleList(layers)
        self.projection = ChannelMLP(last, out_channels, hidden=expansion * last, **settings)

    def forward(self, *inputs: Any, grid: Grid | None = None) -> Tensor:
        """Apply the operator.

        Args:
            inputs: ``(x,)``, ``(x, grid)``, ``(t, x)`` or ``(t, x, grid)``: as a layer, or as the field of
                `nde.NeuralODE` and the solvers. ``x`` has shape ``(*batch, in_channels, *shape)``.
            grid: Where its values are known; the model's own by default.

        Returns:
            Shape ``(*batch, out_channels, *shape)``.

        Raises:
            TypeError: An input has the wrong type or dtype.
            ValueError: Field, grid and model do not fit each other, or the field, given without a time, is not finite.
                (Within a solve, the solver reports what is not finite.)
        """
        time, x, where = self._read(inputs, grid)
        axes = self.check(x, where)
        if time is None:
            check_finite(x)
        batch, shape = x.shape[: -axes - 1], x.shape[-axes:]
        fields = x.reshape(-1, self.in_channels, *shape)
        parts = [fields, *self._embedding(fields, where, time)]
        hidden = self.lifting(torch.cat(parts, 1) if len(parts) > 1 else fields, where)
        for block in self.blocks:
            hidden = block(hidden, where)
        result = self.projection(hidden, where)
        return result.reshape(*batch, self.out_channels, *shape)

    def _read(self, inputs: tuple[Any, ...], grid: Grid | None) -> tuple[Tensor | None, Any, Grid]:
        if inputs and (isinstance(inputs[0], (int, float)) or (isinstance(inputs[0], Tensor) and inputs[0].dim() == 0)):
            time, inputs = torch.as_tensor(inputs[0]), inputs[1:]
        else:
            time = None
        if len(inputs) == 2 and grid is None:
            grid, inputs = inputs[1], inputs[:1]
        if len(inputs) != 1:
            raise TypeError("a neural operator takes (x), (x, grid), (t, x) or (t, x, grid), with t a number.")
        if self.time and time is None:
            raise ValueError("the model was made with time=True: call it as model(t, x).")
        return time, inputs[0], self.grid if grid is None else grid

    def _embedding(self, x: Tensor, grid: Grid, time: Tensor | None) -> list[Tensor]:
        batch, shape = x.shape[0], tuple(x.shape[2:])
        parts = []
        if self.coordinates:
            known = self.dims if grid.coordinates is None else grid.coordinates
            if known != self.coordinates:
                raise ValueError(
                    f"the model appends {self.coordinates} coordinates, but points of a {type(grid).__name__} have "
                    f"{known}. Build the model with coordinates={known}, or with coordinates=0."
                )
            parts.append(grid.positions(shape).to(x).expand(batch, -1, *shape))
        if self.time and time is not None:
            parts.append(time.to(x).expand(batch, 1, *shape))
        return parts


def check_finite(x: Tensor, name: str = "x") -> None:
    """Raise ValueError if a field is not finite; within compiled and transformed functions its values are not known."""
    if torch.compiler.is_compiling() or x.is_meta or torch._C._functorch.maybe_current_level() is not None:
        return
    if not bool(torch.isfinite(x.detach()).all()):
        bad = int((~torch.isfinite(x.detach())).sum())
        raise ValueError(f"{name} must be finite, but {bad} of its {x.numel()} values are not. Clean or mask the data.")


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
            spectral = [] if modes is None else [SpectralConvolution(*shape, modes=modes, padding=padding)]
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
