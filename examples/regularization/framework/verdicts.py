"""What was claimed of the penalties, and whether the results of an experiment bear it out."""

from __future__ import annotations

import statistics
from typing import Any

from examples.regularization.framework.summary import Row, summarise
from examples.regularization.framework.variants import METHODS, NONE

__all__ = ["verdicts"]

_SOLVER = ("global-error", "global-stiffness", "local-biased", "local-unbiased")
_TAIL = 0.1  # part of the iterations whose evaluations are those that training ends with


def verdicts(results: dict[str, Any]) -> list[str]:
    """Return a sentence for each claim, with the figures that bear it out or do not."""
    rows = [row for row in summarise(results["runs"]) if row.runs]
    plain = next((row for row in rows if row.method == NONE), None)
    if plain is None:
        return []
    return [*_evaluations(rows, plain, results), *_time(rows, results), *_taylor(rows), *_budgets(rows)]


def _evaluations(rows: list[Row], plain: Row, results: dict[str, Any]) -> list[str]:
    sign = 1 if results["metric"]["higher_is_better"] else -1
    baseline = results["metric"]["baseline"]
    zero = 0.0 if baseline is None else results["baselines"][baseline]
    limit = 0.01 * abs(plain.values["metric"].mean - zero)
    reached, cheapest = [], None
    for row in rows:
        if row.method not in _SOLVER or row.collapsed or row.failures:
            continue
        close = sign * (plain.values["metric"].mean - row.values["metric"].mean) <= limit
        ratio = row.ratios["test_evals"].mean
        if close and (cheapest is None or ratio < cheapest.ratios["test_evals"].mean):
            cheapest = row
        if close and ratio <= 0.6:
            reached.append(f"{_name(row)} ({ratio:.2f})")
    of = "" if baseline is None else f" of its distance from that of {baseline}"
    claim = f"At most 0.6 of the evaluations with the test metric within 1 %{of}, by global or local penalties: "
    if reached:
        return [claim + "reached by " + ", ".join(reached) + "."]
    if cheapest is None:
        return [claim + "not reached, and no such penalty keeps the metric within 1 %."]
    return [claim + f"not reached; the fewest are {cheapest.ratios['test_evals'].mean:.2f}, with {_name(cheapest)}."]


def _time(rows: list[Row], results: dict[str, Any]) -> list[str]:
    found = []
    for kind, methods, limit in (("Global", _SOLVER[:2], 1.05), ("Local", _SOLVER[2:], 1.15)):
        costs = [results["iteration_costs"][method] for method in methods if method in results["iteration_costs"]]
        whole = [row.ratios["train_seconds"].mean for row in rows if row.method in methods and row.ratios]
        if not costs or not whole:
            continue
        found.append(
            f"{kind} penalties train in at most {limit:.2f} of the time: "
            f"{_verdict(max(whole) <= limit)}, {_range(whole)} for the whole training; "
            f"{_verdict(max(costs) <= limit)} for an iteration with equal steps, {_range(costs)}."
        )
    return found


def _taylor(rows: list[Row]) -> list[str]:
    quotients = []
    for row in rows:
        if row.method != "taylor" or row.collapsed:
            continue
        peers = [
            peer
            for peer in rows
            if peer.method in _SOLVER
            and not peer.collapsed
            and abs(peer.values["test_evals"].mean / row.values["test_evals"].mean - 1) <= 0.15
        ]
        if peers:
            best = min(peers, key=lambda peer: peer.values["train_seconds"].mean)
            quotient = row.values["train_seconds"].mean / best.values["train_seconds"].mean
            quotients.append((quotient, f"{quotient:.1f} times that of {_name(best)} (weight {row.label})"))
    if not any(row.method == "taylor" for row in rows):
        return []
    claim = (
        "Taylor's training time, augmented form, is at least 3 times that of a solver penalty at equal evaluations: "
    )
    if not quotients:
        return [claim + "no two of them have equal evaluations, to 15 %."]
    return [claim + f"{_verdict(min(quotients)[0] >= 3)}, " + "; ".join(text for _, text in quotients) + "."]


def _budgets(rows: list[Row]) -> list[str]:
    found = []
    for row in rows:
        if row.method != "budget":
            continue
        ends = [
            statistics.fmean(run["evaluations"][-max(1, round(_TAIL * len(run["evaluations"]))) :])
            for run in row.runs.values()
        ]
        met = all(abs(end / row.strength - 1) <= 0.1 for end in ends)
        listed = ", ".join(f"{end:.0f}" for end in ends)
        found.append(f"{row.label}: {_verdict(met)} ({listed})")
    if not found:
        return []
    return [
        "Budgets are met within 10 % by the evaluations of the last tenth of training, for each seed: "
        + "; ".join(found)
        + "."
    ]


def _name(row: Row) -> str:
    return f"{METHODS[row.method]}, {row.label}"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"
