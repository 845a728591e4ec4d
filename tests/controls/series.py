"""Series that the tests of paths share."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.controls import ControlPath, HermiteCubicPath, LinearPath, NaturalCubicPath

KINDS: list[type[ControlPath]] = [LinearPath, NaturalCubicPath, HermiteCubicPath]


def times(length: int, seed: int = 0) -> Tensor:
    """Irregular times from -1 on, 0.6 apart on average."""
    generator = torch.Generator().manual_seed(seed)
    found = (0.1 + torch.rand(length, generator=generator, dtype=torch.float64)).cumsum(0)
    return found - found[0] - 1


def series(*shape: int, missing: float = 0.0, seed: int = 0) -> Tensor:
    """Random data with a share of missing values, those at the ends among them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    holes = torch.rand(shape, generator=generator, dtype=torch.float64) < missing
    return torch.where(holes, torch.nan, x)
