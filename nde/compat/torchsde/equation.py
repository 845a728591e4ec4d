"""What a user's object says of an equation: its functions under one set of names, whatever the user calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nde.compat.torchsde.settings import NOISE_TYPES
from nde.solvers.field import Wrap, as_it_is

__all__ = ["Equation", "read_equation", "with_divergence"]

Function = Callable[..., Any]

# argument ``names`` of `sdeint`: which function each of its entries renames
_RENAMED = {
    "f": "drift",
    "g": "diffusion",
    "h": "prior_drift",
    "g_prod": "diffusion_prod",
    "f_and_g": "drift_and_diffusion",
    "f_and_g_prod": "drift_and_diffusion_prod",
}
_SMALLEST_DIVISOR = 1e-7

# what a call of each function evaluates: see `nde.solvers.field.Wrap`
_ROLES = {"f": "field", "g": "diffusion", "g_prod": "diffusion", "f_and_g": "both", "f_and_g_prod": "both"}


@dataclass(frozen=True)
class Equation:
    """The functions of an equation; None for those that the user's object does not have.

    Attributes:
        noise_type, sde_type: What kind it is, as the object says.
        f: Drift ``(t, y)``, shape ``(batch, d)``.
        g: Diffusion ``(t, y)``, shape ``(batch, d)`` where the noise is diagonal, else ``(batch, d, m)``.
        h: Drift of a prior, which the divergence is to.
        g_prod: Diffusion times a vector, ``(t, y, v)``.
        f_and_g, f_and_g_prod: Both at once.
    """

    noise_type: Any
    sde_type: Any
    f: Function | None = None
    g: Function | None = None
    h: Function | None = None
    g_prod: Function | None = None
    f_and_g: Function | None = None
    f_and_g_prod: Function | None = None

    def wrapped(self, wrap: Wrap) -> Equation:
        """Return the equation with each function that is stepped wrapped; see `VectorField.fresh`."""
        if wrap is as_it_is:
            return self
        given = {name: getattr(self, name) for name in _ROLES}
        return replace(self, **{name: wrap(given[name], _ROLES[name]) for name in given if given[name] is not None})


def read_equation(sde: Any, names: Mapping[str, str] | None) -> Equation:
    """Return what an object says.

    Args:
        sde: The object.
        names: Names of its functions, where they differ from those of `Equation`.

    Raises:
        ValueError: It does not say what kind of equation it is.
    """
    for name in ("noise_type", "sde_type"):
        if not hasattr(sde, name):
            raise ValueError(f"sde does not have the attribute {name}.")
    given = names or {}
    functions = {own: getattr(sde, given.get(key, own), None) for own, key in _RENAMED.items()}
    return Equation(sde.noise_type, sde.sde_type, **functions)


def with_divergence(equation: Equation) -> Equation:
    """Return the equation with one more entry: the Kullback-Leibler divergence of its paths to those of the prior.

    The entry's slope is ``|u|^2 / 2`` with ``g u = f - h`` (Li, Wong, Chen, Duvenaud (2020), Scalable gradients for
    stochastic differential equations, section 5); nothing drives it.

    Raises:
        AttributeError: The drift, the diffusion or the prior's drift is not given.
    """
    f, g, h = equation.f, equation.g, equation.h
    if f is None or g is None or h is None:
        raise AttributeError("If using logqp then drift, diffusion and prior drift must all be specified.")
    diagonal = equation.noise_type == NOISE_TYPES.diagonal

    def drift_and_diffusion(t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        inner = y[:, :-1]
        drift, diffusion, prior = f(t, inner), g(t, inner), h(t, inner)
        if diagonal:
            safe = torch.full_like(diffusion, _SMALLEST_DIVISOR) * diffusion.sign()
            divisor = torch.where(diffusion.abs().detach() > _SMALLEST_DIVISOR, diffusion, safe)
            ratio = (drift - prior) / divisor
        else:
            ratio = torch.bmm(diffusion.pinverse(), (drift - prior).unsqueeze(-1)).squeeze(-1)
        slope = 0.5 * ratio.square().sum(1, keepdim=True)
        return torch.cat([drift, slope], 1), undriven(diffusion)

    def undriven(diffusion: Tensor) -> Tensor:
        return torch.cat([diffusion, diffusion.new_zeros((diffusion.shape[0], 1, *diffusion.shape[2:]))], 1)

    def drift_alone(t: Tensor, y: Tensor) -> Tensor:
        return drift_and_diffusion(t, y)[0]

    def diffusion_alone(t: Tensor, y: Tensor) -> Tensor:
        return undriven(g(t, y[:, :-1]))

    return Equation(
        equation.noise_type, equation.sde_type, f=drift_alone, g=diffusion_alone, f_and_g=drift_and_diffusion
    )
