"""Runs the benchmark: a process per thread count and per measurement of memory, then the report."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import judge
from benchmarks.report import format_report
from benchmarks.workloads import WORKLOADS

_ROOT = Path(__file__).resolve().parents[1]
_PEERS = ("nde", "torch", "torchdiffeq", "torchode")
_MEMORY_ENTRANTS = ("nde discrete", "nde direct", "torchdiffeq direct", "torchdiffeq backsolve", "torchode direct")
_QUICK_MEMORY_ENTRANTS = ("nde discrete", "torchdiffeq direct")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and goals, and write everything as JSON."""
    options = _parse(arguments)
    start, environment = time.perf_counter(), _environment()
    quick = ["--quick"] if options.quick else []
    runs = []
    for threads in options.threads:
        _say(f"threads: {threads}")
        runs.append(_run_part("worker", threads, ["--threads", str(threads), "--workloads", *options.only, *quick]))
    memory = []
    for entrant in (_QUICK_MEMORY_ENTRANTS if options.quick else _MEMORY_ENTRANTS) if options.memory else ():
        _say(f"memory: {entrant}")
        parts = [
            _run_part("memory", 1, ["--entrant", entrant, "--figure", figure, *quick], quiet=True)
            for figure in ("resident", "live")
        ]
        memory.append(parts[0] | parts[1])
    results = {"environment": environment, "quick": options.quick, "runs": runs, "memory": memory}
    goals = judge(results)
    print(format_report(results, goals))
    results["goals"] = [goal.as_dict() for goal in goals]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    _say(f"{time.perf_counter() - start:.0f} s; written to {options.output}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure nde beside its peers.")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS), help="workloads")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="thread counts (default: 1 2)")
    memory = "measure memory, on `wide` (default: if `wide` is measured at all)"
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, help=memory)
    parser.add_argument("--quick", action="store_true", help="see whether it runs; the figures say nothing")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks.json"), help="where the JSON goes")
    options = parser.parse_args(arguments)
    if any(threads < 1 for threads in options.threads):
        parser.error("--threads must be positive")
    if options.memory is None:
        options.memory = "wide" in options.only
    return options


def _run_part(module: str, threads: int, arguments: list[str], *, quiet: bool = False) -> Any:
    """Run a module of this package in its own process and return what it wrote."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "part.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--output", str(output)]
        # the profiler writes lines of its own to stderr; they matter only where the part fails
        pipe = subprocess.PIPE if quiet else None
        done = subprocess.run(command, cwd=_ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{done.stderr or ''}error: benchmarks.{module} {' '.join(arguments)} failed ({done.returncode}).")
        return json.loads(output.read_text())


def _environment() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PEERS},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
