"""Angular harmonics and radial polynomials, of which Zernike's functions are products."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["angular_harmonics", "count_harmonics", "jacobi"]


def count_harmonics(degree: int, dims: int) -> int:
    """Return how many harmonics of a degree there are in 1, 2 or 3 dimensions."""
    if dims == 1:
        return int(degree < 2)
    return 1 if degree == 0 else {2: 2, 3: 2 * degree + 1}[dims]


def angular_harmonics(degree: int, z: Tensor) -> list[Tensor]:
    """Return the homogeneous harmonic polynomials of a degree: ``|z|^degree`` times functions of the direction.

    Args:
        degree: Their degree.
        z: Points, shape ``(*shape, dims)`` with 1, 2 or 3 dimensions.

    Returns:
        `count_harmonics` tensors of shape ``shape``.
    """
    if degree == 0:
        return [torch.ones_like(z[..., 0])]
    if z.shape[-1] == 1:
        return [z[..., 0]]
    real, imaginary = _powers(z[..., 0], z[..., 1], degree)
    if z.shape[-1] == 2:
        return [real[degree], imaginary[degree]]
    height, square = z[..., 2], z.square().sum(-1)
    harmonics = []
    for order in range(degree + 1):
        along = _legendre_derivative(degree, order, height, square)
        harmonics.append(along * real[order])
        if order:
            harmonics.append(along * imaginary[order])
    return harmonics


def _powers(x: Tensor, y: Tensor, degree: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return real and imaginary parts of ``(x + i y)^k`` for ``k = 0, ..., degree``."""
    real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):
        before, other = real[-1], imaginary[-1]
        real.append(x * before - y * other)
        imaginary.append(x * other + y * before)
    return real, imaginary


def _legendre_derivative(degree: int, order: int, height: Tensor, square: Tensor) -> Tensor:
    """Return ``r^(degree - order)`` times the ``order``-th derivative of Legendre's polynomial at ``height / r``.

    By the recurrence in the degree of the associated functions, DLMF 14.10.3, without their factor
    ``(1 - x^2)^(order / 2)``, which the powers of ``x + i y`` bring along.
    """
    before, value = torch.zeros_like(height), torch.ones_like(height)
    for factor in range(1, 2 * order, 2):
        value = value * factor
    for at in range(order, degree):
        before, value = value, ((2 * at + 1) * height * value - (at + order) * square * before) / (at - order + 1)
    return value


def jacobi(degree: int, beta: float, x: Tensor) -> Tensor:
    """Return Jacobi's polynomial ``P_degree^(0, beta)(x)`` by its recurrence, DLMF 18.9.2."""
    before, value = torch.zeros_like(x), torch.ones_like(x)
    if degree == 0:
        return value
    before, value = value, (beta + 2) * (x - 1) / 2 + 1
    for n in range(1, degree):
        total = 2 * n + beta
        scale = 2 * (n + 1) * (n + beta + 1) * total
        slope = (total + 1) * total * (total + 2)
        offset = -(total + 1) * beta**2
        back = 2 * n * (n + beta) * (total + 2)
        before, value = value, ((slope * x + offset) * value - back * before) / scale
    return value
