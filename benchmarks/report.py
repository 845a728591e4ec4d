"""The results as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.goals import Goal, peer_of
from benchmarks.workloads import WORKLOADS

__all__ = ["format_report"]

Row = dict[str, Any]

_QUIET_LOAD = 0.5

_LEGEND = """\
evals         evaluations of the field by the solve, + those made again in its backward pass (counted apart from timing)
steps         accepted + rejected; torchode's are those of its slowest sample
time          median [quartiles] over n repetitions, all rows of a table in turn
x floor       time / (evals of the solve x one bare evaluation; in training with its backward pass)
x torchdiffeq time / torchdiffeq's; in training its direct backpropagation
state error   root mean square over outputs, against float64 at tolerance 1e-11; all rows solve in float32
grad error    relative, Euclidean norm; with a penalty the loss is another one
tensors       memory: what tensors held at the peak, beyond what they held before; the same in every run
process       memory: the process's peak resident set less its resident set before (last column); temporaries of many
              sizes fragment the heap, so that it can be a multiple of what tensors held
(noisy)       a goal is judged on times whose quartiles lie further apart than a quarter of their median
"""


def format_report(results: dict[str, Any], goals: Sequence[Goal]) -> str:
    """Return every table, then the goals."""
    return "\n".join([*_format_environment(results), *_format_runs(results), *_format_goals(goals)])


def _format_environment(results: dict[str, Any]) -> Iterator[str]:
    about = results["environment"]
    yield f"{about['processor']}, {about['cores']} cores; Python {about['python']}; " + ", ".join(
        f"{name} {version}" for name, version in about["versions"].items()
    )
    if results["quick"]:
        yield "Quick run: it shows that the benchmark works; its figures say nothing."
    if about["load"] > _QUIET_LOAD:
        yield f"Other work was running at the start (load {about['load']:.1f}): do not trust these times."
    yield ""
    yield _LEGEND


def _format_runs(results: dict[str, Any]) -> Iterator[str]:
    for name, workload in WORKLOADS.items():
        for run in results["runs"]:
            if name not in run["workloads"]:
                continue
            measured = run["workloads"][name]
            yield f"{workload}; threads: {run['threads']}"
            for mode in ("inference", "training"):
                unit = measured["evaluation"][mode]["median"]
                backward = " with its backward pass" if mode == "training" else ""
                yield f"  {mode}; one evaluation{backward}: {unit * 1e3:.4f} ms"
                yield from _format_table(_HEADER, [_format_row(row, measured[mode]) for row in measured[mode]])
            yield ""
    if results["memory"]:
        yield f"Peak extra memory of one training step in MiB; {results['memory'][0]['problem']}, 1 thread"
        yield from _format_table(_MEMORY_HEADER, [_format_memory(row, results["memory"]) for row in results["memory"]])
        yield ""


_HEADER = ("library", "way", "evals", "steps", "time ms", "n", "x floor", "x torchdiffeq", "state error", "grad error")


def _format_row(row: Row, rows: list[Row]) -> tuple[str, ...]:
    seconds, peer = row["seconds"], peer_of(rows)
    median, lower, upper = (f"{seconds[key] * 1e3:.4g}" for key in ("median", "lower", "upper"))
    backward = row["backward_evaluations"]
    return (
        row["library"],
        row["way"],
        str(row["evaluations"]) + (f" + {backward}" if backward is not None else ""),
        f"{row['accepted']} + {row['rejected']}",
        f"{median} [{lower} .. {upper}]",
        str(seconds["repetitions"]),
        f"{seconds['median'] / row['floor']:.2f}",
        f"{seconds['median'] / peer['seconds']['median']:.2f}" if peer else "",
        f"{row['state_error']:.1e}",
        f"{row['gradient_error']:.1e}" if row["gradient_error"] is not None else "",
    )


_MEMORY_HEADER = ("library", "way", "evals", "steps", "tensors", "x torchdiffeq", "process", "x torchdiffeq", "before")


def _format_memory(row: Row, rows: list[Row]) -> tuple[str, ...]:
    peer = peer_of(rows)
    cells = [row["library"], row["way"], str(row["evaluations"]), f"{row['accepted']} + {row['rejected']}"]
    for key in ("extra_live", "extra_resident"):
        cells += [f"{row[key] / 2**20:.1f}", f"{row[key] / max(peer[key], 1):.3f}" if peer else ""]
    return (*cells, f"{row['resident_before'] / 2**20:.0f}")


def _format_goals(goals: Sequence[Goal]) -> Iterator[str]:
    yield "Goals"
    header = ("goal", "where", "measured", "limit", "")
    cells = [(goal.what, goal.where, f"{goal.value:.3f}", f"{goal.limit:.2f}", goal.verdict()) for goal in goals]
    yield from _format_table(header, cells)


def _format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cells[column]) for cells in (header, *rows)) for column in range(len(header))]
    for cells in (header, ["-" * width for width in widths], *rows):
        yield "    " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
