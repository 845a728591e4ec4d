"""Base classes of the equations that users write."""

from __future__ import annotations

import abc

from torch import nn

from nde.compat.torchsde.settings import NOISE_TYPES, SDE_TYPES

__all__ = ["BaseSDE", "SDEIto", "SDEStratonovich"]


class BaseSDE(abc.ABC, nn.Module):
    """A module that says what kind of equation it is; see `sdeint` for what else it must have.

    Args:
        noise_type: "diagonal", "additive", "scalar" or "general".
        sde_type: "ito" or "stratonovich".

    Raises:
        ValueError: One of them is not known.
    """

    def __init__(self, noise_type: str, sde_type: str) -> None:
        super().__init__()
        for name, value, known in (("noise type", noise_type, NOISE_TYPES), ("sde type", sde_type, SDE_TYPES)):
            if value not in known:
                raise ValueError(f"Expected {name} in {known}, but found {value}.")
        # plain attributes: torch.jit.script takes no properties
        self.noise_type = noise_type
        self.sde_type = sde_type


class SDEIto(BaseSDE):
    """An equation in the sense of Ito."""

    def __init__(self, noise_type: str) -> None:
        super().__init__(noise_type=noise_type, sde_type=SDE_TYPES.ito)


class SDEStratonovich(BaseSDE):
    """An equation in the sense of Stratonovich."""

    def __init__(self, noise_type: str) -> None:
        super().__init__(noise_type=noise_type, sde_type=SDE_TYPES.stratonovich)
