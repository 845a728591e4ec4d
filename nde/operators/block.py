"""The block of an operator: branches side by side, summed before the activation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn import functional

from nde.operators.checks import check_activation
from nde.operators.grids import Grid
from nde.operators.layer import OperatorLayer

__all__ = ["OperatorBlock"]


class OperatorBlock(OperatorLayer):
    """``activation(sum_i branch_i(x))``, with any layers as branches.

    Args:
        branches: Layers with equal channels and dimension.
        activation: The function behind the sum; None for none.
        residual: Whether to add ``x`` behind the activation.

    Raises:
        TypeError: A branch is no `OperatorLayer`, or the activation no function.
        ValueError: There is no branch, or their channels differ.
    """

    def __init__(
        self,
        branches: Iterable[OperatorLayer],
        *,
        activation: Callable[[Tensor], Tensor] | None = functional.gelu,
        residual: bool = False,
    ) -> None:
        if activation is not None:
            check_activation(activation)
        layers = list(branches)
        if not layers:
            raise ValueError("branches must hold at least one layer.")
        for layer in layers:
            if not isinstance(layer, OperatorLayer):
                raise TypeError(f"branches must be operator layers, but one is a {type(layer).__name__}.")
        first = layers[0]
        for layer in layers[1:]:
            given = (layer.in_channels, layer.out_channels, layer.dims)
            wanted = (first.in_channels, first.out_channels, first.dims)
            if given != wanted:
                raise ValueError(
                    f"branches must agree in (in_channels, out_channels, dims), but {type(layer).__name__} has {given} "
                    f"and {type(first).__name__} has {wanted}."
                )
        super().__init__(first.in_channels, first.out_channels, first.dims)
        if residual and first.in_channels != first.out_channels:
            raise ValueError(
                f"residual=True needs equal channels, but there are {first.in_channels} before and "
                f"{first.out_channels} after."
            )
        self.branches = nn.ModuleList(layers)
        self.activation = activation
        self.residual = residual

    def evaluate(self, x: Tensor, grid: Grid) -> Tensor:
        """See `OperatorLayer.evaluate`."""
        first, *others = self.branches
        total = first(x, grid)
        for branch in others:
            total = total + branch(x, grid)
        if self.activation is not None:
            total = self.activation(total)
        return total + x if self.residual else total
