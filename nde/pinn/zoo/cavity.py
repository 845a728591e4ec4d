"""The flow in a square cavity under a sliding lid: a reference of our own by Chebyshev series and Newton's method."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from torch import Tensor

from nde.pinn.geometry import Box
from nde.pinn.zoo.case import Case
from nde.pinn.zoo.systems import navier_stokes
from nde.taylor.operators import unknowns
from nde.taylor.operators.checks import check_count

__all__ = ["CavitySolution", "lid_driven_cavity", "solve_cavity"]

Real = NDArray[np.float64]

_ROUGHEST = 400.0  # Reynolds number above which Newton's method starts from the flow of half the number
_NEWTON_STEPS = 30


class CavitySolution:
    """Velocity and pressure ``(u, v, p)`` in the unit square as Chebyshev series; jets can be pushed through it.

    Attributes:
        stream: Coefficients of the stream function ``psi``, ``u = psi_y`` and ``v = -psi_x``, shape ``(K, K)``.
        fields: Coefficients of ``u, v, p``, shape ``(3, K, K)``; ``p`` is zero in the middle of the floor.
        reynolds: The Reynolds number.
    """

    def __init__(self, stream: Real, fields: Real, reynolds: float) -> None:
        self.stream = stream
        self.fields = fields
        self.reynolds = reynolds

    def __call__(self, x: Any) -> Any:
        """Return ``(u, v, p)`` at points ``(*S, 2)``, shape ``(*S, 3)``."""
        count = self.fields.shape[1]
        along, up = (_chebyshev(2 * x[..., axis : axis + 1] - 1, count) for axis in range(2))
        series = torch.from_numpy(self.fields).to(dtype=x.dtype, device=x.device)
        by_row = [along @ part for part in series]
        return torch.stack([(part * up).sum(-1) for part in by_row], -1)


def _chebyshev(z: Any, count: int) -> Any:
    """Return the first Chebyshev polynomials of ``z``, shape ``(*S, count)`` for ``(*S, 1)``."""
    found = [torch.ones_like(z), z]
    while len(found) < count:
        found.append(2 * z * found[-1] - found[-2])
    return torch.cat(found[:count], -1)


def solve_cavity(reynolds: float, lid: Callable[[Real], Real], *, nodes: int = 40) -> CavitySolution:
    """Solve ``psi_y (Laplace psi)_x - psi_x (Laplace psi)_y = Laplace^2 psi / reynolds`` in the unit square.

    ``psi`` is a polynomial that is zero on all walls, with the slopes 0 on three of them and ``lid(x)`` on the fourth,
    ``y = 1``. The equation holds at Chebyshev's nodes; Newton's method begins with a flow without inertia. The pressure
    is the least-squares solution of the momentum equations for its gradient.

    Args:
        reynolds: Of the side and the lid's speed, above 0.
        lid: Speed of the lid, of arrays. The series converge fast where it has zeros of second order at the corners.
        nodes: Degree of the polynomials in each direction, at least 8; the work grows with its sixth power.

    Raises:
        ValueError: A number is out of range.
        FloatingPointError: Newton's method does not converge.

    Source:
        Trefethen, Spectral Methods in MATLAB (2000), chapters 6, 7 and 14, for matrices and clamped conditions.
    """
    if not 0 < reynolds < float("inf"):
        raise ValueError(f"reynolds must be positive and finite, but is {reynolds}.")
    check_count(nodes, "nodes", 8)
    x, d = _differentiation(nodes)
    inner = slice(2, -2)
    # values next to the walls follow from the others by the given slopes at the walls
    next_to = [1, nodes - 1]
    ends = d[[0, nodes]]
    slopes_to_values = np.zeros((nodes + 1, 2))
    slopes_to_values[next_to] = np.linalg.inv(ends[:, next_to])
    extend = np.zeros((nodes + 1, nodes - 3))
    extend[inner] = np.eye(nodes - 3)
    extend[next_to] = -slopes_to_values[next_to] @ ends[:, inner]
    base = np.outer(extend @ lid(x[inner]), slopes_to_values[:, 0])  # x[0] = 1 is the lid
    power = [np.linalg.matrix_power(d, k) for k in range(5)]
    rows = [matrix[inner] for matrix in power]

    def derivatives(psi: Real) -> dict[tuple[int, int], Real]:
        orders = [(1, 0), (0, 1), (3, 0), (1, 2), (2, 1), (0, 3), (4, 0), (2, 2), (0, 4)]
        return {(a, b): (rows[a] @ psi @ rows[b].T).ravel() for a, b in orders}

    columns = [matrix @ extend for matrix in rows]
    mixed = functools.cache(lambda a, b: np.kron(columns[a], columns[b]))
    friction = mixed(4, 0) + 2 * mixed(2, 2) + mixed(0, 4)
    curl_x, curl_y = mixed(3, 0) + mixed(1, 2), mixed(2, 1) + mixed(0, 3)

    def newton(psi: Real, number: float) -> Real:
        for _ in range(_NEWTON_STEPS):
            f = derivatives(psi)
            turn_x, turn_y = f[3, 0] + f[1, 2], f[2, 1] + f[0, 3]
            residual = f[0, 1] * turn_x - f[1, 0] * turn_y - (f[4, 0] + 2 * f[2, 2] + f[0, 4]) / number
            slope = f[0, 1][:, None] * curl_x - f[1, 0][:, None] * curl_y - friction / number
            slope += turn_x[:, None] * mixed(0, 1) - turn_y[:, None] * mixed(1, 0)
            change = np.linalg.solve(slope, residual).reshape(nodes - 3, nodes - 3)
            psi = psi - extend @ change @ extend.T
            if np.abs(change).max() < 1e-12:
                return psi
        raise FloatingPointError(f"Newton's method does not converge at a Reynolds number of {number}. Try more nodes.")

    numbers = [reynolds]
    while numbers[0] > _ROUGHEST:
        numbers.insert(0, numbers[0] / 2)
    psi = base
    for number in [1e-6, *numbers]:
        psi = newton(psi, number)
    return _with_pressure(psi, x, d, reynolds)


def _with_pressure(psi: Real, x: Real, d: Real, reynolds: float) -> CavitySolution:
    u, v = psi @ d.T, -d @ psi
    forces = [(d @ (d @ w) + w @ d.T @ d.T) / reynolds - u * (d @ w) - v * (w @ d.T) for w in (u, v)]
    # |p_x - f|^2 + |p_y - g|^2 is least where d^T d p + p d^T d = d^T f + g d
    values, vectors = np.linalg.eigh(d.T @ d)
    sums = values[:, None] + values
    sums[0, 0] = np.inf  # the constant, which no gradient tells
    p = vectors @ ((vectors.T @ (d.T @ forces[0] + forces[1] @ d) @ vectors) / sums) @ vectors.T
    to_series = np.linalg.inv(chebyshev.chebvander(2 * x - 1, len(x) - 1))
    fields = np.stack([to_series @ w @ to_series.T for w in (u, v, p)])
    fields[2, 0, 0] -= chebyshev.chebval2d(0.0, -1.0, fields[2])
    return CavitySolution(to_series @ psi @ to_series.T, fields, reynolds)


def _differentiation(degree: int) -> tuple[Real, Real]:
    """Return Chebyshev's nodes of the unit interval, from 1 down to 0, and the matrix that differentiates there."""
    z = np.cos(np.pi * np.arange(degree + 1) / degree)
    c = np.where((np.arange(degree + 1) == 0) | (np.arange(degree + 1) == degree), 2.0, 1.0)
    c *= (-1.0) ** np.arange(degree + 1)
    d = np.outer(c, 1 / c) / (z[:, None] - z + np.eye(degree + 1))
    d -= np.diag(d.sum(1))
    return (z + 1) / 2, 2 * d


