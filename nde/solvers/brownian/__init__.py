"""Brownian motion for SDE solvers: a path determined by a seed that can be asked for any increment in any order."""

from nde.solvers.brownian.chen import BrownianIncrement
from nde.solvers.brownian.path import BrownianPath
from nde.solvers.brownian.row_walk import RowWalk
from nde.solvers.brownian.walk import BrownianWalk

__all__ = ["BrownianIncrement", "BrownianPath", "BrownianWalk", "RowWalk"]
