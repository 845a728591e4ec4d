"""Features of the coordinates that come before a network: random frequencies, and exact periods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nde.taylor.operators.checks import check_count

__all__ = ["FourierFeatures", "PeriodicEmbedding"]


class FourierFeatures(nn.Module):
    """``(cos B x, sin B x)`` with fixed normal frequencies ``B``.

    Args:
        inputs: Number of coordinates.
        features: Number of frequencies; there are twice as many outputs.
        scale: Standard deviation of the entries of ``B``: the typical angular frequency of the solution.

    Attributes:
        outputs: Number of features.

    Source:
        Tancik et al., Fourier features let networks learn high frequency functions in low dimensional domains (2020);
        Wang, Wang, Perdikaris, On the eigenvector bias of Fourier feature networks (2021).
    """

    frequencies: Tensor

    def __init__(self, inputs: int, features: int, scale: float = 2.0) -> None:
        super().__init__()
        check_count(inputs, "inputs", 1)
        check_count(features, "features", 1)
        if not scale > 0:
            raise ValueError(f"scale must be positive, but is {scale}.")
        self.outputs = 2 * features
        self.register_buffer("frequencies", scale * torch.randn(features, inputs))

    def forward(self, x: Any) -> Any:
        """Return the features, shape ``(*S, outputs)``."""
        phase = nn.functional.linear(x, self.frequencies)
        return torch.cat([phase.cos(), phase.sin()], -1)


class PeriodicEmbedding(nn.Module):
    """Makes every function of it exactly periodic: ``x_a`` becomes ``cos k w x_a, sin k w x_a``, ``w = 2 pi / period``.

    Args:
        inputs: Number of coordinates.
        periods: The period of each periodic coordinate, by its position; the others are handed on.
        harmonics: ``k`` goes from 1 to this number.
        trainable: Whether the periods are trained, as that of time when it is not known.

    Attributes:
        outputs: Number of features.

    Raises:
        ValueError: A period is not positive, or belongs to no coordinate.

    Source:
        Dong and Ni, A method for representing periodic functions and enforcing exactly periodic boundary conditions
        with deep neural networks (2021).
    """

    frequencies: Tensor

    def __init__(
        self, inputs: int, periods: Mapping[int, float], *, harmonics: int = 1, trainable: bool = False
    ) -> None:
        super().__init__()
        check_count(inputs, "inputs", 1)
        check_count(harmonics, "harmonics", 1)
        for axis, period in periods.items():
            if not 0 <= axis < inputs:
                raise ValueError(f"periods has an entry for coordinate {axis}, but there are {inputs}.")
            if not 0 < period < math.inf:
                raise ValueError(f"the period of coordinate {axis} must be positive, but is {period}.")
        if not periods:
            raise ValueError("periods must name at least one coordinate, as {0: 2.0}.")
        self.axes = sorted(periods)
        self.others = [axis for axis in range(inputs) if axis not in periods]
        self.harmonics = harmonics
        self.outputs = len(self.others) + 2 * harmonics * len(self.axes)
        frequencies = torch.tensor([2 * math.pi / periods[axis] for axis in self.axes])
        if trainable:
            self.frequencies = nn.Parameter(frequencies)
        else:
            self.register_buffer("frequencies", frequencies)

    def forward(self, x: Any) -> Any:
        """Return the features, shape ``(*S, outputs)``."""
        base = torch.cat([x[..., axis : axis + 1] for axis in self.axes], -1) * self.frequencies
        parts = [x[..., axis : axis + 1] for axis in self.others]
        for k in range(1, self.harmonics + 1):
            phase = k * base
            parts += [phase.cos(), phase.sin()]
        return torch.cat(parts, -1)
