"""A neural operator of any layers: lifting, blocks, projection; as a function of functions, or as a vector field."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nde.operators.checks import check_count
from nde.operators.grids import Grid, UniformGrid
from nde.operators.layer import OperatorLayer
from nde.operators.pointwise import ChannelMLP

__all__ = ["Activation", "NeuralOperator", "check_finite"]

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
