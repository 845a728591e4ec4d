"""Counts calls of the user's functions and takes their time, by what asked for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
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


class FieldClock:
    """Wraps the functions of one solve.

    Args:
        synchronize: Device to wait for at both ends of a call; None where calls return when they are done.
    """

    def __init__(self, synchronize: torch.device | None = None) -> None:
        self.synchronize = synchronize
        # plain lists, the fastest to count in, and nothing for adjoints to search for tensors
        self._counts: dict[str, list[Any]] = {phase: [0, 0, 0.0] for phase in PHASES}
        self._current = [self._counts["retaken"]]
        self._phase = "retaken"

    @property
    def phase(self) -> str:
        """What asks at the moment."""
        return self._phase

    @phase.setter
    def phase(self, phase: str) -> None:
        self._phase, self._current[0] = phase, self._counts[phase]

    @property
    def calls(self) -> dict[str, Calls]:
        """Calls so far, by phase."""
        return {phase: Calls(*counts) for phase, counts in self._counts.items()}

    def now(self) -> float:
        """Return the time, after what the device has been given to do."""
        if self.synchronize is not None:
            torch.cuda.synchronize(self.synchronize)
        return time.perf_counter()

    def wrap(self, function: Callable[..., Any], role: str) -> Callable[..., Any]:
        """Return a function that is counted and timed; see `nde.solvers.field.Wrap`."""
        now = time.perf_counter if self.synchronize is None else self.now
        current, fields, diffusions = self._current, int(role != "diffusion"), int(role != "field")

        # it runs at every evaluation: nothing that could be done before is done in it
        def timed(*args: Any) -> Any:
            start = now()
            try:
                return function(*args)
            finally:
                counts = current[0]
                counts[0] += fields
                counts[1] += diffusions
                counts[2] += now() - start

        return timed
