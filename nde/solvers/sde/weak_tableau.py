"""Coefficients of Roessler's stochastic Runge-Kutta methods of weak order 2.

`tests/solvers/sde/test_weak_order_2.py` proves them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["DRI1", "RI6", "WeakTableau"]

Row = tuple[float, ...]
_ROUNDING = 1e-12  # of coefficients that are written as formulas


@dataclass(frozen=True)
class WeakTableau:
    """A method of weak order 2 for the Ito calculus and noise of any kind.

    With ``h`` the step, ``I_k`` and ``I_kl`` the discrete stand-ins for the integrals of the noise, ``f_j`` the drift
    at ``(t + c0_j h, H_j)`` and ``g^k_j`` the k-th column of the diffusion at ``(t + c1_j h, J^k_j)``:

    - ``H_i = y + h sum_j a0_ij f_j + sum_j b0_ij sum_l g^l_j I_l``,
    - ``J^k_i = y + h sum_j a1_ij f_j + sqrt(h) sum_j b1_ij g^k_j``,
    - ``K^k_i = y + sum_j b2_ij sum_(l != k) g^l_j I_kl / sqrt(h)``,
    - ``y1 = y + h sum_i alpha_i f_i + sum_i sum_k (beta1_i I_k + beta2_i I_kk / sqrt(h)) g^k_i``
      ``+ sum_i sum_k (beta3_i I_k + beta4_i sqrt(h)) g^k(t, K^k_i)``.

    Attributes:
        a0, a1, b0, b1: Rows of the strictly lower triangles, the empty first one left out.
        b2: Rows of a full matrix; the first is zero.
        alpha, beta1, beta2, beta3, beta4: Weights.
        source: Where it was published.

    Raises:
        ValueError: The numbers of stages differ, or a condition of consistency does not hold.
    """

    a0: tuple[Row, ...]
    a1: tuple[Row, ...]
    b0: tuple[Row, ...]
    b1: tuple[Row, ...]
    b2: tuple[Row, ...]
    alpha: Row
    beta1: Row
    beta2: Row
    beta3: Row
    beta4: Row
    source: str

    def __post_init__(self) -> None:
        stages = len(self.alpha)
        for name, total in {"alpha": 1, "beta1": 1, "beta2": 0, "beta3": 0, "beta4": 0}.items():
            weights: Row = getattr(self, name)
            if len(weights) != stages:
                raise ValueError(f"{name} must have {stages} entries, like alpha, but has {len(weights)}.")
            if abs(sum(weights) - total) > _ROUNDING:
                raise ValueError(f"{name} must sum to {total}, but sums to {sum(weights)!r}.")
        for name in ("a0", "a1", "b0", "b1"):
            lengths = [len(row) for row in getattr(self, name)]
            if lengths != list(range(1, stages)):
                raise ValueError(f"{name} must have rows of 1 to {stages - 1} entries, but has rows of {lengths}.")
        if [len(row) for row in self.b2] != [stages] * stages or any(self.b2[0]):
            raise ValueError(f"b2 must have {stages} rows of {stages} entries, the first of zeros.")

    @property
    def c0(self) -> Row:
        """Nodes of the drift."""
        return (0.0, *(sum(row) for row in self.a0))

    @property
    def c1(self) -> Row:
        """Nodes of the diffusion."""
        return (0.0, *(sum(row) for row in self.a1))


def _b2_of_dri1() -> tuple[Row, ...]:
    first, other = 214 / 513 * math.sqrt(1105 / 991), 491 / 513 * math.sqrt(221 / 4955)
    return (0.0, 0.0, 0.0), (-first, -other, -other), (first, other, other)


# of order 3 where there is no noise
DRI1 = WeakTableau(
    a0=((1 / 2,), (-1.0, 2.0)),
    a1=((342 / 491,), (342 / 491, 0.0)),
    b0=(((6 - math.sqrt(6)) / 10,), ((3 + 2 * math.sqrt(6)) / 5, 0.0)),
    b1=((3 * math.sqrt(38 / 491),), (-3 * math.sqrt(38 / 491), 0.0)),
    b2=_b2_of_dri1(),
    alpha=(1 / 6, 2 / 3, 1 / 6),
    beta1=(193 / 684, 491 / 1368, 491 / 1368),
    beta2=(0.0, math.sqrt(491 / 38) / 6, -math.sqrt(491 / 38) / 6),
    beta3=(-4955 / 7072, 4955 / 14144, 4955 / 14144),
    beta4=(0.0, -math.sqrt(4955 / 221) / 8, math.sqrt(4955 / 221) / 8),
    source="Debrabant, Roessler (2009), Appl. Numer. Math. 59, DRI1",
)

RI6 = WeakTableau(
    a0=((1.0,), (0.0, 0.0)),
    a1=((1.0,), (1.0, 0.0)),
    b0=((1.0,), (0.0, 0.0)),
    b1=((1.0,), (-1.0, 0.0)),
    b2=((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)),
    alpha=(1 / 2, 1 / 2, 0.0),
    beta1=(1 / 2, 1 / 4, 1 / 4),
    beta2=(0.0, 1 / 2, -1 / 2),
    beta3=(-1 / 2, 1 / 4, 1 / 4),
    beta4=(0.0, 1 / 2, -1 / 2),
    source="Roessler (2009), SIAM J. Numer. Anal. 47, RI6",
)
