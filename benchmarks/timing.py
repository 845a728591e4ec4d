"""Times that can be compared: every library is run in turn, repetition by repetition, so that drift hits all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Budget", "Spread", "interleave"]


@dataclass(frozen=True)
class Budget:
    """How long one group of entrants may be measured.

    Attributes:
        seconds: For the whole group; shared evenly, so that a slow entrant is repeated less often than a fast one.
        fewest: Repetitions that every entrant gets, whatever they cost.
        most: Repetitions after which nobody gets more.
        warm_up: Unrecorded calls before the first repetition, at least one; fewer where they use the share up.
    """

    seconds: float
    fewest: int
    most: int
    warm_up: int


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the repetitions, in seconds."""

    median: float
    lower: float
    upper: float
    repetitions: int

    @classmethod
    def of(cls, times: list[float]) -> Spread:
        lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
        return cls(median, lower, upper, len(times))

    def divided(self, parts: int) -> Spread:
        """Return the spread of one of ``parts`` equal parts of what was timed."""
        return Spread(self.median / parts, self.lower / parts, self.upper / parts, self.repetitions)


def interleave(calls: Mapping[str, Callable[[], object]], budget: Budget) -> dict[str, Spread]:
    """Time the calls in rounds; an entrant with fewer repetitions takes part in evenly spread rounds."""
    share = budget.seconds / len(calls)
    repetitions = {}
    for name, call in calls.items():
        repetitions[name] = _repetitions(call, share, budget)
    rounds = max(repetitions.values())
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # what is alive now need not be searched in the collections that the calls themselves provoke
    try:
        for turn in range(rounds):
            start = turn % len(names)  # nobody always follows the same neighbour after a round's end
            for name in names[start:] + names[:start]:
                count = repetitions[name]
                if (turn + 1) * count // rounds > turn * count // rounds:
                    times[name].append(_clock(calls[name]))
    finally:
        gc.unfreeze()
    return {name: Spread.of(values) for name, values in times.items()}


def _repetitions(call: Callable[[], object], share: float, budget: Budget) -> int:
    spent = 0.0
    for _ in range(budget.warm_up):
        last = _clock(call)
        spent += last
        if spent > share:
            break
    return min(max(int(share / last), budget.fewest), budget.most)


def _clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()  # the result is dropped inside: freeing a tape is part of its cost
    return time.perf_counter() - start
