"""Attempted steps of a solve, one entry for each, or for each sample that took one."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["COLUMNS", "StepTable"]

#: name, dtype and what it is
COLUMNS: dict[str, tuple[Any, str]] = {
    "attempt": (numpy.int64, "number of the attempt; the same for samples that took a step together"),
    "sample": (numpy.int64, "the sample, where each has steps of its own; -1 for a step of all"),
    "t": (numpy.float64, "beginning"),
    "h": (numpy.float64, "signed size"),
    "error": (numpy.float64, "local error in units of the tolerance; NaN where there is none"),
    "stiffness": (numpy.float64, "estimate of the largest eigenvalue; NaN where there is none, or the step failed"),
    "accepted": (numpy.bool_, "whether it was accepted"),
    "newton": (numpy.int64, "Newton iterations of the attempt"),
    "seconds": (numpy.float64, "time of the attempt, shared among the samples that took it together"),
    "worst": (numpy.int64, "the sample with the largest error, where that was asked for; -1 otherwise"),
}


class StepTable:
    """Columns of attempted steps, see `COLUMNS`; rows are added while a solve runs."""

    def __init__(self) -> None:
        self._whole: list[tuple[float, float, float, bool, int, float, int]] = []
        self._rows: list[tuple[Any, Any, Any, Any, Any, int, float]] = []
        self._cache: dict[str, NDArray[Any]] | None = None
        self._estimates: tuple[Tensor | None, Tensor | None] = None, None  # of the accepted entries, in order

    def add(self, t: float, h: float, error: float, accepted: bool, newton: int, seconds: float, worst: int) -> None:
        """Add a step of the whole state."""
        self._whole.append((t, h, error, accepted, newton, seconds, worst))

    def add_rows(self, rows: Any, t: Any, h: Any, error: Any, accepted: Any, newton: int, seconds: float) -> None:
        """Add a step that several samples took, each with a time and a size of its own."""
        # the solver keeps the first three itself, and overwrites the others
        self._rows.append((rows, t, h, numpy.array(error), numpy.array(accepted), newton, seconds))

    def clear(self) -> None:
        """Forget all rows."""
        self._whole.clear()
        self._rows.clear()
        self._cache = None

    @property
    def attempts(self) -> int:
        """Number of attempts; a step of several samples is one."""
        return len(self._whole) + len(self._rows)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name, of one length."""
        if self._cache is not None and len(self._cache["attempt"]) == self._length():
            return self._cache
        if self._rows:
            found = self._columns_of_rows()
        else:
            names = ("t", "h", "error", "accepted", "newton", "seconds", "worst")
            parts = list(zip(*self._whole, strict=True)) or [()] * len(names)
            found = {name: numpy.array(part, dtype=COLUMNS[name][0]) for name, part in zip(names, parts, strict=True)}
            found["attempt"] = numpy.arange(len(self._whole))
            found["sample"] = numpy.full(len(self._whole), -1)
        found["stiffness"] = numpy.full(len(found["t"]), numpy.nan)
        accepted = numpy.flatnonzero(found["accepted"])
        for name, estimate in zip(("error", "stiffness"), self._estimates, strict=True):
            if estimate is None or len(estimate) != len(accepted):
                continue
            values = estimate.double().cpu().numpy()
            known = found[name][accepted]
            found[name][accepted] = numpy.where(numpy.isnan(known), values, known)
        self._cache = {name: found[name] for name in COLUMNS}
        return self._cache

    def fill(self, error: Tensor | None, stiffness: Tensor | None) -> None:
        """Take what a solution says of its accepted steps, for where the steps themselves were not judged."""
        detached = (None if value is None else value.detach() for value in (error, stiffness))
        self._estimates, self._cache = (*detached,), None  # type: ignore[assignment]

    def _length(self) -> int:
        return len(self._whole) + sum(len(part[0]) for part in self._rows)

    def _columns_of_rows(self) -> dict[str, NDArray[Any]]:
        names = ("sample", "t", "h", "error", "accepted")
        found: dict[str, NDArray[Any]] = {}
        for place, name in enumerate(names):
            parts = [numpy.broadcast_to(step[place], numpy.shape(step[0])) for step in self._rows]
            found[name] = numpy.concatenate(parts).astype(COLUMNS[name][0])
        counts = [len(step[0]) for step in self._rows]
        found["attempt"] = numpy.repeat(numpy.arange(len(counts)), counts)
        found["newton"] = numpy.repeat([step[5] for step in self._rows], counts)
        found["seconds"] = numpy.repeat([step[6] / max(len(step[0]), 1) for step in self._rows], counts)
        found["worst"] = numpy.full(len(found["t"]), -1)
        return found
