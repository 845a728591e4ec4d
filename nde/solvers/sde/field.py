"""Drift, diffusion and Brownian path as one field on flat vectors, so that a step stays a function of its arguments.

The path is a pure function of the interval, so that a step taken again meets the same noise. Methods see the noise only
through `SDEField.increment` and `SDEField.product`, which hide whether the diffusion is diagonal or a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from nde.solvers.brownian.chen import BrownianIncrement
from nde.solvers.field import Check, Keeper, VectorField, Wrap, as_it_is, check_unwritten, checked_value, versions_of
from nde.solvers.sde.blame import find_sources
from nde.solvers.sde.sums import matrix_product
from nde.solvers.structure import StateStructure

__all__ = ["NOISE_TYPES", "Path", "SDEField", "converted", "diffusion_matrix", "product"]

#: what a diffusion may be: see `nde.solve_sde`
NOISE_TYPES = ("diagonal", "scalar", "additive", "commutative", "general")

Scalar = float | Tensor


class Path(Protocol):
    """A Brownian path: a function of the interval alone."""

    def __call__(self, s: float, t: float) -> Any:
        """Return what happens from ``s`` to ``t``, with the attributes of `BrownianIncrement`."""
        ...


class SDEField(VectorField):
    """``dy = drift(t, y, *args) dt + diffusion(t, y, *args) dW`` on flat vectors.

    Args:
        drift: The user's callable.
        diffusion: The user's callable; its value has the state's structure where the noise is diagonal, and shape
            ``(*y.shape, m)`` otherwise (``y.shape`` does as well where ``m`` is 1 and the noise scalar).
        structure: Structure of the state.
        args: Further arguments of both.
        noise: One of `NOISE_TYPES`.
        path: The Brownian path; of ``y.shape`` where the noise is diagonal, else of ``(*y.shape[:-1], m)``.
        channels: The number ``m`` of Brownian motions that drive each row of the state; None where there is one for
            each entry, and the diffusion has the state's structure.

    Attributes:
        diffusion_evaluations: Number of calls of the diffusion so far; ``evaluations`` counts those of the drift.
    """

    name = "drift"

    def __init__(
        self,
        drift: Callable[..., Any],
        diffusion: Callable[..., Any],
        structure: StateStructure,
        args: tuple[Any, ...],
        noise: str,
        path: Path,
        channels: int | None,
    ) -> None:
        self._diffusion_check: Check | None = None
        super().__init__(drift, structure, args)
        self.diffusion_function = diffusion
        self.noise = noise
        self.path = path
        self.channels = channels
        self.diffusion_evaluations = 0
        self._kept_diffusion = Keeper()
        self._noise_shape = (structure.size,) if channels is None else (*structure.leaves[0].shape[:-1], channels)

    def watch(self, check: Check) -> None:
        """See `VectorField.watch`; the first values of the drift and of the diffusion are checked."""
        super().watch(check)
        self._diffusion_check = check

    @property
    def functions(self) -> Any:
        """See `VectorField.functions`."""
        return self.function, self.diffusion_function

    def source(self, method: Any, t: float, h: float, y: Tensor, carry: Any) -> str | None:
        """See `VectorField.source`."""
        return find_sources(self.fresh(), None, method, t, h, y, carry)[0]

    def fresh(self, wrap: Wrap = as_it_is) -> SDEField:
        """See `VectorField.fresh`."""
        drift, diffusion = wrap(self.function, "field"), wrap(self.diffusion_function, "diffusion")
        return SDEField(drift, diffusion, self.structure, self.args, self.noise, self.path, self.channels)

    def diffusion(self, t: Scalar, y: Tensor) -> Tensor:
        """Evaluate the diffusion.

        Args:
            t: Time.
            y: Flat state, shape ``(size,)``.

        Returns:
            Shape ``(size,)`` where it is diagonal, else ``(*state shape, m)``.

        Raises:
            TypeError: It returned something else than a tensor, or another dtype.
            ValueError: It returned another shape.
        """
        if self._diffusion_check is not None:
            check, self._diffusion_check = self._diffusion_check, None
            return checked_value(check, self.diffusion, t, y)
        self.diffusion_evaluations += 1
        time, state = self.arguments(t, y)
        versions = versions_of(y) if self.diffusion_evaluations == 1 else None
        try:
            value = self.diffusion_function(time, state, *self.args)
        except Exception as error:
            error.add_note(
                f"raised by the diffusion at t = {float(time.detach()):.10g}; it is called as "
                f"diffusion(t, y{', *args' if self.args else ''})"
            )
            raise
        shape = self._shape
        if self.channels is not None:
            value = diffusion_matrix(value, self.structure, self.noise, self.channels)
        elif shape is not None and isinstance(value, Tensor) and value.shape == shape and value.dtype == self._dtype:
            value = value.reshape(-1)
        else:
            value = self.structure.flatten(value, describe_diffusion(value, shape))
        if versions is not None:
            check_unwritten(versions, versions_of(y), "diffusion")
            self.structure.check_device(value, "the value of diffusion(t, y)")
        return value if self._kept_diffusion.trusts else self._kept_diffusion(value)

    def increment(self, t: Scalar, h: Scalar) -> BrownianIncrement:
        """Return what the path does from ``t`` to ``t + h``."""
        if isinstance(t, Tensor) or isinstance(h, Tensor):
            t, h = (float(value.detach() if isinstance(value, Tensor) else value) for value in (t, h))
        return converted(self.path(t, t + h), self._dtype, self._noise_shape)

    def product(self, diffusion: Tensor, noise: Tensor) -> Tensor:
        """Return the diffusion times an increment, shape ``(size,)``."""
        return diffusion * noise if self.channels is None else product(diffusion, noise).reshape(-1)

    def plus_product(self, y: Tensor, diffusion: Tensor, noise: Tensor, factor: float = 1.0) -> Tensor:
        """Return ``y`` and ``factor`` times the product, in one pass where that is possible."""
        if self.channels is None:
            return torch.addcmul(y, diffusion, noise, value=factor)
        return torch.add(y, self.product(diffusion, noise), alpha=factor)


def describe_diffusion(value: Any, shape: tuple[int, ...] | None) -> str:
    """Return what messages call a diagonal diffusion's value; of a matrix, with what would take it."""
    matrix = shape is not None and isinstance(value, Tensor) and tuple(value.shape[:-1]) == tuple(shape)
    hint = ' (for a matrix, pass noise="general", "commutative", "additive" or "scalar")' if matrix else ""
    return f"the value of diffusion(t, y){hint}"


