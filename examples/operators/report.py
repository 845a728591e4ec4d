"""The page of the documentation with tables and pictures of the comparison of operators."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from examples.common import PLOT_STYLE
from examples.operators.compare import table
from examples.operators.problems import CELLS, PROBLEMS
from examples.operators.runs import MODELS, Run, load, load_trained
from nde.files import write_atomically

__all__ = ["write_report"]

Found = Mapping[Run, dict[str, Any]]

_HEAD = """# Neural operators compared

Written by `make experiments-operators`; do not edit. FNO and LocalNO (two local integrals of fixed radius beside the
spectral convolution, its default) with {modes} waves along each axis and four blocks; FNO is as wide as it takes for as
many parameters. {samples} inputs with their outputs on 32 x 32 cells, {epochs} epochs, one thread, {seeds} seeds. An
epoch of LocalNO takes about three times as long, so there is an FNO with three times the epochs, too.

Errors are relative, in L2, of functions not seen in training: means over the seeds ± their standard deviation, in
parentheses the mean quotient with FNO's of the same seed. Where the problem is one function at several resolutions,
errors on finer cells are those of the same networks, without training there. All of it is small: it says what local
kernels are good for, not how small an error can get.

![Errors, over those of FNO](images/operators-ratios.png)
"""


def write_report(found: Found, page: Path, images: Path) -> None:
    """Write the page and its pictures.

    Args:
        found: Results by their runs.
        page: File of the page.
        images: Folder of the pictures.
    """
    settings = next(iter(found)).settings
    seeds = len({run.seed for run in found})
    sections = [_HEAD.format(modes=settings.modes, samples=settings.samples, epochs=settings.epochs, seeds=seeds)]
    images.mkdir(parents=True, exist_ok=True)
    _draw_ratios(found, images / "operators-ratios.png")
    for name, problem in PROBLEMS.items():
        results = [result for run, result in found.items() if run.problem == name]
        if not results:
            continue
        picture = images / f"operators-{name}.png"
        _draw_fields({run.model: run for run in found if run.problem == name and run.seed == 0}, picture)
        sections.append(
            f"## {problem.title}\n\nFrom {problem.about}.\n\n{table(results)}\n\n"
            f"![Input, output and errors](images/{picture.name})\n"
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, lambda file: file.write("\n".join(sections).encode()))


def _draw_ratios(found: Found, path: Path) -> None:
    """Draw each problem's errors over those of FNO, a point for each seed."""
    plt = _pyplot()
    names = [name for name in PROBLEMS if any(run.problem == name for run in found)]
    with plt.rc_context(PLOT_STYLE):
        figure, axes = plt.subplots(figsize=(7, 0.6 * len(names) + 1.4))
        for index, model in enumerate(list(MODELS)[1:]):
            for row, name in enumerate(names):
                errors = {
                    (run.model, run.seed): result["test"]["1"] for run, result in found.items() if run.problem == name
                }
                ratios = [
                    error / errors["FNO", seed]
                    for (kind, seed), error in errors.items()
                    if kind == model and ("FNO", seed) in errors
                ]
                if ratios:
                    place, colour = row + 0.25 * (index - 0.5), f"C{index}"
                    axes.barh(place, statistics.mean(ratios), 0.22, color=colour, label=model if not row else None)
                    axes.plot(ratios, [place] * len(ratios), ".", color="black", markersize=4)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.axvline(0.75, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xlabel="error on 32 x 32 cells, over that of FNO")
        axes.set_yticks(range(len(names)), [PROBLEMS[name].title for name in names])
        axes.invert_yaxis()
        figure.legend(loc="outside upper center", ncols=2)
        figure.savefig(path)
        plt.close(figure)


def _draw_fields(runs: Mapping[str, Run], path: Path) -> None:
    """Draw an input, its output and the errors, at the finest resolution there is."""
    plt = _pyplot()
    first = next(iter(runs.values()))
    samples = load(PROBLEMS[first.problem], first.settings, first.output)
    factor = max(samples.test)
    source, target = (field[:1] for field in samples.test[factor].tensors)
    with torch.no_grad():
        errors = {name: load_trained(run, samples)(source) - target for name, run in runs.items()}
    limit = max(float(error[0, 0].abs().max()) for error in errors.values())
    panels: list[tuple[str, Tensor, str, float | None]] = [
        ("input", source, "viridis", None),
        ("output", target, "magma", None),
        *((f"error of {name.replace(', ', ',' + chr(10))}", error, "RdBu_r", limit) for name, error in errors.items()),
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.7 * len(panels), 2.7), layout="constrained")
    for axis, (title, field, colours, bound) in zip(axes, panels, strict=True):
        limits = {} if bound is None else {"vmin": -bound, "vmax": bound}
        image = axis.imshow(field[0, 0].T.numpy(), origin="lower", cmap=colours, **limits)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)
        figure.colorbar(image, ax=axis, shrink=0.75)
    figure.supxlabel(f"{factor * CELLS} x {factor * CELLS} cells", fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
