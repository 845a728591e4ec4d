"""From the figures of runs to those of the variants: means, spreads and ratios to training without a penalty."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from examples.regularization.framework.variants import NONE

__all__ = ["Row", "Spread", "summarise"]

Figures = dict[str, Any]

# a flow whose states differ by less than this multiple of what they do without a penalty has collapsed
COLLAPSED = 0.1


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the seeds (0 for a single one), and the number of these."""

    mean: float
    deviation: float
    count: int

    @staticmethod
    def of(values: list[float]) -> Spread | None:
        """Return the spread of values; None if there are none."""
        if not values:
            return None
        return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


@dataclass(frozen=True)
class Row:
    """A variant.

    Attributes:
        method, label, strength: Of the variant; the last two are its weight, as text and as a number.
        runs: Figures of the runs that did not fail, by seed.
        failures: What failed.
        values: Spreads over the seeds, by the key of the figures.
        ratios: Likewise of the quotients with the run of the same seed without a penalty.
        collapsed: How many of the runs ended with a flow that moves nothing, or everything alike.
    """

    method: str
    label: str
    strength: float
    runs: dict[int, Figures]
    failures: list[str]
    values: dict[str, Spread]
    ratios: dict[str, Spread]
    collapsed: int


_KEYS = ("metric", "train_evals", "test_evals", "other_evals", "train_seconds", "predict_seconds", "displacement")


def summarise(runs: list[Figures]) -> list[Row]:
    """Return the rows of the table, in the order in which the variants come first."""
    groups: dict[tuple[str, str], list[Figures]] = {}
    for run in runs:
        groups.setdefault((run["method"], run["label"]), []).append(run)
    plain = {run["seed"]: run for run in runs if run["method"] == NONE and run["failure"] is None}
    return [_row(group, plain) for group in groups.values()]


def _row(group: list[Figures], plain: dict[int, Figures]) -> Row:
    good = {run["seed"]: run for run in group if run["failure"] is None}
    values, ratios = {}, {}
    for key in _KEYS:
        found = [run[key] for run in good.values() if run[key] is not None]
        if (spread := Spread.of(found)) is not None:
            values[key] = spread
        pairs = {seed: run[key] / plain[seed][key] for seed, run in good.items() if _comparable(key, run, plain, seed)}
        if (ratio := Spread.of(list(pairs.values()))) is not None:
            ratios[key] = ratio
    collapsed = sum(
        run["displacement"] < COLLAPSED * plain[seed]["displacement"] for seed, run in good.items() if seed in plain
    )
    failures = [f"seed {run['seed']}, {run['failure']}" for run in group if run["failure"] is not None]
    return Row(group[0]["method"], group[0]["label"], group[0]["strength"], good, failures, values, ratios, collapsed)


def _comparable(key: str, run: Figures, plain: dict[int, Figures], seed: int) -> bool:
    return seed in plain and run[key] is not None and bool(plain[seed][key])
