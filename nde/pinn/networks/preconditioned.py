"""Bases scaled by the inverse of an operator's symbol: linear models and features that train in few steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nde.pinn.geometry import Box
from nde.taylor.operators.checks import check_count

__all__ = ["FourierBasis", "SineBasis"]

Symbol = Callable[[Tensor], Tensor]


class FourierBasis(nn.Module):
    """The real Fourier basis of a box with periodic sides, orthonormal, each function divided by ``|symbol|``.

    Because the operator maps each function to a multiple of its like, the scaled basis makes the Gram matrix of the
    residuals of a linear model close to the identity, and gradient descent independent of the highest frequency.

    Args:
        box: The domain.
        highest: Highest frequency along each axis, ``K``.
        symbol: What the operator multiplies ``exp(i w . x)`` with: ``(n, d) -> (n,)`` for angular frequencies ``w``, as
            ``lambda w: w.square().sum(-1)`` for the Laplacian. None: no preconditioning.
        kernel_scale: Factor of the functions whose symbol is zero, as the constant for the Laplacian (``gamma``).

    Attributes:
        outputs: Number of functions, ``(2 K + 1)^d``.

    Source:
        De Ryck, Bonnet, Mishra, de Bezenac, An operator preconditioning perspective on training in physics-informed
        machine learning (2023), section 3.
    """

    frequencies: Tensor
    scales: Tensor

    def __init__(self, box: Box, highest: int, *, symbol: Symbol | None = None, kernel_scale: float = 1.0) -> None:
        super().__init__()
        check_count(highest, "highest", 1)
        low, high = box.bounds
        integers = torch.tensor(list(itertools.product(range(-highest, highest + 1), repeat=box.dimension)))
        # of k and -k one gives the cosine, the other the sine: those after the middle have the first entry above zero
        half = integers[len(integers) // 2 + 1 :].double()
        frequencies = 2 * math.pi * half / (high - low)
        scales = torch.full((len(half) + 1,), 1.0, dtype=torch.float64)
        scales[1:] = math.sqrt(2)
        scales /= math.sqrt(box.measure)
        if symbol is not None:
            size = symbol(torch.cat([torch.zeros(1, box.dimension, dtype=torch.float64), frequencies])).abs()
            scales = torch.where(size > 0, scales / size.clamp_min(1e-300), kernel_scale * scales)
        dtype = torch.get_default_dtype()
        self.register_buffer("frequencies", frequencies.to(dtype))
        self.register_buffer("origin", low.to(dtype))
        self.register_buffer("scales", torch.cat([scales, scales[1:]]).to(dtype))
        self.outputs = len(self.scales)

    def forward(self, x: Any) -> Any:
        """Return the functions at points, shape ``(*S, outputs)``: the constant, cosines, sines."""
        phase = nn.functional.linear(x - self.origin, self.frequencies)
        return torch.cat([torch.ones_like(phase[..., :1]), phase.cos(), phase.sin()], -1) * self.scales


class SineBasis(nn.Module):
    """Products of sines that vanish on the boundary of a box, orthonormal, each divided by ``|symbol|``.

    Args:
        box: The domain.
        highest: Number of sines along each axis, ``K``.
        symbol: As for `FourierBasis`, for operators of even order with constant coefficients; None: no preconditioning.

    Attributes:
        outputs: Number of functions, ``K^d``.
    """

    frequencies: Tensor
    scales: Tensor

    def __init__(self, box: Box, highest: int, *, symbol: Symbol | None = None) -> None:
        super().__init__()
        check_count(highest, "highest", 1)
        low, high = box.bounds
        self.dimension = box.dimension
        self.highest = highest
        integers = torch.tensor(list(itertools.product(range(1, highest + 1), repeat=box.dimension))).double()
        frequencies = math.pi * integers / (high - low)
        scales = torch.full((len(integers),), math.sqrt(2**box.dimension / box.measure), dtype=torch.float64)
        if symbol is not None:
            size = symbol(frequencies).abs()
            if bool((size == 0).any()):
                raise ValueError(
                    "symbol vanishes at a frequency of the basis, which therefore cannot be divided by it."
                )
            scales = scales / size
        dtype = torch.get_default_dtype()
        steps = torch.arange(1, highest + 1, dtype=torch.float64).unsqueeze(1)
        self.register_buffer("frequencies", (math.pi * steps / (high - low)).to(dtype))  # (K, d)
        self.register_buffer("origin", low.to(dtype))
        self.register_buffer("scales", scales.to(dtype))
        self.outputs = len(integers)

    def forward(self, x: Any) -> Any:
        """Return the functions at points, shape ``(*S, outputs)``."""
        offset = x - self.origin
        product = None
        for axis in range(self.dimension):
            sines = (offset[..., axis : axis + 1] * self.frequencies[:, axis]).sin()
            if product is None:
                product = sines
            else:
                product = (product.unsqueeze(-1) * sines.unsqueeze(-2)).flatten(-2)
        return product * self.scales  # type: ignore[operator]  # there is at least one axis
