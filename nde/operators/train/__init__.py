"""Training of neural operators: losses, one-step and roll-out objectives, a trainer that resumes exactly."""

from nde.checkpoints import CheckpointError
from nde.operators.train.losses import RelativeH1, RelativeL2
from nde.operators.train.objectives import RollOut, Supervised, Windows, roll_out
from nde.operators.train.trainer import Trainer, TrainingError

__all__ = [
    "Trainer",
    "TrainingError",
    "CheckpointError",
    "Supervised",
    "RollOut",
    "Windows",
    "roll_out",
    "RelativeL2",
    "RelativeH1",
]