@functools.cache
def cavity_solution(reynolds: float, nodes: int = 40) -> CavitySolution:
    """Return the reference of `lid_driven_cavity`."""
    return solve_cavity(reynolds, _lid, nodes=nodes)


def _lid(x: Any) -> Any:
    return 16 * x**2 * (1 - x) ** 2


def lid_driven_cavity(reynolds: float = 100.0) -> Case:
    """Return the flow in the unit square under the lid ``y = 1`` of the speed ``16 x^2 (1 - x)^2``; three outputs.

    At a lid of constant speed, pressure and vorticity are infinite in two corners; this one is smooth. At a Reynolds
    number of 100 its reference has a relative error of 1e-7 in the velocities and 1e-5 in the pressure, which converges
    slowest in these corners; see `solve_cavity`, which takes any lid.
    The pressure is zero in the middle of the floor.

    Args:
        reynolds: Of the side and the lid's largest speed.

    Source:
        Shen, Hopf bifurcation of the unsteady regularized driven cavity flow (1991), for the lid.
    """
    u, v, _ = unknowns(3, "xy")

    def wall(x: Tensor) -> Tensor:
        return _lid(x[..., 0]) * x[..., 1]  # zero at the other walls

    return Case(
        "lid-driven cavity",
        Box([0.0, 0.0], [1.0, 1.0]),
        navier_stokes(reynolds),
        lambda x: cavity_solution(reynolds)(x),
        "Shen (1991); reference: Chebyshev series of degree 40, Newton's method",
        boundary_operators={"u": u - u.given(wall), "v": v},
        anchors={"pressure": ((0.5, 0.0), 2, 0.0)},
    )
