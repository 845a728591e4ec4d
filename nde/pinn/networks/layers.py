"""Linear layers that train better, and the initial values that physics-informed networks start from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["FactorisedLinear", "glorot_linear"]


def glorot_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with Glorot's normal weights and no bias at first."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FactorisedLinear(nn.Module):
    """A linear layer with the weights ``diag(exp(s)) V`` (random weight factorisation).

    At first the product is Glorot's normal matrix, so that the network starts as without factorisation, but moves along
    other directions.

    Args:
        inputs, outputs: Widths.
        mean, deviation: Of the normal law of ``s``.

    Source:
        Wang, Wang, Seidman, Perdikaris, Random weight factorization improves the training of continuous neural
        representations (2022), equations 4 and 5.
    """

    def __init__(self, inputs: int, outputs: int, mean: float = 1.0, deviation: float = 0.1) -> None:
        super().__init__()
        weight = torch.empty(outputs, inputs)
        nn.init.xavier_normal_(weight)
        scale = mean + deviation * torch.randn(outputs)
        self.scale = nn.Parameter(scale)
        self.direction = nn.Parameter(weight / scale.exp().unsqueeze(1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Any) -> Any:
        """Return ``diag(exp(s)) V x + bias``."""
        return nn.functional.linear(x, self.scale.exp().unsqueeze(1) * self.direction, self.bias)
