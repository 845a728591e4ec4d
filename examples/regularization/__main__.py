"""Compare penalties on what a solver has to do, in training.

    python -m examples.regularization classifier           one experiment, in minutes; "all" for all of them
    python -m examples.regularization classifier --full    more weights and the sizes of the papers: hours
    python -m examples.regularization report               writes the page of the documentation from what there is

Prints tables and leaves plots and all figures in results/regularization. Ctrl-C stops it; the same command then goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from examples.common import interrupt, positive
from examples.regularization.framework.report import format_results, write_report
from examples.regularization.framework.settings import SettingsError
from examples.regularization.framework.study import Study, load_results
from examples.regularization.framework.variants import METHODS
from examples.regularization.registry import EXPERIMENTS

__all__ = ["main"]

ALL, REPORT = "all", "report"
PAGE, IMAGES = Path("docs/regularization-results.md"), Path("docs/images")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    names = list(EXPERIMENTS) if options.experiment in (ALL, REPORT) else [options.experiment]
    setup = "full" if options.full else options.setup
    if options.experiment == REPORT:
        return _report(names, setup, options)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        studies = [
            Study.read(
                name,
                setup,
                options.output,
                data=options.data,
                file=options.config,
                seeds=options.seeds,
                iterations=options.iterations,
                methods=options.methods,
            )
            for name in names
        ]
        for study in studies:
            _run(study, options)
    except SettingsError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write to {options.output}: {error}")
    except KeyboardInterrupt:
        print("\nInterrupted. What is done is saved: the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def _run(study: Study, options: argparse.Namespace) -> None:
    from examples.regularization.framework.plots import draw_plots  # matplotlib takes its time

    started = time.perf_counter()
    if options.fresh:
        study.forget()
    results = study.run(options.workers)
    print(f"\n{results['title']}\n\n{format_results(results)}\n")
    plots = draw_plots(results, study.folder)
    names = ", ".join(plot.name for plot in plots.values())
    print(f"In {study.folder}: results.json, {names}. Took {time.perf_counter() - started:.0f} s.", flush=True)


def _report(names: list[str], setup: str, options: argparse.Namespace) -> int:
    found = {name: load_results(options.output, name, setup) for name in names}
    missing = [name for name, results in found.items() if results is None]
    if missing:
        print(f"There are no results of {', '.join(missing)} yet; they are left out.", file=sys.stderr)
    studies = [results for results in found.values() if results is not None]
    if not studies:
        print(f"There is nothing in {options.output} to report on: run an experiment first.", file=sys.stderr)
        return 1
    command = "make experiments" if setup == "short" else f"python -m examples.regularization report --setup {setup}"
    write_report(studies, PAGE, IMAGES, command)
    print(f"Wrote {PAGE} and its plots in {IMAGES}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog="python -m examples.regularization",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("experiment", choices=[*EXPERIMENTS, ALL, REPORT], help="which experiment")
    add("--setup", default="short", help="set-up, of those in the settings (default %(default)s)")
    add("--full", action="store_true", help="stands for --setup full")
    add("--seeds", type=positive, help="runs of each variant (default: as the settings say)")
    add("--iterations", type=positive, help="iterations of training (default: as the settings say)")
    add("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=f"only these: {', '.join(METHODS)}")
    add("--data", type=Path, help="folder with files of data, for set-ups that need them")
    add("--config", type=Path, help="file of settings (default: the experiment's own)")
    add("--output", type=Path, default=Path("results/regularization"), help="where results go (default %(default)s)")
    add("--workers", type=positive, default=cores, help="runs at a time, one core each (default: all cores)")
    add("--fresh", action="store_true", help="train again, whatever earlier runs have left")
    return parser


if __name__ == "__main__":
    sys.exit(main())
