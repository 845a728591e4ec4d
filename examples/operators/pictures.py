"""The pictures of the comparison of operators."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from examples.common import PLOT_STYLE
from examples.operators.problems import CELLS, PROBLEMS
from examples.operators.rollout import PENALTIES, POINTS, RollOutRun, frames, predict, train
from examples.operators.runs import MODELS, Run, load, load_trained

__all__ = ["Found", "draw_fields", "draw_ratios", "draw_resolutions", "draw_roll_out"]

Found = Mapping[Run, dict[str, Any]]

_COLOURS = dict(zip(MODELS, ("0.6", "black", "C0", "C1"), strict=True))


def draw_ratios(found: Found, path: Path) -> None:
    """Draw each problem's errors over those of FNO, a point for each seed."""
    names = [name for name in PROBLEMS if any(run.problem == name for run in found)]
    others = list(MODELS)[1:]
    with plt.rc_context(PLOT_STYLE):
        figure, axes = plt.subplots(figsize=(7, 0.6 * len(names) + 1.4))
        for index, model in enumerate(others):
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
                    place = row + 0.26 * (index - (len(others) - 1) / 2)
                    axes.barh(place, statistics.mean(ratios), 0.23, color=_COLOURS[model])
                    axes.plot(ratios, [place] * len(ratios), ".", color="red", markersize=4)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.axvline(0.75, color="red", linewidth=0.8, linestyle=":")
        axes.set(xlabel="error on 32 x 32 cells, over that of FNO")
        axes.set_yticks(range(len(names)), [PROBLEMS[name].title for name in names])
        axes.invert_yaxis()
        _add_legend(figure, others, line=False)
        figure.savefig(path)
        plt.close(figure)


def draw_resolutions(found: Found, path: Path) -> bool:
    """Draw errors against the cells of the test, for each problem that has several; return whether there is one."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for run, result in found.items():
        if len(result["test"]) > 1:
            results.setdefault(run.problem, {}).setdefault(run.model, []).append(result["test"])
    if not results:
        return False
    with plt.rc_context(PLOT_STYLE):
        figure, panels = plt.subplots(1, len(results), figsize=(2.9 * len(results) + 0.4, 3.1), squeeze=False)
        for axes, name in zip(panels[0], results, strict=True):
            for model, tests in results[name].items():
                cells = [CELLS * int(factor) for factor in tests[0]]
                means = [statistics.mean(test[factor] for test in tests) for factor in tests[0]]
                axes.plot(cells, means, "o-", color=_COLOURS[model], markersize=4)
            axes.set(xscale="log", title=PROBLEMS[name].title.replace(" from ", "\nfrom "))
            axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
            axes.set_xticks(cells, [str(count) for count in cells])
            axes.minorticks_off()
        panels[0][0].set_ylabel("relative L2 error")
        figure.supxlabel("cells along each side; trained on 32", fontsize=10)
        _add_legend(figure, list(MODELS), line=True)
        figure.savefig(path)
        plt.close(figure)
    return True


def draw_fields(runs: Mapping[str, Run], path: Path) -> None:
    """Draw an input, its output, predictions and their errors, at the finest resolution there is."""
    first = next(iter(runs.values()))
    samples = load(PROBLEMS[first.problem], first.settings, first.output)
    factor = max(samples.test)
    source, target = (field[:1] for field in samples.test[factor].tensors)
    with torch.no_grad():
        predictions = {name: load_trained(run, samples)(source) for name, run in runs.items()}
    errors = {name: field - target for name, field in predictions.items()}
    limit = max(float(error[0, 0].abs().max()) for error in errors.values())
    low, high = float(target[0, 0].min()), float(target[0, 0].max())
    columns: list[tuple[str, tuple[Tensor, str, float, float], tuple[Tensor, str, float, float]]] = [
        (
            name.replace(", ", ",\n"),
            (predictions[name], "magma", low, high),
            (errors[name], "RdBu_r", -limit, limit),
        )
        for name in runs
    ]
    with plt.rc_context({**PLOT_STYLE, "axes.grid": False}):
        figure, panels = plt.subplots(2, len(columns) + 1, figsize=(2.5 * (len(columns) + 1), 4.8))
        shown = panels[0, 0].imshow(target[0, 0].T.numpy(), origin="lower", cmap="magma", vmin=low, vmax=high)
        figure.colorbar(shown, ax=panels[0, 0], shrink=0.8)
        panels[0, 0].set_title("output")
        shown = panels[1, 0].imshow(source[0, 0].T.numpy(), origin="lower", cmap="viridis")
        figure.colorbar(shown, ax=panels[1, 0], shrink=0.8)
        panels[1, 0].set_title("input")
        for column, (title, *rows) in enumerate(columns, start=1):
            for axes, (field, colours, lowest, highest) in zip(panels[:, column], rows, strict=True):
                shown = axes.imshow(field[0, 0].T.numpy(), origin="lower", cmap=colours, vmin=lowest, vmax=highest)
            figure.colorbar(shown, ax=panels[1, column], shrink=0.8)
            panels[0, column].set_title(title)
            panels[1, column].set_title("its error")
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
        figure.supxlabel(f"{factor * CELLS} x {factor * CELLS} cells", fontsize=9)
        figure.savefig(path, dpi=90)
        plt.close(figure)


def draw_roll_out(found: Mapping[RollOutRun, dict[str, Any]], path: Path) -> None:
    """Draw a trajectory, what the first seed's models make of its first frame, and errors against time."""
    first = next(iter(found))
    shown = {run.penalty: train(run) for run in found if run.seed == first.seed}
    truth = frames(first.settings, first.output)[first.settings.trajectories :].transpose(0, 1)[:, :1]
    fields = {"truth": truth, **{f"penalty: {name}": predict(layer, truth[0]).ys for name, layer in shown.items()}}
    with plt.rc_context(PLOT_STYLE):
        figure, panels = plt.subplots(1, len(fields) + 1, figsize=(3.1 * (len(fields) + 1), 3.3))
        for axes, (title, field) in zip(panels, fields.items(), strict=False):
            image = axes.imshow(
                field[:, 0, 0].numpy(), origin="lower", aspect="auto", cmap="RdBu_r", vmin=-2.5, vmax=2.5,
                extent=(0, 32, 0, len(field) - 1),
            )  # fmt: skip
            axes.set(title=title, xlabel="x")
            axes.grid(visible=False)
        panels[0].set_ylabel("time")
        figure.colorbar(image, ax=panels[-2])
        for run, result in found.items():
            colour = f"C{list(PENALTIES).index(run.penalty)}"
            for factor, dashes in (("1", "-"), ("2", ":")):
                label = f"{run.penalty}, {POINTS * int(factor)} points" if run.seed == first.seed else None
                errors = result["test"][factor]["errors"]
                panels[-1].plot(range(len(errors)), errors, dashes, color=colour, linewidth=1.2, label=label)
        panels[-1].set(title="relative L2 error", xlabel="time", ylim=(0, None))
        panels[-1].legend(fontsize=8)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _add_legend(figure: Figure, models: list[str], line: bool) -> None:
    style: Any = {"marker": "o"} if line else {"marker": "s", "linestyle": "none"}
    handles = [Line2D([], [], color=_COLOURS[model], **style) for model in models]
    figure.legend(handles, models, loc="outside upper center", ncols=2)
