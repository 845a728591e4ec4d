"""The multilayer perceptrons that layers build where the user gives none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LipSwish", "TimedPerceptron", "perceptron"]

_STEEPEST = 1.1  # bound of the derivative of x sigmoid(x)


class LipSwish(nn.Module):
    """``x sigmoid(x) / 1.1``, smooth and with Lipschitz constant 1.

    Chen, Behrmann, Duvenaud, Jacobsen (2019), Residual flows for invertible generative modeling, 3.3.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation, of the shape of ``x``."""
        return nn.functional.silu(x) / _STEEPEST


def perceptron(inputs: int, outputs: int, width: int, depth: int, *, last: nn.Module | None = None) -> nn.Sequential:
    """Return a network of ``depth`` hidden layers of ``width`` units with `LipSwish` between, and ``last`` behind."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), LipSwish()]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers, *([] if last is None else [last]))


class TimedPerceptron(nn.Module):
    """A bounded network of time and state: a drift, or a diffusion matrix.

    Args:
        size: Length of the state's last axis.
        width, depth: Of the hidden layers.
        channels: The value has the shape ``(..., size, channels)``; None for ``(..., size)``.
    """

    def __init__(self, size: int, width: int, depth: int, channels: int | None = None) -> None:
        super().__init__()
        self.size = size
        self.channels = channels
        # bounded, so that neither states nor the cost of a solve run away in training
        self.net = perceptron(size + 1, size * (channels or 1), width, depth, last=nn.Tanh())

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the value at time ``t`` and states of shape ``(..., size)``."""
        value: Tensor = self.net(torch.cat([t.expand(*y.shape[:-1], 1), y], -1))
        return value if self.channels is None else value.unflatten(-1, (self.size, self.channels))
