"""The names that torchsde's arguments take, under torchsde's own names for them.

A class per argument: a value is an attribute (``SDE_TYPES.ito``), ``in`` asks for one, and iteration gives all.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LEVY_AREA_APPROXIMATIONS", "METHODS", "METHOD_OPTIONS", "NOISE_TYPES", "SDE_TYPES", "ContainerMeta"]


class ContainerMeta(type):
    """Makes a class of constants a container of their values."""

    def all(cls) -> list[str]:
        """Return the values in order."""
        return sorted(value for name, value in vars(cls).items() if not name.startswith("__"))

    def __contains__(cls, item: object) -> bool:
        return item in cls.all()

    def __iter__(cls) -> Iterator[str]:
        return iter(cls.all())

    def __len__(cls) -> int:
        return len(cls.all())

    def __str__(cls) -> str:
        return str(cls.all())


class METHODS(metaclass=ContainerMeta):
    """Methods of ``sdeint``."""

    euler = "euler"
    milstein = "milstein"
    srk = "srk"
    midpoint = "midpoint"
    reversible_heun = "reversible_heun"
    adjoint_reversible_heun = "adjoint_reversible_heun"
    heun = "heun"
    log_ode_midpoint = "log_ode"
    euler_heun = "euler_heun"


class NOISE_TYPES(metaclass=ContainerMeta):
    """Structures of the diffusion."""

    general = "general"
    diagonal = "diagonal"
    scalar = "scalar"
    additive = "additive"


class SDE_TYPES(metaclass=ContainerMeta):
    """Meanings of the stochastic integral."""

    ito = "ito"
    stratonovich = "stratonovich"


class LEVY_AREA_APPROXIMATIONS(metaclass=ContainerMeta):
    """What a Brownian motion knows of an interval beside its increment."""

    none = "none"
    space_time = "space-time"
    davie = "davie"
    foster = "foster"


class METHOD_OPTIONS(metaclass=ContainerMeta):
    """Entries of ``options``."""

    grad_free = "grad_free"
