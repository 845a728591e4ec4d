"""Operators from sensors to functions: DeepONet, and MultiONet, which reads several layers of both networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nde.operators.checks import check_activation, check_count
from nde.operators.neural_operator import check_finite

__all__ = ["DeepONet", "MultiONet"]


class MultiONet(nn.Module):
    """``G(a)(x) = b + mean_k w_k <branch_k(a), trunk_k(x)>`` over the last layers of a branch and a trunk network.

    Zang, Koutsourelakis (2025), DGenNO. The weights ``w_k`` begin at 1: from 0, as in the
    authors' code, nothing but them would have a gradient in the first step. The input function is known by its values
    at fixed sensors; the output can be asked for anywhere.

    Args:
        sensors: Number of values of the input function, all channels together.
        out_channels: Channels of the output function.
        dims: Coordinates of the positions it is asked for at.
        width: Channels of all hidden layers, for each channel of the output.
        depth: Layers of each network.
        read: How many of the last layers are read.
        activation: Behind each layer; smooth, where derivatives in the positions are wanted.

    Raises:
        TypeError: An argument is no integer.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        sensors: int,
        out_channels: int = 1,
        dims: int = 2,
        *,
        width: int = 100,
        depth: int = 5,
        read: int = 4,
        activation: Callable[[Tensor], Tensor] = functional.silu,
    ) -> None:
        super().__init__()
        for value, name in ((sensors, "sensors"), (out_channels, "out_channels"), (dims, "dims")):
            check_count(value, name)
        for value, name in ((width, "width"), (depth, "depth"), (read, "read")):
            check_count(value, name)
        if read > depth:
            raise ValueError(f"read={read} layers of {depth}. Give at most read={depth}.")
        check_activation(activation)
        self.sensors = sensors
        self.out_channels = out_channels
        self.dims = dims
        self.read = read
        self.activation = activation
        hidden = width * out_channels
        self.branch = nn.ModuleList(nn.Linear(sensors if at == 0 else hidden, hidden) for at in range(depth))
        self.trunk = nn.ModuleList(nn.Linear(dims if at == 0 else hidden, hidden) for at in range(depth))
        self.scales = nn.Parameter(torch.ones(read))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, a: Tensor, positions: Tensor) -> Tensor:
        """Evaluate the output functions.

        Args:
            a: Values at the sensors, shape ``(batch, *shape)`` with ``sensors`` values in each sample.
            positions: Where to evaluate, shape ``(points, dims)``, or ``(batch, points, dims)`` for other positions in
                each sample. Differentiable.

        Returns:
            Shape ``(batch, out_channels, points)``.

        Raises:
            TypeError: Values or positions are no real tensor, or have another dtype than the parameters.
            ValueError: A shape does not fit, or values or positions are not finite.
        """
        check_real(a, "a", self.scales.dtype)
        moving = not isinstance(positions, Tensor)  # a jet of `nde.taylor`, to differentiate in the positions
        if not moving:
            check_real(positions, "positions", self.scales.dtype)
        values = a.flatten(1) if a.dim() > 1 else a
        if values.dim() != 2 or values.shape[1] != self.sensors:
            raise ValueError(
                f"a must have {self.sensors} values in each sample, shape (batch, {self.sensors}), but has shape "
                f"{tuple(a.shape)}."
            )
        if positions.dim() not in (2, 3) or positions.shape[-1] != self.dims:
            raise ValueError(
                f"positions must have shape (points, {self.dims}) or (batch, points, {self.dims}), but have shape "
                f"{tuple(positions.shape)}. A grid's are grid.positions(shape).flatten(1).t()."
            )
        if positions.dim() == 3 and positions.shape[0] != values.shape[0]:
            raise ValueError(f"there are {values.shape[0]} samples, but positions for {positions.shape[0]}.")
        check_finite(values, "a")
        if not moving:
            check_finite(positions, "positions")
        sum_over = "bow,now->bon" if positions.dim() == 2 else "bow,bnow->bon"
        total = self.bias[:, None]
        for scale, branch, trunk in zip(
            self.scales, self._layers(self.branch, values), self._layers(self.trunk, positions), strict=True
        ):
            split = (self.out_channels, -1)
            products = torch.einsum(sum_over, branch.unflatten(-1, split), trunk.unflatten(-1, split))
            total = total + scale / self.read * products
        return total

    def _layers(self, network: nn.ModuleList, x: Tensor) -> list[Tensor]:
        outputs = []
        for at, layer in enumerate(network):
            x = layer(x)
            if at < len(network) - 1:
                x = self.activation(x)
            outputs.append(x)
        return outputs[-self.read :]


def check_real(value: Any, name: str, dtype: torch.dtype) -> None:
    """Raise TypeError unless an input is a real tensor of the parameters' dtype."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        given = f"of dtype {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(f"{name} must be a tensor of real numbers, but is {given}.")
    if value.dtype != dtype and not torch.is_autocast_enabled(value.device.type):
        raise TypeError(f"{name} has dtype {value.dtype}, but the parameters have {dtype}. Convert one of them.")


class DeepONet(MultiONet):
    """``G(a)(x) = b + w <branch(a), trunk(x)>``, of the last layers alone.

    Lu, Jin, Pang, Zhang, Karniadakis (2021), Learning nonlinear operators via DeepONet.

    Args:
        sensors, out_channels, dims, width, depth, activation: See `MultiONet`.
    """

    def __init__(
        self,
        sensors: int,
        out_channels: int = 1,
        dims: int = 2,
        *,
        width: int = 100,
        depth: int = 5,
        activation: Callable[[Tensor], Tensor] = functional.silu,
    ) -> None:
        super().__init__(sensors, out_channels, dims, width=width, depth=depth, read=1, activation=activation)
