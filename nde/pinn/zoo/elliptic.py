"""Equations without time: Poisson, Helmholtz, biharmonic; solutions in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.pinn.geometry import Box, Interval
from nde.pinn.zoo.case import Case
from nde.taylor.operators import Unknown

__all__ = ["biharmonic_2d", "helmholtz_2d", "poisson_1d", "poisson_2d"]


def _sines(x: Tensor, *waves: int) -> Tensor:
    result = torch.sin(waves[0] * math.pi * x[..., 0])
    for axis, wave in enumerate(waves[1:], start=1):
        result = result * torch.sin(wave * math.pi * x[..., axis])
    return result


def _zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x[..., 0])


def poisson_1d(wave: int = 4) -> Case:
    """Return ``-u_xx = f`` on the unit interval with two sines of the waves 1 and ``wave`` as solution."""
    u = Unknown("x")

    def solution(x: Tensor) -> Tensor:
        return _sines(x, 1) + 0.25 * _sines(x, wave)

    source = u.given(lambda x: math.pi**2 * (_sines(x, 1) + 0.25 * wave**2 * _sines(x, wave)))
    return Case("Poisson 1-D", Interval(0.0, 1.0), -u.xx - source, solution, "manufactured", boundary=_zero)


def poisson_2d() -> Case:
    """Return ``-Laplace u = 2 pi^2 sin(pi x) sin(pi y)`` on the unit square, zero on the boundary."""
    u = Unknown("xy")
    source = u.given(lambda x: 2 * math.pi**2 * _sines(x, 1, 1))
    return Case(
        "Poisson 2-D",
        Box([0.0, 0.0], [1.0, 1.0]),
        -(u.xx + u.yy) - source,
        lambda x: _sines(x, 1, 1),
        "Müller and Zeinhofer (2023), section 4.1",
        boundary=_zero,
    )


def helmholtz_2d(waves: tuple[int, int] = (1, 4), wave_number: float = 1.0) -> Case:
    """Return ``Laplace u + k^2 u = q`` on ``[-1, 1]^2`` with the solution ``sin(a pi x) sin(b pi y)``."""
    u = Unknown("xy")
    factor = wave_number**2 - math.pi**2 * (waves[0] ** 2 + waves[1] ** 2)
    source = u.given(lambda x: factor * _sines(x, *waves))
    return Case(
        "Helmholtz 2-D",
        Box([-1.0, -1.0], [1.0, 1.0]),
        u.xx + u.yy + wave_number**2 * u - source,
        lambda x: _sines(x, *waves),
        "Wang, Teng, Perdikaris (2021), section 4.1",
        boundary=_zero,
    )


def biharmonic_2d() -> Case:
    """Return a plate, ``Laplace^2 u = f`` on the unit square, simply supported: ``u = Laplace u = 0`` around it."""
    u = Unknown("xy")
    source = u.given(lambda x: 4 * math.pi**4 * _sines(x, 1, 1))
    return Case(
        "biharmonic 2-D",
        Box([0.0, 0.0], [1.0, 1.0]),
        u.xxxx + 2 * u.xxyy + u.yyyy - source,
        lambda x: _sines(x, 1, 1),
        "Navier's solution of the simply supported plate: Timoshenko, Theory of Plates and Shells (1959), section 27",
        boundary=_zero,
        boundary_operators={"moments": u.xx + u.yy},
    )
