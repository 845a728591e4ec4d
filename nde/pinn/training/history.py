"""What a run writes down: losses, errors, learning rates, for plots, the progress bar and TensorBoard."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["History", "Writer", "tensorboard_writer"]


class Writer(Protocol):
    """What takes numbers, as TensorBoard's ``SummaryWriter`` does."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Take one number."""


class History:
    """Numbers by name, each with the step that it belongs to.

    Attributes:
        steps: The steps by name.
        values: The numbers by name: ``"loss"``, ``"loss/<condition>"``, ``"error"``, ``"skill"``, ``"rate"``,
            ``"coefficient/<name>"``.
    """

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}
        self.values: dict[str, list[float]] = {}

    def add(self, step: int, numbers: dict[str, float], writer: Writer | None = None) -> None:
        """Write numbers down."""
        for name, number in numbers.items():
            self.steps.setdefault(name, []).append(step)
            self.values.setdefault(name, []).append(number)
            if writer is not None:
                writer.add_scalar(name, number, step)

    def last(self, name: str) -> float:
        """Return the last number of a name.

        Raises:
            KeyError: There is none.
        """
        if name not in self.values:
            raise KeyError(f"no {name!r} has been written down; there are {sorted(self.values)}.")
        return self.values[name][-1]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is written down."""
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` returned."""
        self.steps = {name: list(steps) for name, steps in state["steps"].items()}
        self.values = {name: list(values) for name, values in state["values"].items()}


def tensorboard_writer(folder: str) -> Writer:
    """Return a writer of files that TensorBoard shows.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("logging to TensorBoard needs it: pip install tensorboard (or nde[pinn]).") from error
    return SummaryWriter(folder)
