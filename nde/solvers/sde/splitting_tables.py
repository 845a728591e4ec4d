"""The published coefficients of splitting methods; `tests/solvers/sde/test_splitting.py` proves them."""

from __future__ import annotations

import math

from nde.solvers.sde.splitting_tableau import SplittingTableau

__all__ = ["GENERAL_SHARK", "SEA", "SHARK", "SLOW_RK", "SPARK"]

_SPLITTING = "Foster, dos Reis, Strange (2023), High order splitting methods for SDEs, equation "
_COMMUTING = ("diagonal", "scalar", "commutative")

# for additive noise, the diffusion at both ends stands for its linear change: int u dW over a step of length 1 is
# W / 2 - H; a stage that evaluates only the diffusion has no argument, and its row of `a` says its time

SEA = SplittingTableau(
    a=((0.0,), (0.0, 1.0)),
    a_w=((1 / 2,), (0.0, 0.0)),
    a_h=((1.0,), (0.0, 0.0)),
    c=(0.0, 0.0, 1.0),
    b=(0.0, 1.0, 0.0),
    b_w=(1 / 2, 0.0, 1 / 2),
    b_h=(1.0, 0.0, -1.0),
    strong_orders={"additive": 1.0},
    weak_order=1.0,
    source=_SPLITTING + "5.8",
)

SHARK = SplittingTableau(
    a=((0.0,), (0.0, 5 / 6), (0.0, 1.0, 0.0)),
    a_w=((0.0,), (5 / 6, 0.0), (0.0, 0.0, 0.0)),
    a_h=((1.0,), (1.0, 0.0), (0.0, 0.0, 0.0)),
    c=(0.0, 0.0, 5 / 6, 1.0),
    b=(0.0, 2 / 5, 3 / 5, 0.0),
    b_w=(1 / 2, 0.0, 0.0, 1 / 2),
    b_h=(1.0, 0.0, 0.0, -1.0),
    strong_orders={"additive": 1.5},
    weak_order=2.0,
    source=_SPLITTING + "6.1",
    errors=((0.0, -3 / 5, 3 / 5, 0.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    error_order=1.5,
)

GENERAL_SHARK = SplittingTableau(
    a=((0.0,), (0.0, 5 / 6)),
    a_w=((0.0,), (0.0, 5 / 6)),
    a_h=((1.0,), (1.0, 0.0)),
    c=(0.0, 0.0, 5 / 6),
    b=(0.0, 2 / 5, 3 / 5),
    b_w=(0.0, 2 / 5, 3 / 5),
    b_h=(0.0, 6 / 5, -6 / 5),
    strong_orders={**dict.fromkeys(_COMMUTING, 1.0), "additive": 1.5, "general": 0.5},
    weak_order=1.0,
    source=_SPLITTING + "6.1",
)

SLOW_RK = SplittingTableau(
    a=(
        (1 / 2,),
        (1 / 2, 0.0),
        (1 / 2, 0.0, 0.0),
        (1 / 2, 0.0, 0.0, 0.0),
        (3 / 4, 0.0, 0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    a_w=(
        (0.0,),
        (0.0, 1 / 2),
        (0.0, 0.0, 1 / 2),
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 0.0, 3 / 4, 0.0),
        (0.0, 0.0, 1 / 2, 0.0, 0.0, 0.0),
    ),
    a_h=(
        (0.0,),
        (0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 3 / 2, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    c=(0.0, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 3 / 4, 1.0),
    b=(1 / 3, 0.0, 0.0, 0.0, 0.0, 2 / 3, 0.0),
    b_w=(0.0, 1 / 6, 1 / 3, 1 / 3, 1 / 6, 0.0, 0.0),
    b_h=(0.0, 0.0, 0.0, 2.0, 0.0, 0.0, -2.0),
    strong_orders={**dict.fromkeys((*_COMMUTING, "additive"), 1.5), "general": 0.5},
    weak_order=2.0,
    source=_SPLITTING + "6.2",
)

_OUTER = (3 - math.sqrt(3)) / 6
_INNER = math.sqrt(3) / 3

SPARK = SplittingTableau(
    a=((1 / 2,), (0.0, 1.0)),
    a_w=((1 / 2,), (0.0, 1.0)),
    a_h=((math.sqrt(3),), (0.0, 0.0)),
    c=(0.0, 1 / 2, 1.0),
    b=(_OUTER, _INNER, _OUTER),
    b_w=(_OUTER, _INNER, _OUTER),
    b_h=(1.0, 0.0, -1.0),
    strong_orders={**dict.fromkeys(_COMMUTING, 1.0), "additive": 1.5, "general": 0.5},
    weak_order=1.0,
    source="Foster (2023), On the convergence of adaptive approximations for SDEs, definition 1.6",
    errors=(
        (_OUTER - 1 / 2, _INNER, _OUTER - 1 / 2),
        (_OUTER - 1 / 2, _INNER, _OUTER - 1 / 2),
        (1.0, 0.0, -1.0),
    ),
    error_order=1.0,
)
