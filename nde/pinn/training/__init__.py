"""Training: the loop, checkpoints, references, history."""

from nde.pinn.training.checkpoint import load_checkpoint, save_checkpoint
from nde.pinn.training.history import History
from nde.pinn.training.reference import Reference, relative_error, trivial_error
from nde.pinn.training.trainer import Trainer

__all__ = [
    "History", "Reference", "Trainer", "load_checkpoint", "relative_error", "save_checkpoint", "trivial_error",
]  # fmt: skip
