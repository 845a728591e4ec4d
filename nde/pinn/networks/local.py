"""Networks for very many coordinates of which only neighbours interact."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nde.pinn.networks.perceptrons import MLP
from nde.taylor.operators.checks import check_count

__all__ = ["LocalNetwork"]


class LocalNetwork(nn.Module):
    """A sum over sites of features of a few neighbours: ``sum_i a_i . phi(s x_i, ..., s x_(i+w-1)) + b``.

    The features are a perceptron that all sites share, as in a convolution; every site has weights ``a_i`` of its own.
    A perceptron of the same size sees only as many directions of the space as its first layer is wide; this network has
    features of every pair (``window=2``) of neighbours, but none of coordinates further apart. Its Laplacian is exact
    with as many directions as the window is long: ``laplacian(..., mode="banded", samples=window)``.

    Args:
        inputs: Number of coordinates, ``d``.
        window: Number of neighbours that interact, ``w``.
        channels: Number of features of each site.
        width, depth: Of the shared perceptron.
        scale: Factor of the coordinates, ``s``; ``sqrt(d)`` gives those of the unit ball a variance of 1.
        activation: Class of the activation.

    Raises:
        ValueError: A size is below 1, or the window has more coordinates than there are.
    """

    def __init__(
        self,
        inputs: int,
        *,
        window: int = 2,
        channels: int = 16,
        width: int = 32,
        depth: int = 2,
        scale: float = 1.0,
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        check_count(inputs, "inputs", 1)
        check_count(window, "window", 1)
        check_count(channels, "channels", 1)
        if window > inputs:
            raise ValueError(f"window must be at most inputs={inputs}, but is {window}.")
        self.window = window
        self.scale = scale
        self.sites = inputs - window + 1
        self.features = MLP(window, channels, width=width, depth=depth, activation=activation)
        self.last = nn.Linear(self.sites * channels, 1)
        nn.init.normal_(self.last.weight, std=1 / math.sqrt(self.sites * channels))
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Any) -> Any:
        """Return the values at points ``(*S, inputs)``, shape ``(*S, 1)``."""
        neighbours = [x[..., place : place + self.sites] for place in range(self.window)]
        features = self.features(self.scale * torch.stack(neighbours, -1))
        return self.last(features.flatten(-2))
