"""Train neural-ODE classifiers of handwritten digits, with and without penalties on what the solver has to do.

    python examples/digits.py              everything, in a few minutes; `make demo` does this
    python examples/digits.py --quick      one seed and few epochs

Prints a table of accuracy, field evaluations, prediction time and training time, and leaves plots and all figures in
results/digits. Ctrl-C stops it; the same command then goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to be run from any directory, installed or not

import sklearn
import torch

from examples.common import interrupt, make_folder, positive, write_json
from examples.digits_measure import measure, profiles
from examples.digits_model import SETUP, SWEEP, TABLE, baselines, load_digits
from examples.digits_table import format_table
from examples.digits_training import Job
from examples.digits_workers import train_all

EPOCHS, SEEDS = 40, 3
QUICK_EPOCHS, QUICK_SEEDS = 8, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    started = time.perf_counter()
    jobs = _jobs(options)
    results_file = options.output / "results.json"
    if options.fresh:
        for file in [results_file, *(file for job in jobs for file in (job.checkpoint, job.result))]:
            file.unlink(missing_ok=True)
    settings = [job.settings() for job in jobs]
    try:
        results = _earlier(results_file, settings)
        reused = results is not None
        if results is None:
            results = _run(jobs, options, settings)
            results["wall_seconds"] = time.perf_counter() - started
            write_json(results_file, results)
        from examples.digits_plots import draw_plots  # matplotlib takes its time

        print(format_table(results))
        plots = draw_plots(results, options.output)
        print(f"\nIn {options.output}: results.json, {', '.join(plot.name for plot in plots)}.")
    except KeyboardInterrupt:
        print("\nInterrupted. Finished epochs are saved: the same command goes on from there.", file=sys.stderr)
        return 130
    if reused:
        print("These are the results of an earlier run. Add --fresh to train again.")
    else:
        print(f"Took {time.perf_counter() - started:.0f} s.")
    return 0


def _jobs(options: argparse.Namespace) -> list[Job]:
    """Return the jobs in the order of their start: by seed, so that the runs that are compared are close in time."""
    folder = options.output / "runs"
    jobs = [Job(config.name, seed, options.epochs, folder) for seed in range(options.seeds) for config in TABLE]
    return jobs if options.quick else jobs + [Job(config.name, 0, options.epochs, folder) for config in SWEEP]


def _run(jobs: list[Job], options: argparse.Namespace, settings: list[dict[str, str]]) -> dict[str, Any]:
    """Train, measure and return all figures."""
    runs = train_all(jobs, options.workers)
    print("Measuring the trained models ...", file=sys.stderr)
    data = load_digits()
    trained = [job for job, run in zip(jobs, runs, strict=True) if run["failure"] is None]
    costs = measure(trained, data)
    return {
        "epochs": options.epochs,
        "seeds": options.seeds,
        "workers": options.workers,
        "setup": SETUP,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "scikit-learn": sklearn.__version__,
        },
        "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
        "settings": settings,
        "baselines": baselines(data, options.seeds),
        "runs": [{**run, **costs.get((run["name"], run["seed"]), {})} for run in runs],
        "profiles": profiles(trained, data),
    }


def _earlier(file: Path, settings: list[dict[str, str]]) -> dict[str, Any] | None:
    """Return the results of an earlier run of the same jobs."""
    try:
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if results.get("settings") == settings else None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--epochs",
        type=positive,
        help=f"passes through the training set (default {EPOCHS}; {QUICK_EPOCHS} with --quick)",
    )
    add("--seeds", type=positive, help=f"models per row of the table (default {SEEDS}; {QUICK_SEEDS} with --quick)")
    add("--workers", type=positive, default=cores, help="models trained at a time, one core each (default: all cores)")
    add("--output", type=Path, default=Path("results/digits"), help="where plots and figures go (default %(default)s)")
    add("--quick", action="store_true", help="few epochs, one seed, fewer weights: to see it work, not to compare")
    add("--fresh", action="store_true", help="train again, whatever an earlier run has left")
    options = parser.parse_args(arguments)
    options.epochs = options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS)
    options.seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    make_folder(parser, options.output)
    return options


if __name__ == "__main__":
    sys.exit(main())
