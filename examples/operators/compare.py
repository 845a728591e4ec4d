"""FNO against LocalNO, with as many parameters and the same waves, on functions with structure finer than these.

    python -m examples.operators.compare darcy          a problem, in two minutes; "all" for all of them
    python -m examples.operators.compare all --modes 8  with more waves
    python -m examples.operators.compare report         writes the page of the documentation from what there is

Both are trained on 32 x 32 cells and measured on other functions there and, where the problem is one function at
several resolutions, on two and four times as many cells along each side. Prints a table and leaves results and networks
in results/operators. Ctrl-C stops it; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import signal
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.common import interrupt, make_folder, positive
from examples.operators.problems import PROBLEMS
from examples.operators.runs import MODELS, Run, Settings, load, run
from nde.processes import end_with_parent
from nde.progress import progress_bar

__all__ = ["main", "table"]

ALL, REPORT = "all", "report"
PAGE, IMAGES = Path("docs/operators-results.md"), Path("docs/images")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    settings = Settings(options.samples, options.test_samples, options.epochs, options.width, options.modes)
    names = list(PROBLEMS) if options.problem in (ALL, REPORT) else [options.problem]
    runs = [
        Run(name, model, seed, settings, options.output)
        for name in names
        for seed in range(options.seeds)
        for model, kind in MODELS.items()
        if seed < kind.seeds
    ]
    if options.problem == REPORT:
        return _report(runs)
    make_folder(parser, options.output)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        for name in names:  # once, before the processes that read it
            load(PROBLEMS[name], settings, options.output)
        results = _run_all(runs, options.workers)
    except KeyboardInterrupt:
        print("\nInterrupted. What is done is saved: the same command goes on from there.", file=sys.stderr)
        return 130
    for name in names:
        print(f"\n{PROBLEMS[name].title}\n\n{table([one for one in results if one['problem'] == name])}")
    return 0


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return a table of one problem's results, in Markdown."""
    factors = list(results[0]["test"])
    head = ["Model", "Parameters", *(f"{32 * int(factor)}²" for factor in factors), "Over that at 32²", "Training s"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    base = {one["seed"]: one["test"]["1"] for one in results if one["model"] == "FNO"}
    for model in MODELS:
        mine = [one for one in results if one["model"] == model]
        if not mine:
            continue
        name = model if len(mine) == len(base) or not base else f"{model} ({len(mine)} of {len(base)} seeds)"
        cells = [name, f"{mine[0]['parameters']:,}"]
        for factor in factors:
            errors = [one["test"][factor] for one in mine]
            spread = f" ± {statistics.stdev(errors):.4f}" if len(errors) > 1 else ""
            ratios = [one["test"]["1"] / base[one["seed"]] for one in mine if one["seed"] in base]
            ratio = f" ({statistics.mean(ratios):.2f})" if factor == "1" and model != "FNO" and ratios else ""
            cells.append(f"{statistics.mean(errors):.4f}{spread}{ratio}")
        finest = [one["test"][factors[-1]] / one["test"]["1"] for one in mine]
        cells.append(f"{statistics.mean(finest):.2f}" if len(factors) > 1 else "")
        cells.append(f"{statistics.mean(one['seconds'] for one in mine):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _run_all(runs: Sequence[Run], workers: int) -> list[dict[str, Any]]:
    due = [task for task in runs if task.result() is None]
    if workers == 1 or len(due) < 2:
        for task in due:
            print(f"{task.problem}, {task.model}, seed {task.seed}", file=sys.stderr)
            run(task, progress=True)
    else:
        context = multiprocessing.get_context("spawn")
        with (
            progress_bar(len(due), "training", show=True, unit="run") as advance,
            concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool,
        ):
            try:
                for future in concurrent.futures.as_completed([pool.submit(run, task) for task in due]):
                    future.result()
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [run(task) for task in runs]


def _report(runs: Sequence[Run]) -> int:
    from examples.operators.report import write_report  # matplotlib takes its time
    from examples.operators.rollout import finished_roll_outs

    found = {task: result for task in runs if (result := task.result()) is not None}
    if not found:
        print(f"There is nothing in {runs[0].output} to report on: run a comparison first.", file=sys.stderr)
        return 1
    missing = sorted({task.problem for task in runs} - {task.problem for task in found})
    if missing:
        print(f"There are no results of {', '.join(missing)} yet; they are left out.", file=sys.stderr)
    write_report(found, finished_roll_outs(runs[0].output), PAGE, IMAGES)
    print(f"Wrote {PAGE} and its pictures in {IMAGES}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m examples.operators.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("problem", choices=[*PROBLEMS, ALL, REPORT], help="which problem")
    add("--modes", type=positive, default=defaults.modes, help="waves along each axis (default %(default)s)")
    add("--width", type=positive, default=defaults.width, help="channels of LocalNO (default %(default)s)")
    add("--samples", type=positive, default=defaults.samples, help="for training (default %(default)s)")
    add("--test-samples", type=positive, default=defaults.test_samples, help="for the test (default %(default)s)")
    add("--epochs", type=positive, default=defaults.epochs, help="of the training (default %(default)s)")
    add("--seeds", type=positive, default=3, help="runs of each model (default %(default)s)")
    add("--output", type=Path, default=Path("results/operators"), help="where results go (default %(default)s)")
    add("--workers", type=positive, default=cores, help="runs at a time, one core each (default: all cores)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
