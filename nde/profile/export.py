"""Recordings as data: tables of pandas, JSON, traces for Chrome's viewer and Perfetto, scalars for TensorBoard."""

from __future__ import annotations

import collections
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from nde.files import write_atomically
from nde.profile.statistics import accounted, joined_steps

if TYPE_CHECKING:
    from nde.profile.cost import Cost

__all__ = ["as_dict", "to_chrome_trace", "to_json", "to_pandas", "to_tensorboard"]

FORMAT = 1


def as_dict(cost: Cost) -> dict[str, Any]:
    """Return all of a recording as plain values; what is not finite becomes None."""
    times = accounted(cost.solves, cost.seconds)
    solves = []
    for solve in cost.solves:
        columns = solve.steps.columns()
        steps = {name: _plain(values) for name, values in columns.items()}
        solves.append({**{name: _finite(value) for name, value in solve.to_dict().items()}, "steps": steps})
    return {"format": FORMAT, "seconds": cost.seconds, "times": vars(times), "solves": solves}


def to_json(cost: Cost, path: str | os.PathLike[str]) -> Path:
    """Write a recording as JSON."""
    path = _folder_of(path)
    text = json.dumps(as_dict(cost), allow_nan=False)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def to_pandas(cost: Cost) -> tuple[Any, Any]:
    """Return two data frames: one row for each solve, and one for each attempted step.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install pandas.") from error
    solves = pandas.DataFrame([solve.to_dict() for solve in cost.solves])
    return solves, pandas.DataFrame(joined_steps(cost.solves))


def to_chrome_trace(cost: Cost, path: str | os.PathLike[str]) -> Path:
    """Write solves and their steps as a trace: open it at ui.perfetto.dev or chrome://tracing."""
    path = _folder_of(path)
    events: list[dict[str, Any]] = []
    for solve in cost.solves:
        start = solve.began * 1e6
        facts = {"evaluations": solve.forward.field, "accepted": solve.accepted, "rejected": solve.rejected}
        name = f"{solve.label} ({solve.method})"
        events.append(_event(name, start, solve.seconds * 1e6, {**facts, "iteration": solve.iteration}))
        columns = solve.steps.columns()
        attempts, first = numpy.unique(columns["attempt"], return_index=True)
        lengths = numpy.bincount(columns["attempt"], weights=columns["seconds"], minlength=len(attempts)) * 1e6
        # between the steps, the solver does what is not theirs: spread over them, so that they stay inside the solve
        spare = max(solve.seconds * 1e6 - float(lengths.sum()), 0.0) / (len(lengths) + 1)
        at = start + spare
        for place, length in zip(first.tolist(), lengths.tolist(), strict=True):
            what = "step" if columns["accepted"][place] else "rejected step"
            names = ("t", "h", "error", "stiffness")
            events.append(_event(what, at, length, {name: _finite(float(columns[name][place])) for name in names}))
            at += length + spare
    text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, allow_nan=False)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def to_tensorboard(cost: Cost, writer: Any) -> None:
    """Add scalars for each iteration: evaluations, steps, times, largest stiffness, by field.

    Args:
        writer: A ``SummaryWriter``, or the name of its folder.

    Raises:
        ImportError: A folder was given and tensorboard is not installed.
    """
    own = isinstance(writer, (str, os.PathLike))
    if own:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("to_tensorboard needs tensorboard: pip install tensorboard.") from error
        writer = SummaryWriter(os.fspath(writer))
    sums: dict[tuple[str, int], dict[str, float]] = {}
    for solve in cost.solves:
        values = sums.setdefault((solve.label, solve.iteration), collections.defaultdict(float))
        values["evaluations"] += solve.forward.field
        values["evaluations_backward"] += solve.backward.field
        values["accepted"] += solve.accepted
        values["rejected"] += solve.rejected
        values["seconds"] += solve.seconds
        values["backward_seconds"] += solve.backward_seconds
        stiffness = solve.steps.columns()["stiffness"]
        if numpy.isfinite(stiffness).any():
            values["stiffness"] = max(values["stiffness"], float(numpy.nanmax(stiffness)))
    for (label, iteration), values in sums.items():
        for name, value in values.items():
            writer.add_scalar(f"nde/{label}/{name}", value, iteration)
    if own:
        writer.close()


def _folder_of(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _event(name: str, start: float, length: float, facts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "X", "ts": start, "dur": length, "pid": 1, "tid": 1, "args": facts}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(values: numpy.ndarray[Any, Any]) -> list[Any]:
    return [_finite(value) for value in values.tolist()]
