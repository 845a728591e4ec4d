"""torchsde's Brownian motions, on nde's paths."""

from nde.compat.torchsde.brownian.base import BaseBrownian
from nde.compat.torchsde.brownian.derived import BrownianPath, BrownianTree, ReverseBrownian, brownian_interval_like
from nde.compat.torchsde.brownian.interval import BrownianInterval

__all__ = [
    "BaseBrownian",
    "BrownianInterval",
    "BrownianPath",
    "BrownianTree",
    "ReverseBrownian",
    "brownian_interval_like",
]
