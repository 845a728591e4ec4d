"""What a solution has to satisfy, and where."""

from nde.pinn.conditions.boundary import Data, Dirichlet, Initial, Neumann, Periodic, Robin
from nde.pinn.conditions.condition import Condition, Equation

__all__ = ["Condition", "Data", "Dirichlet", "Equation", "Initial", "Neumann", "Periodic", "Robin"]
