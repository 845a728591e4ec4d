"""Residuals of named equations, as expressions."""

from __future__ import annotations

from typing import Any

from nde.taylor.operators.expression import Expression
from nde.taylor.operators.residual import Unknown

__all__ = ["burgers", "gradient_kdv", "kdv", "kdv_2d", "kp"]


def burgers(viscosity: Any) -> Expression:
    """Return ``u_t + u u_x - viscosity u_xx`` over the coordinates ``(x, t)``."""
    u = Unknown("xt")
    return u.t + u * u.x - viscosity * u.xx


def kdv(dispersion: Any = 1, advection: Any = 1) -> Expression:
    """Return Korteweg and de Vries's ``u_t + advection u u_x + dispersion u_xxx`` over the coordinates ``(x, t)``."""
    u = Unknown("xt")
    return u.t + advection * u * u.x + dispersion * u.xxx


def kdv_2d() -> Expression:
    """Return ``u_ty + u_xxxy + 3 (u_y u_x)_x - u_xx + 2 u_yy`` over the coordinates ``(x, y, t)``.

    Source:
        Shi, Hu, Lin, Kawaguchi, Stochastic Taylor Derivative Estimator (2024), appendix on high-order equations.
    """
    u = Unknown("xyt")
    return u.ty + u.xxxy + 3 * (u.y * u.x).x - u.xx + 2 * u.yy


def kp(sigma_squared: Any = 1) -> Expression:
    """Return Kadomtsev and Petviashvili's ``(u_t + 6 u u_x + u_xxx)_x + 3 sigma_squared u_yy`` over ``(x, y, t)``.

    Source:
        Shi, Hu, Lin, Kawaguchi, Stochastic Taylor Derivative Estimator (2024), appendix on high-order equations.
    """
    u = Unknown("xyt")
    return (u.t + 6 * u * u.x + u.xxx).x + 3 * sigma_squared * u.yy


def gradient_kdv(dispersion: Any = 1, advection: Any = 1) -> tuple[Expression, Expression, Expression]:
    """Return the residual of `kdv` and its derivatives in ``x`` and ``t``: what a gradient-enhanced loss penalises.

    Evaluate the three together with `nde.taylor.operators.evaluate_expressions`.
    """
    residual = kdv(dispersion, advection)
    return residual, residual.x, residual.t
