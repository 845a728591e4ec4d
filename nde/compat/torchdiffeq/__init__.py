"""torchdiffeq's interface: ``from nde.compat.torchdiffeq import odeint``.

Signatures, defaults, options and error types are those of its main branch after 0.2.5. Steps, dense output and
gradients are nde's own. What differs is listed in the documentation.
"""

from nde.compat.errors import LegacySolverError
from nde.compat.torchdiffeq.adjoint import odeint_adjoint
from nde.compat.torchdiffeq.methods import SOLVERS
from nde.compat.torchdiffeq.odeint import odeint, odeint_dense, odeint_event

__version__ = "0.2.5"

__all__ = ["SOLVERS", "LegacySolverError", "__version__", "odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]
