"""Stiff equations on a circle with numerical references: Allen-Cahn, Kuramoto-Sivashinsky."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from nde.pinn.geometry import Interval, TimeProduct
from nde.pinn.zoo.case import Case
from nde.pinn.zoo.spectral import SpectralSolution, solve_periodic
from nde.taylor.operators import Unknown

__all__ = ["allen_cahn_1d", "kuramoto_sivashinsky"]


@functools.cache
def allen_cahn_solution(nodes: int = 1024, steps: int = 1000) -> SpectralSolution:
    """Return the reference of `allen_cahn_1d`."""
    return solve_periodic(
        lambda d: 1e-4 * d**2,
        lambda u: 5 * u - 5 * u**3,
        lambda x: x**2 * np.cos(np.pi * x),
        start=-1.0,
        period=2.0,
        end=1.0,
        nodes=nodes,
        steps=steps,
    )


def allen_cahn_1d() -> Case:
    """Return ``u_t = 0.0001 u_xx + 5 u - 5 u^3`` on the circle ``[-1, 1]``, ``u = x^2 cos(pi x)`` at the start."""
    u = Unknown("xt")

    def start(x: Tensor) -> Tensor:
        return x[..., 0] ** 2 * torch.cos(math.pi * x[..., 0])

    return Case(
        "Allen-Cahn",
        TimeProduct(Interval(-1.0, 1.0), 0.0, 1.0),
        u.t - 1e-4 * u.xx + 5 * u**3 - 5 * u,
        lambda x: allen_cahn_solution()(x),
        "Raissi, Perdikaris, Karniadakis (2019), section 3.1; reference: ETDRK4, 1024 nodes, 1000 steps",
        initial=(start,),
        periods={0: 2.0},
    )


@functools.cache
def kuramoto_sivashinsky_solution(end: float, nodes: int = 256, steps: int = 4000) -> SpectralSolution:
    """Return the reference of `kuramoto_sivashinsky`."""
    return solve_periodic(
        lambda d: -100 / 16**2 * d**2 - 100 / 16**4 * d**4,
        lambda u: -100 / 16 * u**2 / 2,
        lambda x: np.cos(x) * (1 + np.sin(x)),
        start=0.0,
        period=2 * math.pi,
        end=end,
        nodes=nodes,
        steps=steps,
        conservative=True,
    )


def kuramoto_sivashinsky(end: float = 0.4) -> Case:
    """Return ``u_t + 100/16 u u_x + 100/16^2 u_xx + 100/16^4 u_xxxx = 0`` on a circle of length ``2 pi``.

    It is smooth and predictable up to a time of about 0.4, and chaotic later.
    """
    u = Unknown("xt")

    def start(x: Tensor) -> Tensor:
        return torch.cos(x[..., 0]) * (1 + torch.sin(x[..., 0]))

    return Case(
        "Kuramoto-Sivashinsky",
        TimeProduct(Interval(0.0, 2 * math.pi), 0.0, end),
        u.t + 100 / 16 * u * u.x + 100 / 16**2 * u.xx + 100 / 16**4 * u.xxxx,
        lambda x: kuramoto_sivashinsky_solution(end)(x),
        "Wang, Sankaran, Perdikaris (2022), section 4.3, and Kassam and Trefethen (2005); reference: ETDRK4",
        initial=(start,),
        periods={0: 2 * math.pi},
        periodic_order=3,
    )
