"""A callback for Lightning that logs what solves cost; ``pip install lightning``."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback  # type: ignore[import-not-found, unused-ignore]
except ImportError as error:
    raise ImportError("nde.training.lightning needs Lightning: pip install lightning.") from error

from nde.training.monitor import SolverMonitor

__all__ = ["SolverCost"]


class SolverCost(Callback):  # type: ignore[misc, unused-ignore]
    """Logs evaluations, steps, stiffness and penalties of every training batch, with evaluations in the progress bar.

    Args:
        prefix: Of the names.
    """

    def __init__(self, prefix: str = "solver/") -> None:
        self.prefix = prefix
        self._monitor: SolverMonitor | None = None
        self._paused = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        self._monitor = SolverMonitor(pl_module)
        self._monitor.__enter__()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the numbers of the batch."""
        if self._monitor is None:
            return
        for name, value in self._monitor.collect().items():
            pl_module.log(f"{self.prefix}{name}", value, prog_bar=name == "nfe", on_step=True, on_epoch=False)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Do not watch validation: its solves are no part of training."""
        self._paused = self._monitor is not None  # not so before the training, when a few batches are tried
        self.on_train_end(trainer, pl_module)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Go on."""
        if self._paused:
            self.on_train_start(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop."""
        if self._monitor is not None:
            self._monitor.__exit__(None, None, None)
            self._monitor = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop."""
        self.on_train_end(trainer, pl_module)
