"""torchsde's interface: ``import nde.compat.torchsde as torchsde``.

Signatures, defaults, warnings and types of exceptions are those of its version 0.2.6. What differs is listed in the
documentation.
"""

from nde.compat.errors import LegacySolverError
from nde.compat.torchsde import settings, types
from nde.compat.torchsde.adjoint import sdeint_adjoint
from nde.compat.torchsde.base_sde import BaseSDE, SDEIto, SDEStratonovich
from nde.compat.torchsde.brownian import (
    BaseBrownian,
    BrownianInterval,
    BrownianPath,
    BrownianTree,
    ReverseBrownian,
    brownian_interval_like,
)
from nde.compat.torchsde.sdeint import sdeint

__version__ = "0.2.6"

__all__ = [
    "BaseBrownian",
    "BaseSDE",
    "BrownianInterval",
    "BrownianPath",
    "BrownianTree",
    "LegacySolverError",
    "ReverseBrownian",
    "SDEIto",
    "SDEStratonovich",
    "__version__",
    "brownian_interval_like",
    "sdeint",
    "sdeint_adjoint",
    "settings",
    "types",
]
