"""torchsde's interface: ``import nde.compat.torchsde as torchsde``.

Signatures, defaults and types of exceptions are those of its version 0.2.6. What differs is listed in the
documentation.
"""

from nde.compat.torchsde import settings, types
from nde.compat.torchsde.brownian import (
    BaseBrownian,
    BrownianInterval,
    BrownianPath,
    BrownianTree,
    ReverseBrownian,
    brownian_interval_like,
)

__version__ = "0.2.6"

__all__ = [
    "BaseBrownian",
    "BrownianInterval",
    "BrownianPath",
    "BrownianTree",
    "ReverseBrownian",
    "__version__",
    "brownian_interval_like",
    "settings",
    "types",
]
