"""Tableaus of the explicit Runge-Kutta methods, one module per method or family of small methods.

Each module holds data only and is checked at import by ``nde.solvers.tableau``; the explicit solvers read them.
"""

from nde.solvers.tableaus.bosh3 import BOSH3
from nde.solvers.tableaus.dopri5 import DOPRI5
from nde.solvers.tableaus.dopri8 import DOPRI8
from nde.solvers.tableaus.low_order import EULER, FEHLBERG2, HEUN, HEUN3, MIDPOINT, RALSTON, RK4, RK38
from nde.solvers.tableaus.tsit5 import TSIT5

__all__ = [
    "BOSH3",
    "DOPRI5",
    "DOPRI8",
    "EULER",
    "FEHLBERG2",
    "HEUN",
    "HEUN3",
    "MIDPOINT",
    "RALSTON",
    "RK4",
    "RK38",
    "TSIT5",
]
