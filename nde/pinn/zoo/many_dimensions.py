"""Equations in many dimensions: sine-Gordon on a ball, Hamilton-Jacobi-Bellman, Black-Scholes-Barenblatt."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.pinn.geometry import Ball, Box, TimeProduct
from nde.pinn.hard import HardConstraint
from nde.pinn.zoo.case import Case
from nde.taylor.operators import Envelope, Estimate, laplacian
from nde.taylor.operators.checks import check_count, scalar_output

__all__ = ["black_scholes_barenblatt", "hamilton_jacobi_bellman", "sine_gordon"]

Model = Callable[[Any], Any]

_CHUNK_NUMBERS = 1 << 16


class _TwoBody:
    """``(1 - |x|^2) d^(-1/2) sum_i c_i sin(y_i + cos y_(i+1) + y_(i+1) cos y_i)``, ``y = sqrt(d) x``.

    Without the scaling all ``y_i`` would be small and the sum nearly constant, so that one number fits the solution.
    """

    def __init__(self, dimension: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.dimension = dimension
        self.coefficients = torch.randn(dimension - 1, generator=generator, dtype=torch.float64) / math.sqrt(dimension)
        self._last: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def value(self, x: Tensor) -> Tensor:
        """Return the solution, of operations that jets can be pushed through."""
        y = math.sqrt(self.dimension) * x
        first, second = y[..., :-1], y[..., 1:]
        phase = first + second.cos() + second * first.cos()
        total = (self.coefficients.to(dtype=x.dtype, device=x.device) * phase.sin()).sum(-1)
        return (1 - (x * x).sum(-1)) * total

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian in closed form, at the cost of a few passes over the coordinates."""
        return self._value_and_laplacian(x)[1]

    def source(self, x: Tensor) -> Tensor:
        """Return ``Laplace u + sin u``; asked for the same points again, as it is while points stay, at no cost."""
        if self._last is not None and self._last[0]() is x and self._last[1] == x._version:
            return self._last[2]
        with torch.no_grad():
            value, curvature = self._value_and_laplacian(x)
            found = curvature + torch.sin(value)
        self._last = weakref.ref(x), x._version, found
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the last points: a weak reference cannot be copied."""
        return {**self.__dict__, "_last": None}

    def _value_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points = max(x[..., 0].numel(), 1)
        width = max(_CHUNK_NUMBERS // points, 1)  # coordinates at a time, few enough to stay in a core's cache
        root, last = math.sqrt(self.dimension), self.dimension - 1
        coefficients = self.coefficients.to(x)
        sine_sum, inner, slope = (x.new_zeros(x.shape[:-1]) for _ in range(3))
        for start in range(0, last, width):
            stop = min(start + width, last)
            y = root * x[..., start : stop + 1]
            first, second, cosines, sines = y[..., :-1], y[..., 1:], y.cos(), y.sin()
            product = second * cosines[..., :-1]
            phase = first + cosines[..., 1:] + product
            along = 1 - second * sines[..., :-1]  # derivatives of the phase by y_i and y_(i+1)
            across = cosines[..., :-1] - sines[..., 1:]
            sine, cosine, weights = phase.sin(), phase.cos(), coefficients[start:stop]
            curvature = cosine * (product + cosines[..., 1:]) + sine * (along.square() + across.square())
            sine_sum += sine @ weights
            inner -= curvature @ weights
            slope += (cosine * (along * first + across * second)) @ weights
        envelope = 1 - torch.linalg.vector_norm(x, dim=-1).square()
        laplacian = self.dimension * (envelope * inner - 2 * sine_sum) - 4 * slope
        return envelope * sine_sum, laplacian


def sine_gordon(
    dimension: int, *, mode: str = "auto", samples: int | None = 16, groups: int = 1, seed: int = 0
) -> Case:
    """Return ``(Laplace u + sin u - g) / d = 0`` on the unit ball, zero on the boundary; all coordinates matter.

    The best fit of the form ``C (1 - |x|^2)``, which is all that the unscaled family asks for in many dimensions, is
    the case's trivial fit. The boundary values are not a condition: use
    ``HardConstraint(network, case.domain.vanishing)``, whose envelope then enters the operator exactly.

    Args:
        dimension: ``d``, at least 2.
        mode, samples, groups: See `nde.taylor.operators.laplacian`.
        seed: Of the solution's coefficients.

    Source:
        Hu, Shukla, Karniadakis, Kawaguchi, Tackling the curse of dimensionality with physics-informed neural networks
        (2024), two-body solutions; here with arguments scaled by ``sqrt(d)`` and coefficients by its inverse.
    """
    check_count(dimension, "dimension", 2)
    exact = _TwoBody(dimension, seed)
    domain = Ball([0.0] * dimension, 1.0)

    def residual(model: Model, x: Tensor) -> Estimate:
        settings: dict[str, Any] = {"mode": mode, "samples": samples, "groups": groups}
        if isinstance(model, HardConstraint) and model.lift is None and model.factor == domain.vanishing:
            estimate = laplacian(model.network, x, envelope=Envelope.ball(x), **settings)
        else:
            estimate = laplacian(model, x, **settings)
        value = scalar_output(estimate.primal, x, "this equation")
        estimate = _scalar(estimate, x, "this equation")
        return (estimate + (torch.sin(value) - exact.source(x))) * (1 / dimension)

    return Case(
        f"sine-Gordon {dimension}-D",
        domain,
        residual,
        exact.value,
        "Hu, Shukla, Karniadakis, Kawaguchi (2024), scaled",
        trivial=lambda x: domain.vanishing(x).unsqueeze(-1),
    )


def hamilton_jacobi_bellman(
    dimension: int, *, mode: str = "exact", samples: int | None = None, groups: int = 1
) -> Case:
    """Return ``u_t + Laplace u - |grad u|^2 = 0`` on ``[-1, 1]^d``; at the end ``t = 1`` ``u = log((1 + |x|^2) / 2)``.

    The solution is Hopf and Cole's on the whole space, ``-log E exp(-g(x + sqrt(2) W))``, whose values are given on the
    boundary of the box: without them the equation has many solutions there. As ``g`` depends on ``|x|`` alone, it is
    the integral of ``exp(-s) (1 + 4 tau s)^(-d/2) exp(-s |x|^2 / (1 + 4 tau s))`` over ``s``, by Gauss's quadrature.

    The trivial fit is made of 1, the time and the final values.

    Args:
        dimension: ``d``.
        mode, samples, groups: See `nde.taylor.operators.laplacian`; the gradient is exact in every mode.

    Source:
        Han, Jentzen, E, Solving high-dimensional partial differential equations using deep learning (2018).
    """
    check_count(dimension, "dimension", 1)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    shares = (1 + nodes) / 2
    # s = p / (1 - p) / size maps the unit interval to the half line, at the scale on which the integrand falls
    places, masses = shares / (1 - shares), weights / 2 / (1 - shares) ** 2

    def solution(x: Tensor) -> Tensor:
        squared = (x[..., :-1] * x[..., :-1]).sum(-1)
        tau = 1 - x[..., -1]
        size = 1 + 2 * dimension * tau + squared
        total: Any = 0.0
        for place, mass in zip(places.tolist(), masses.tolist(), strict=True):
            s = place / size
            spread = 1 + 4 * tau * s
            total = total + mass * torch.exp(-s - 0.5 * dimension * torch.log(spread) - s * squared / spread)
        return torch.log(size) - math.log(2) - torch.log(total)

    def residual(model: Model, x: Tensor) -> Estimate:
        _check_coordinates(x, dimension)
        ahead = x.new_zeros(dimension + 1)
        ahead[-1] = 1
        settings: dict[str, Any] = {"mode": mode, "samples": samples, "groups": groups}
        linear = _scalar(laplacian(model, x, axes=range(dimension), drift=ahead, **settings), x, "this equation")
        # reverse mode by torch.func, through which the Jacobians of natural gradients can be taken as well
        value, pull = torch.func.vjp(model, x)[:2]
        (slopes,) = pull(torch.ones_like(value))
        return linear - slopes[..., :-1].square().sum(-1)

    def final(x: Tensor) -> Tensor:
        return torch.log((1 + (x[..., :-1] * x[..., :-1]).sum(-1)) / 2)

    return Case(
        f"Hamilton-Jacobi-Bellman {dimension}-D",
        TimeProduct(Box([-1.0] * dimension, [1.0] * dimension), 0.0, 1.0),
        residual,
        solution,
        "Han, Jentzen, E (2018), equations 10 to 12",
        final=final,
        boundary=solution,
        trivial=lambda x: torch.stack([torch.ones_like(x[..., -1]), x[..., -1], final(x)], -1),
    )


def black_scholes_barenblatt(
    dimension: int,
    *,
    volatility: float = 0.4,
    rate: float = 0.05,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
) -> Case:
    """Return ``u_t + volatility^2 / 2 sum_i x_i^2 u_ii = rate (u - x . grad u)``; at the end ``t = 1`` ``u = |x|^2``.

    On the box ``[0.5, 1.5]^d``, with the values of the whole space's solution given on its boundary: without them the
    equation has many solutions there. The trivial fit is made of 1, the time and the final values.

    Args:
        dimension: ``d``.
        volatility, rate: Of the model; the volatility is positive.
        mode, samples, groups: See `nde.taylor.operators.laplacian`.

    Raises:
        ValueError: The volatility is not positive.

    Source:
        Raissi, Forward-backward stochastic neural networks: deep learning of high-dimensional partial differential
        equations (2018), section 4.1.
    """
    check_count(dimension, "dimension", 1)
    if not volatility > 0:
        raise ValueError(f"volatility must be positive, but is {volatility}.")
    stretch = volatility / math.sqrt(2)

    def solution(x: Tensor) -> Tensor:
        growth = rate + volatility**2
        return torch.exp(growth * (1 - x[..., -1])) * (x[..., :-1] * x[..., :-1]).sum(-1)

    def residual(model: Model, x: Tensor) -> Estimate:
        _check_coordinates(x, dimension)
        # prices x_i (1 + stretch z_i): the Laplacian in z at 0 is the operator, without a matrix for each point
        scale = torch.cat([stretch * x[..., :-1], torch.ones_like(x[..., -1:])], -1)
        drift = x.new_full((dimension + 1,), rate / stretch)
        drift[-1] = 1
        estimate = laplacian(
            lambda z: model(x + scale * z),
            torch.zeros_like(x),
            mode=mode,
            samples=samples,
            groups=groups,
            axes=range(dimension),
            drift=drift,
        )
        value = scalar_output(estimate.primal, x, "this equation")
        return _scalar(estimate, x, "this equation") - rate * value

    def final(x: Tensor) -> Tensor:
        return (x[..., :-1] * x[..., :-1]).sum(-1)

    return Case(
        f"Black-Scholes-Barenblatt {dimension}-D",
        TimeProduct(Box([0.5] * dimension, [1.5] * dimension), 0.0, 1.0),
        residual,
        solution,
        "Raissi (2018), section 4.1",
        final=final,
        boundary=solution,
        trivial=lambda x: torch.stack([torch.ones_like(x[..., -1]), x[..., -1], final(x)], -1),
    )


def _check_coordinates(x: Tensor, dimension: int) -> None:
    if x.shape[-1] != dimension + 1:
        raise ValueError(
            f"points must have the {dimension} coordinates of space and the time on the last axis, but have the shape "
            f"{tuple(x.shape)}."
        )


def _scalar(estimate: Estimate, x: Tensor, name: str) -> Estimate:
    """Return an estimate of a scalar function without the axis of length 1, and refuse other functions."""
    value = scalar_output(estimate.primal, x, name)
    return estimate if value.shape == estimate.parts.shape[1:] else estimate[..., 0]
