"""Measures `nde.compat.torchdiffeq` beside torchdiffeq: the same field, tolerances and options, in turns.

``python -m benchmarks.compat``; both libraries are called by the same code, as by someone who changed one import.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import CountingField, Problem, make_problem
from benchmarks.timing import Budget, Spread, interleave
from benchmarks.workloads import WORKLOADS

_SIZES = ("tiny", "medium")
_NORMAL = Budget(seconds=3.0, fewest=5, most=300, warm_up=2)
_QUICK = Budget(seconds=0.05, fewest=2, most=3, warm_up=1)
_OURS, _THEIRS = "nde", "torchdiffeq"


@dataclass(frozen=True)
class Case:
    """A way to call `odeint` or `odeint_adjoint`.

    Attributes:
        method: Name of the method.
        step_size: Its fixed step size; None for one step from output to output, or adaptive steps.
        interface: Name of the function.
        training: Whether gradients of the parameters are computed too.
    """

    method: str
    step_size: float | None
    interface: str
    training: bool

    def __str__(self) -> str:
        steps = "" if self.step_size is None else f" h={self.step_size:g}"
        return f"{self.method}{steps} {self.interface} {'forward+backward' if self.training else 'forward'}"


_METHODS = (("dopri5", None), ("rk4", 0.05), ("rk4", None), ("euler", 0.05))
CASES = tuple(
    Case(method, size, interface, training)
    for method, size in _METHODS
    for interface, training in (
        ("odeint", False),
        ("odeint", True),
        ("odeint_adjoint", False),
        ("odeint_adjoint", True),
    )
)


def measure(size: str, dtype: torch.dtype, case: Case, budget: Budget) -> dict[str, Any]:
    """Return medians, evaluations and the largest difference of the results of one case."""
    problem = make_problem(WORKLOADS[size])
    problem = problem.double() if dtype is torch.float64 else problem
    calls = {library: _call(library, problem, case) for library in (_OURS, _THEIRS)}
    spreads = interleave(calls, budget)
    counts = {library: _count(library, problem, case) for library in calls}
    results = [call() for call in calls.values()]
    difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True))
    return {
        "size": size,
        "dtype": str(dtype).removeprefix("torch."),
        "case": str(case),
        "seconds": {library: spread.__dict__ for library, spread in spreads.items()},
        "ratio": _ratio(spreads),
        "evaluations": counts,
        "difference": difference,
    }


def _ratio(spreads: dict[str, Spread]) -> float:
    return spreads[_OURS].median / spreads[_THEIRS].median


def _call(library: str, problem: Problem, case: Case) -> Callable[[], list[Tensor]]:
    package = importlib.import_module("nde.compat.torchdiffeq" if library == _OURS else "torchdiffeq")
    solve = getattr(package, case.interface)
    options = None if case.step_size is None else {"step_size": case.step_size}
    settings = {"rtol": problem.workload.tol, "atol": problem.workload.tol, "method": case.method, "options": options}
    parameters = list(problem.field.parameters())

    def forward() -> list[Tensor]:
        # the adjoint's own forward pass is what training pays; `odeint` alone is what inference pays
        with torch.set_grad_enabled(case.interface == "odeint_adjoint"):
            return [solve(problem.field, problem.y0, problem.ts, **settings).detach()]

    def train() -> list[Tensor]:
        states = solve(problem.field, problem.y0, problem.ts, **settings)
        return list(torch.autograd.grad(states[-1].square().sum(), parameters))

    return train if case.training else forward


def _count(library: str, problem: Problem, case: Case) -> int:
    counting = CountingField(problem.field)
    _call(library, Problem(problem.workload, counting, problem.y0, problem.ts), case)()
    return counting.evaluations


_HEADER = ("size", "dtype", "case", "nde ms", "torchdiffeq ms", "ratio", "evals nde", "evals torchdiffeq", "difference")


def format_rows(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table, and a last one with the geometric mean of the ratios."""
    cells = [_HEADER]
    for row in rows:
        milliseconds = [f"{row['seconds'][library]['median'] * 1e3:.3f}" for library in (_OURS, _THEIRS)]
        evaluations = [str(row["evaluations"][library]) for library in (_OURS, _THEIRS)]
        figures = (*milliseconds, f"{row['ratio']:.2f}", *evaluations, f"{row['difference']:.0e}")
        cells.append((row["size"], row["dtype"], row["case"], *figures))
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    for line in cells:
        yield " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    mean = math.exp(sum(math.log(row["ratio"]) for row in rows) / len(rows))
    slower = sum(row["ratio"] > 1 for row in rows)
    yield f"time / torchdiffeq's: geometric mean {mean:.2f}; above 1 in {slower} of {len(rows)} rows"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compat", description=__doc__)
    parser.add_argument("--only", default="", help="measure cases whose name holds this text")
    parser.add_argument("--sizes", nargs="+", choices=list(WORKLOADS), default=list(_SIZES))
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--quick", action="store_true", help="see whether it runs; the figures say nothing")
    parser.add_argument("--output", type=Path, help="write the rows as JSON too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (_OURS, _THEIRS, "torch"))
    print(f"{versions}; threads: {options.threads}; load at the start {os.getloadavg()[0]:.1f}")
    rows = []
    for size in options.sizes:
        for dtype in (torch.float32, torch.float64):
            for case in CASES:
                if options.only in str(case):
                    print(f"{size}, {dtype}, {case}", file=sys.stderr, flush=True)
                    rows.append(measure(size, dtype, case, _QUICK if options.quick else _NORMAL))
    if not rows:
        parser.error(f"no case holds {options.only!r}")
    print("\n".join(format_rows(rows)))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