def product(diffusion: Tensor, noise: Tensor) -> Tensor:
    """Return matrices ``(..., d, m)`` times increments ``(..., m)``."""
    if diffusion.shape[-1] == 1:
        return diffusion.squeeze(-1) * noise
    return matrix_product(diffusion, noise.unsqueeze(-1)).squeeze(-1)


def converted(found: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> BrownianIncrement:
    """Return what a path said as a `BrownianIncrement`.

    Args:
        found: An object with the attributes of one; without areas, they are None.
        dtype: The dtype wanted.
        shape: The shape wanted, of all but the Levy area.

    Raises:
        TypeError: Its increment is no floating-point tensor.
        ValueError: It has another number of entries.
    """
    if type(found) is BrownianIncrement and found.w.dtype == dtype and found.w.shape == shape:
        return found
    w = getattr(found, "w", None)
    if not isinstance(w, Tensor) or not w.is_floating_point():
        given = f"has dtype {w.dtype}" if isinstance(w, Tensor) else f"is {w!r}"
        raise TypeError(f"path(s, t).w must be a floating-point tensor, the increment from s to t, but {given}.")
    if w.numel() != math.prod(shape):
        raise ValueError(
            f"path(s, t).w must have as many entries as the shape {shape}, but has shape {tuple(w.shape)}."
        )
    parts: list[Any] = []
    for name in ("w", "h", "k"):
        value = getattr(found, name, None)
        if value is not None:
            if value.dtype != dtype:
                value = value.to(dtype)
            if value.shape != shape:
                value = value.reshape(shape)
        parts.append(value)
    area = getattr(found, "a", None)
    parts.append(None if area is None else area.to(dtype))
    return BrownianIncrement(*parts)


def diffusion_matrix(
    value: Any, structure: StateStructure, noise: str, channels: int | None, shape: tuple[int, ...] | None = None
) -> Tensor:
    """Return a diffusion's value of shape ``(*y.shape, m)``, after a check.

    Args:
        value: What the user's function returned.
        structure: Structure of the state, a lone tensor.
        noise: The kind of noise.
        channels: The number ``m``; None for any.
        shape: Shape of the state that it was evaluated at; None for that of the structure.

    Raises:
        TypeError: It is no tensor, or has another dtype.
        ValueError: It has another shape.
    """
    shape = tuple(structure.leaves[0].shape) if shape is None else shape
    wanted = f"{(*shape, 'm' if channels is None else channels)}".replace("'", "")
    if not isinstance(value, Tensor):
        raise TypeError(f"the value of diffusion(t, y) must be a tensor, but is a {type(value).__name__}.")
    if noise == "scalar" and value.shape == shape:
        value = value.unsqueeze(-1)
    if value.shape[:-1] != shape or (channels is not None and value.shape[-1] != channels):
        hint = ' For one Brownian motion per entry, pass noise="diagonal".' if value.shape == shape else ""
        raise ValueError(
            f"the value of diffusion(t, y) must have shape {wanted} with noise={noise!r}, for a state of shape "
            f"{shape}, but has shape {tuple(value.shape)}.{hint}"
        )
    if not value.shape[-1]:
        raise ValueError(
            f"the value of diffusion(t, y) must have at least one motion, but has shape {tuple(value.shape)}."
        )
    half = torch.is_autocast_enabled(value.device.type) and value.is_floating_point()  # what its user asked for
    if value.dtype != structure.leaves[0].dtype and not half:
        raise TypeError(
            f"the value of diffusion(t, y) must have the state's dtype {structure.leaves[0].dtype}, but has "
            f"{value.dtype}."
        )
    structure.check_device(value, "the value of diffusion(t, y)")
    return value.to(structure.dtype)
