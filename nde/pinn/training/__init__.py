"""Training: the loop, references, history."""

from nde.pinn.training.history import History
from nde.pinn.training.reference import Reference, relative_error, trivial_error
from nde.pinn.training.trainer import Trainer

__all__ = [
    "History", "Reference", "Trainer", "relative_error", "trivial_error",
]  # fmt: skip
