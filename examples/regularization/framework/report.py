"""The page of the documentation with the tables and plots of all experiments, written from their results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from examples.regularization.framework.plots import draw_plots
from examples.regularization.framework.table import format_table
from examples.regularization.framework.verdicts import verdicts

__all__ = ["format_results", "write_report"]

_HEAD = """# Penalties compared

Written by `{command}`; do not edit. The experiments are in `examples/regularization`; what the methods are is told in
[Penalties on the cost of a solve](regularization.md).

Figures are means over the seeds ± their standard deviation; in parentheses, the mean quotient with the run of the same
seed without a penalty. NFE are evaluations of the field for one prediction, in evaluation mode: for a batch of training
data, for the test data, and for these with a solver that was not used in training. "Training" is processor time of all
iterations, evaluating left out; "iteration" is the processor time of one with equal steps (the weights of a model
trained without a penalty, the fastest of several) over that of `none`. A weight "a to b" is annealed exponentially; the
weight of STEER is its half width, that of a budget the evaluations that it aims at. A flow has collapsed where it moves
all samples alike.
"""


def format_results(results: dict[str, Any]) -> str:
    """Return the table of an experiment with its verdicts, in Markdown."""
    lines = [format_table(results), ""]
    lines += [f"- {verdict}" for verdict in verdicts(results)]
    return "\n".join(lines)


def write_report(studies: list[dict[str, Any]], page: Path, images: Path, command: str) -> None:
    """Write the page and its images.

    Args:
        studies: Results of the experiments, in order.
        page: File of the page.
        images: Folder of the images.
        command: That makes them, to be named in the page.
    """
    sections = [_HEAD.format(command=command)]
    for results in studies:
        name, setup = results["experiment"], results["setup"]
        plots = draw_plots(results, images, prefix=f"regularization-{name}-")
        settings = results["settings"]
        sections.append(
            f"## {results['title']}\n\n"
            f"`python -m examples.regularization {name} --setup {setup}`: {settings['iterations']} iterations, "
            f"{settings['seeds']} seeds, {results['workers']} runs at a time.\n\n"
            f"{format_results(results)}\n\n"
            + "\n\n".join(
                f"![{caption}]({Path(os.path.relpath(plots[plot], page.parent)).as_posix()})"
                for plot, caption in (("pareto", "Metric against evaluations"), ("training", "Evaluations in training"))
            )
            + "\n"
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    partial = page.with_suffix(".partial")
    partial.write_text("\n".join(sections), encoding="utf-8")
    os.replace(partial, page)
