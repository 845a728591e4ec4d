"""Counts calls of the user's functions and takes their time, by what asked for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["PHASES", "Calls", "FieldClock"]

#: the solve, its backward passes, and steps that penalties took again
PHASES = ("forward", "backward", "retaken")


@dataclass(slots=True)
class Calls:
    """Calls of the user's functions.

    Attributes:
        field: Calls of the field, or of the drift.
        diffusion: Calls of the diffusion.
        seconds: Time spent in them.
    """

    field: int = 0
    diffusion: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class FieldClock:
    """Wraps the functions of one solve.

    Attributes:
        synchronize: Device to wait for at both ends of a call; None where calls return when they are done.
        phase: What asks at the moment.
        calls: By phase.
    """

    synchronize: torch.device | None = None
    phase: str = "retaken"
    calls: dict[str, Calls] = field(default_factory=lambda: {phase: Calls() for phase in PHASES})

    def now(self) -> float:
        """Return the time, after what the device has been given to do."""
        if self.synchronize is not None:
            torch.cuda.synchronize(self.synchronize)
        return time.perf_counter()

    def wrap(self, function: Callable[..., Any], role: str) -> Callable[..., Any]:
        """Return a function that is counted and timed; see `nde.solvers.field.Wrap`."""
        calls, now = self.calls, time.perf_counter if self.synchronize is None else self.now
        fields, diffusions = int(role != "diffusion"), int(role != "field")

        def timed(*args: Any, **options: Any) -> Any:
            start = now()
            try:
                return function(*args, **options)
            finally:
                mine = calls[self.phase]
                mine.seconds += now() - start
                mine.field += fields
                mine.diffusion += diffusions

        return timed
