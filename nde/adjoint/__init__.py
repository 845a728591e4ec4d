"""Ways to get gradients of a solve.

Each turns a `Problem` into a `Solution` whose outputs are differentiable; they stand on `nde.solvers` alone.
"""

from nde.adjoint.adjoint import Adjoint
from nde.adjoint.augmented import AugmentedState
from nde.adjoint.backsolve import BacksolveAdjoint
from nde.adjoint.direct import DirectAdjoint
from nde.adjoint.discrete import DiscreteAdjoint
from nde.adjoint.reversible import ReversibleAdjoint

__all__ = [
    "ADJOINTS",
    "Adjoint",
    "AugmentedState",
    "BacksolveAdjoint",
    "DirectAdjoint",
    "DiscreteAdjoint",
    "ReversibleAdjoint",
]

#: The adjoints by name.
ADJOINTS: dict[str, Adjoint] = {
    "discrete": DiscreteAdjoint(),
    "direct": DirectAdjoint(),
    "backsolve": BacksolveAdjoint(),
    "reversible": ReversibleAdjoint(),
}
