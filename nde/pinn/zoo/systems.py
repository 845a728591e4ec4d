"""Systems of equations in the plane: elasticity and incompressible flow; the models have several outputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nde.pinn.geometry import Box
from nde.pinn.zoo.case import Case
from nde.taylor.operators import Expression, Unknown, unknowns

__all__ = ["elastic_rest_2d", "elasticity_2d", "kovasznay_flow", "navier_cauchy", "navier_stokes"]


def navier_cauchy(first_lame: float, shear_modulus: float) -> tuple[Expression, Expression]:
    """Return the forces ``(lambda + mu) grad div u + mu Laplace u`` of a displacement ``(u, v)`` over ``(x, y)``.

    They vanish in an elastic body at rest without loads. As an `nde.pinn.Equation` beside `nde.pinn.Data` they keep a
    displacement field that is found from measurements mechanically plausible.

    Args:
        first_lame, shear_modulus: ``lambda`` and ``mu``.
    """
    u, v = unknowns(2, "xy")
    both = first_lame + shear_modulus
    return (
        both * (u.xx + v.xy) + shear_modulus * (u.xx + u.yy),
        both * (u.xy + v.yy) + shear_modulus * (v.xx + v.yy),
    )


def elasticity_2d(first_lame: float = 1.0, shear_modulus: float = 0.5) -> Case:
    """Return a loaded elastic square with a given displacement ``(u, v)`` around it; two outputs."""
    amplitude = 0.25

    def solution(x: Tensor) -> Tensor:
        return torch.stack([_component(x, 0), _component(x, 1)], -1)

    def _component(x: Tensor, component: int) -> Tensor:
        along, across = math.pi * x[..., 0], math.pi * x[..., 1]
        if component == 0:
            return torch.cos(2 * along) * torch.sin(across)
        return amplitude * torch.sin(along) * x[..., 1] ** 4

    def load(component: int) -> Callable[[Tensor], Tensor]:
        both, pi = first_lame + shear_modulus, math.pi

        def value(x: Tensor) -> Tensor:
            along, across, height = pi * x[..., 0], pi * x[..., 1], x[..., 1]
            wave = torch.cos(2 * along) * torch.sin(across)
            if component == 0:
                dilation = -4 * pi**2 * wave + 4 * amplitude * pi * torch.cos(along) * height**3
                return -both * dilation + 5 * shear_modulus * pi**2 * wave
            bend = amplitude * torch.sin(along)
            dilation = -2 * pi**2 * torch.sin(2 * along) * torch.cos(across) + 12 * bend * height**2
            return -both * dilation - shear_modulus * (12 * bend * height**2 - pi**2 * bend * height**4)

        return value

    u, v = unknowns(2, "xy")
    forces = navier_cauchy(first_lame, shear_modulus)
    return Case(
        "elasticity 2-D",
        Box([0.0, 0.0], [1.0, 1.0]),
        tuple(force + u.given(load(component)) for component, force in enumerate(forces)),
        solution,
        "after Haghighat et al., A physics-informed deep learning framework for solid mechanics (2021)",
        boundary_operators={
            "u": u - u.given(lambda x: _component(x, 0)),
            "v": v - u.given(lambda x: _component(x, 1)),
        },
    )


def elastic_rest_2d(first_lame: float = 1.0, shear_modulus: float = 0.5, *, rate: float = 2.0) -> Case:
    """Return an elastic square without loads, with a given displacement ``(u, v)`` around it; two outputs.

    With the harmonic function ``h = exp(rate y) sin(rate x)`` and ``k = (lambda + mu) / (2 lambda + 4 mu)`` the
    displacement is ``(h, 0) - k grad(x h)``, divided by ``exp(rate)``.

    Args:
        first_lame, shear_modulus: ``lambda`` and ``mu``, of plane strain.
        rate: Wave number of the displacement.

    Source:
        The solution of Papkovich and Neuber: Sadd, Elasticity (2009), section 13.4.
    """
    share = (first_lame + shear_modulus) / (2 * first_lame + 4 * shear_modulus)

    def solution(x: Tensor) -> Tensor:
        along = rate * x[..., 0]
        grown = torch.exp(rate * (x[..., 1] - 1))
        wave, slope = grown * torch.sin(along), grown * torch.cos(along)
        return torch.stack([wave - share * (wave + along * slope), -share * along * wave], -1)

    u, v = unknowns(2, "xy")
    return Case(
        "elastic body at rest 2-D",
        Box([0.0, 0.0], [1.0, 1.0]),
        navier_cauchy(first_lame, shear_modulus),
        solution,
        "Papkovich (1932), Neuber (1934)",
        boundary_operators={
            "u": u - u.given(lambda x: solution(x)[..., 0]),
            "v": v - v.given(lambda x: solution(x)[..., 1]),
        },
    )


def navier_stokes(reynolds: float) -> tuple[Expression, Expression, Expression]:
    """Return the steady equations of Navier and Stokes for ``(u, v, p)`` over ``(x, y)``: momentum, mass."""
    u, v, p = unknowns(3, "xy")
    return (
        u * u.x + v * u.y + p.x - (u.xx + u.yy) / reynolds,
        u * v.x + v * v.y + p.y - (v.xx + v.yy) / reynolds,
        u.x + v.y,
    )


def kovasznay_flow(reynolds: float = 40.0) -> Case:
    """Return Kovasznay's flow behind a grid, with velocities and pressure given around the domain; three outputs."""
    rate = reynolds / 2 - math.sqrt(reynolds**2 / 4 + 4 * math.pi**2)

    def solution(x: Tensor) -> Tensor:
        grown, angle = torch.exp(rate * x[..., 0]), 2 * math.pi * x[..., 1]
        velocity = rate / (2 * math.pi) * grown * torch.sin(angle)
        return torch.stack([1 - grown * torch.cos(angle), velocity, (1 - grown * grown) / 2], -1)

    def given(unknown: Unknown, component: int) -> Expression:
        return unknown - unknown.given(lambda x: solution(x)[..., component])

    return Case(
        "Kovasznay flow",
        Box([-0.5, -0.5], [1.0, 1.5]),
        navier_stokes(reynolds),
        solution,
        "Kovasznay, Laminar flow behind a two-dimensional grid (1948)",
        boundary_operators={
            name: given(unknown, component)
            for component, (name, unknown) in enumerate(zip("uvp", unknowns(3, "xy"), strict=True))
        },
    )
