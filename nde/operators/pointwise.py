"""Maps that act on the values at each point alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from nde.operators.checks import check_activation, check_count
from nde.operators.grids import Grid
from nde.operators.layer import OperatorLayer

__all__ = ["ChannelMLP", "Pointwise"]


class Pointwise(OperatorLayer):
    """``W v(x) + b`` at every point, on every grid.

    Args:
        in_channels, out_channels, dims: See `OperatorLayer`.
        bias: Whether to add ``b``.
    """

    def __init__(self, in_channels: int, out_channels: int, dims: int = 2, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, dims)
        linear = nn.Linear(in_channels, out_channels, bias=bias)  # for its initial values
        self.weight = nn.Parameter(linear.weight.detach().clone())
        self.bias = nn.Parameter(linear.bias.detach().clone()) if bias else None

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        weight, flat = self.weight.expand(x.shape[0], -1, -1), x.flatten(2)
        # a batched product: several times faster than a broadcast one
        result = weight @ flat if self.bias is None else torch.baddbmm(self.bias[None, :, None], weight, flat)
        return result.view(x.shape[0], self.out_channels, *x.shape[2:])


class ChannelMLP(OperatorLayer):
    """Two pointwise maps with an activation between them: lifts to and projects from the hidden channels.

    Args:
        in_channels, out_channels, dims: See `OperatorLayer`.
        hidden: Channels in between.
        activation: The function between the maps.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dims: int = 2,
        *,
        hidden: int,
        activation: Callable[[Tensor], Tensor] = functional.gelu,
    ) -> None:
        super().__init__(in_channels, out_channels, dims)
        check_count(hidden, "hidden")
        check_activation(activation)
        self.first = Pointwise(in_channels, hidden, dims)
        self.second = Pointwise(hidden, out_channels, dims)
        self.activation = activation

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        return self.second.evaluate(self.activation(self.first.evaluate(x, grid)), grid)
