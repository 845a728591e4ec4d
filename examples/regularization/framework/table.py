"""The table of an experiment, in Markdown, from its results alone."""

from __future__ import annotations

from typing import Any

from examples.regularization.framework.summary import Row, Spread, summarise
from examples.regularization.framework.variants import METHODS, NONE

__all__ = ["format_table"]

_COLUMNS = (
    "Method",
    "Weight",
    "{metric}",
    "NFE train",
    "NFE test",
    "NFE {other}",
    "Training s",
    "Iteration",
    "Predict ms",
)


def format_table(results: dict[str, Any]) -> str:
    """Return the table, with a row for each method and weight, and what it needs to be read."""
    rows = summarise(results["runs"])
    other = " ".join(str(value) for value in results["other_solver"].values())
    heads = [head.format(metric=results["metric"]["name"].capitalize(), other=other or "other") for head in _COLUMNS]
    lines = ["| " + " | ".join(heads) + " |", "| --- | --- |" + " ---: |" * (len(heads) - 2)]
    lines += [_line(row, results) for row in rows]
    lines += [f"| {METHODS[method]} | |" + " |" * (len(heads) - 2) for method in results["settings"]["left_out"]]
    notes = [
        f"- {METHODS[row.method]}, {row.label}: {len(row.failures)} of {len(row.failures) + len(row.runs)} runs "
        f"failed ({_first(row.failures[0])})"
        for row in rows
        if row.failures
    ]
    notes += [f"- {METHODS[method]}: {reason}" for method, reason in results["settings"]["left_out"].items()]
    baselines = ", ".join(f"{name} {_number(value, results)}" for name, value in results["baselines"].items())
    if baselines:
        notes.append(f"- Without a flow: {baselines}.")
    return "\n".join(lines + (["", *notes] if notes else []))


def _line(row: Row, results: dict[str, Any]) -> str:
    cost = results["iteration_costs"].get(row.method)
    form = results["metric"]["form"]
    cells = [
        METHODS[row.method] + _collapse(row),
        "" if row.method == NONE else row.label,
        _cell(row, "metric", form, ratio=False),
        _cell(row, "train_evals", ".0f"),
        _cell(row, "test_evals", ".0f"),
        _cell(row, "other_evals", ".0f"),
        _cell(row, "train_seconds", ".1f"),
        "" if cost is None else f"{cost:.2f}",
        _cell(row, "predict_seconds", ".1f", scale=1000),
    ]
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row, key: str, form: str, *, ratio: bool = True, scale: float = 1.0) -> str:
    value = row.values.get(key)
    if value is None:
        return ""
    text = f"{value.mean * scale:{form}}" + _deviation(value, form, scale)
    quotient = row.ratios.get(key)
    return text if not ratio or quotient is None or row.method == NONE else f"{text} ({quotient.mean:.2f})"


def _deviation(value: Spread, form: str, scale: float) -> str:
    if value.count < 2:
        return ""
    if form.endswith("%"):
        return f" ± {100 * value.deviation:{form[:-1]}f}"
    return f" ± {value.deviation * scale:{form}}"


def _collapse(row: Row) -> str:
    if not row.collapsed:
        return ""
    return " (collapsed)" if row.collapsed == len(row.runs) else f" ({row.collapsed} of {len(row.runs)} collapsed)"


def _number(value: float, results: dict[str, Any]) -> str:
    return f"{value:{results['metric']['form']}}"


def _first(failure: str) -> str:
    """Return the first sentence of an error."""
    return failure.split(". ")[0]
