"""The table that the demo prints."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from examples.digits_model import TABLE, UNREGULARISED

__all__ = ["format_table"]

Run = dict[str, Any]

_COLUMNS: tuple[tuple[str, str, int, float, str], ...] = (  # heading, key, width, scale, format
    ("accuracy %", "test_accuracy", 19, 100, ".1f"),
    ("evals, batch", "batch_evals", 15, 1, ".0f"),
    ("evals, test", "test_evals", 15, 1, ".0f"),
    ("prediction ms", "predict_seconds", 19, 1e3, ".1f"),
    ("training s", "train_seconds", 19, 1, ".1f"),
    ("training CPU s", "train_cpu_seconds", 19, 1, ".1f"),
)
_NAME = 26


def format_table(results: dict[str, Any]) -> str:
    """Return the table of the results, with its legend and the verdict."""
    runs: list[Run] = results["runs"]
    seeds = len({run["seed"] for run in runs})
    lines = [
        "",
        _row("penalty, weight", [heading for heading, *_ in _COLUMNS], "steps"),
        "-" * (_NAME + sum(width for _, _, width, *_ in _COLUMNS) + 5),
    ]
    reached = []
    for config in TABLE:
        rows = [run for run in runs if run["name"] == config.name]
        ok = [run for run in rows if run["failure"] is None]
        if not ok:
            lines.append(f"{config.name:{_NAME}}" + ("failed: " + rows[0]["failure"] if rows else "not run"))
            continue
        lines.append(_values(config.name, ok))
        if config.name != UNREGULARISED:
            pairs = _paired(runs, config.name)
            if pairs:
                lines.append(_comparison(pairs))
            if len(pairs) == seeds and _meets(pairs):
                reached.append(config.name)
        if len(ok) < len(rows):
            lines.append(f"{'':{_NAME}}{len(rows) - len(ok)} of {len(rows)} seeds failed")
    return "\n".join([*lines, *_legend(results, seeds, reached)])


def _row(name: str, cells: list[str], last: str = "") -> str:
    padded = [f"{cell:{width}}" for cell, (_, _, width, *_) in zip(cells, _COLUMNS, strict=True)]
    return f"{name:{_NAME}}{''.join(padded)}{last}".rstrip()


def _values(name: str, runs: list[Run]) -> str:
    cells = [_spread([run[key] * scale for run in runs], form) for _, key, _, scale, form in _COLUMNS]
    rejected = statistics.median(run["test_steps_rejected"] for run in runs)
    attempted = statistics.median(run["test_steps_attempted"] for run in runs)
    return _row(name, cells, f"{attempted:.0f}, {rejected:.0f}")


def _spread(values: list[float], form: str) -> str:
    middle = f"{statistics.median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} [{min(values):{form}}, {max(values):{form}}]"


def _comparison(pairs: list[tuple[Run, Run]]) -> str:
    ratios = [f"{_median(pairs, _ratio(key)):.2f} x" for _, key, *_ in _COLUMNS[1:]]
    return _row("", [f"{_median(pairs, _points):+.1f} points", *ratios])


def _paired(runs: list[Run], name: str) -> list[tuple[Run, Run]]:
    """Return the runs of a configuration, each with the unregularised run of the same seed."""
    plain = {run["seed"]: run for run in runs if run["name"] == UNREGULARISED and run["failure"] is None}
    return [
        (run, plain[run["seed"]])
        for run in runs
        if run["name"] == name and run["failure"] is None and run["seed"] in plain
    ]


def _median(pairs: list[tuple[Run, Run]], compare: Callable[[Run, Run], float]) -> float:
    return statistics.median(compare(run, plain) for run, plain in pairs)


def _points(run: Run, plain: Run) -> float:
    return float(100 * (run["test_accuracy"] - plain["test_accuracy"]))


def _ratio(key: str) -> Callable[[Run, Run], float]:
    return lambda run, plain: float(run[key] / plain[key])


def _meets(pairs: list[tuple[Run, Run]]) -> bool:
    return (
        _median(pairs, _points) >= -1
        and max(_median(pairs, _ratio(key)) for key in ("batch_evals", "test_evals")) <= 0.6
        and _median(pairs, _ratio("train_cpu_seconds")) <= 1
    )


def _legend(results: dict[str, Any], seeds: int, reached: list[str]) -> list[str]:
    spread = "Median [smallest, largest] over" if seeds > 1 else "Values of"
    baselines = "; ".join(f"{name} {value:.1%}" for name, value in results["baselines"].items())
    return [
        "",
        f"{spread} {_number(seeds, 'seed')}; below it the median of the comparisons with the unregularised",
        "model of the same seed.",
        "evals: evaluations of the field per prediction, for 256 training samples and for the 360 test samples.",
        "steps: attempted for the test samples, and how many of these were rejected.",
        "Prediction: the test samples, one thread, the models in turn.",
        f"Training: {_number(results['epochs'], 'epoch')}, {results['workers']} at a time, one thread each.",
        "CPU time does not depend on what else the machine does.",
        f"Without a flow: {baselines}.",
        "",
        "At most 0.6 x the evaluations, at most 1 point of accuracy lost, no more processor time to train: "
        + ("; ".join(reached) if reached else "reached by none")
        + ".",
    ]


def _number(count: int, of: str) -> str:
    return f"{count} {of}" if count == 1 else f"{count} {of}s"
