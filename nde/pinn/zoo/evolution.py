"""Equations in one dimension and time whose solutions are known: transport, heat, waves, Burgers, solitons."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nde.pinn.geometry import Interval, TimeProduct
from nde.pinn.zoo.case import Case
from nde.taylor.operators import Unknown, burgers, kdv

__all__ = ["advection_1d", "burgers_1d", "heat_1d", "kdv_soliton", "wave_1d"]


def _zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x[..., 0])


def advection_1d(speed: float = 30.0) -> Case:
    """Return ``u_t + speed u_x = 0`` on a circle of length ``2 pi`` with ``u = sin x`` at the start."""
    u = Unknown("xt")

    def solution(x: Tensor) -> Tensor:
        return torch.sin(x[..., 0] - speed * x[..., 1])

    return Case(
        "advection",
        TimeProduct(Interval(0.0, 2 * math.pi), 0.0, 1.0),
        u.t + speed * u.x,
        solution,
        "Krishnapriyan et al., Characterizing possible failure modes in physics-informed neural networks (2021)",
        initial=(solution,),
        periods={0: 2 * math.pi},
        periodic_order=0,
    )


def heat_1d(diffusivity: float = 0.1) -> Case:
    """Return ``u_t = diffusivity u_xx`` on the unit interval, ``u = sin(pi x)`` at the start and zero at the ends."""
    u = Unknown("xt")

    def solution(x: Tensor) -> Tensor:
        return torch.exp(-diffusivity * math.pi**2 * x[..., 1]) * torch.sin(math.pi * x[..., 0])

    domain = TimeProduct(Interval(0.0, 1.0), 0.0, 1.0)
    return Case("heat", domain, u.t - diffusivity * u.xx, solution, "separation", initial=(solution,), boundary=_zero)


def wave_1d(speed: float = 2.0) -> Case:
    """Return ``u_tt = speed^2 u_xx`` on the unit interval with two standing waves."""
    u = Unknown("xt")

    def solution(x: Tensor) -> Tensor:
        along, time = math.pi * x[..., 0], speed * math.pi * x[..., 1]
        return torch.sin(along) * torch.cos(time) + 0.5 * torch.sin(4 * along) * torch.cos(4 * time)

    return Case(
        "wave",
        TimeProduct(Interval(0.0, 1.0), 0.0, 1.0),
        u.tt - speed**2 * u.xx,
        solution,
        "Wang, Yu, Perdikaris (2022), section 7.2",
        initial=(solution, _zero),
        boundary=_zero,
    )


def burgers_1d(viscosity: float = 0.01 / math.pi) -> Case:
    """Return ``u_t + u u_x = viscosity u_xx`` on ``[-1, 1]``, ``u = -sin(pi x)`` at the start and zero at the ends.

    The solution is that of Cole and Hopf, by Gauss and Hermite's quadrature with 256 nodes.

    Raises:
        ValueError: The viscosity is below 1e-3, where the integrand overflows.
    """
    if not viscosity >= 1e-3:
        raise ValueError(f"viscosity must be at least 1e-3, where the solution's integrals are exact, not {viscosity}.")
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.hermite.hermgauss(256))

    def solution(x: Tensor) -> Tensor:
        width = 2 * torch.sqrt(viscosity * x[..., 1])
        angles = [math.pi * (x[..., 0] - width * node) for node in nodes.tolist()]
        # times exp(-1 / (2 pi viscosity)), which keeps the largest term at 1
        terms = [
            weight * torch.exp((-torch.cos(angle) - 1) / (2 * math.pi * viscosity))
            for weight, angle in zip(weights.tolist(), angles, strict=True)
        ]
        flux = sum(torch.sin(angle) * term for angle, term in zip(angles, terms, strict=True))
        return -flux / sum(terms)

    return Case(
        "Burgers",
        TimeProduct(Interval(-1.0, 1.0), 0.0, 1.0),
        burgers(viscosity),
        solution,
        "Basdevant et al., Spectral and finite difference solutions of the Burgers equation (1986), equation 3.2",
        initial=(lambda x: -torch.sin(math.pi * x[..., 0]),),
        boundary=_zero,
    )


def kdv_soliton(speed: float = 4.0, start: float = -2.0) -> Case:
    """Return ``u_t + 6 u u_x + u_xxx = 0`` on ``[-10, 10]`` with one soliton."""

    def solution(x: Tensor) -> Tensor:
        phase = 0.5 * math.sqrt(speed) * (x[..., 0] - speed * x[..., 1] - start)
        return 0.5 * speed / torch.cosh(phase) ** 2

    u = Unknown("xt")
    return Case(
        "KdV soliton",
        TimeProduct(Interval(-10.0, 10.0), 0.0, 1.0),
        kdv(1, 6),
        solution,
        "Drazin and Johnson, Solitons: an Introduction (1989), section 2.1",
        initial=(solution,),
        boundary=solution,
        boundary_operators={"slopes": u.x - u.given(lambda x: _slope(solution(x), x, speed, start))},
    )


def _slope(value: Tensor, x: Tensor, speed: float, start: float) -> Tensor:
    """Return the soliton's derivative in space."""
    phase = 0.5 * math.sqrt(speed) * (x[..., 0] - speed * x[..., 1] - start)
    return -math.sqrt(speed) * torch.tanh(phase) * value
