"""The plots of the demo, drawn from its results alone."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from examples.common import PLOT_STYLE
from examples.digits_measure import FIXED_STEPS
from examples.digits_model import CONFIGS, ERROR, SQUARED, STEP_COUNT, STIFFNESS, TABLE, UNREGULARISED

__all__ = ["draw_plots"]

# Okabe and Ito's palette, distinct also to colour-blind eyes; markers tell the families apart without colour
_COLOURS = {
    UNREGULARISED: "#000000",
    STEP_COUNT: "#0072B2",
    ERROR: "#D55E00",
    SQUARED: "#009E73",
    STIFFNESS: "#CC79A7",
    "untrained": "#999999",
}
_MARKERS = {UNREGULARISED: "D", STEP_COUNT: "o", ERROR: "s", SQUARED: "^", STIFFNESS: "v"}
_DASHES = {UNREGULARISED: "-", STEP_COUNT: "--", ERROR: "-.", SQUARED: (0, (5, 1, 1, 1, 1, 1)), STIFFNESS: ":"}
# where the weights stand beside the points, so that neighbouring curves leave room for each other
_LABELS: dict[str, tuple[tuple[float, float], str, str]] = {
    STEP_COUNT: ((-5, 4), "right", "bottom"),
    ERROR: ((0, -7), "center", "top"),
    SQUARED: ((7, 0), "left", "center"),
}


def draw_plots(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all plots into a folder and return their paths."""
    drawn = []
    plots = {
        "accuracy-against-evaluations.png": _trade_off,
        "training.png": _training,
        "along-the-solution.png": _profiles,
    }
    with plt.rc_context(PLOT_STYLE):
        for name, draw in plots.items():
            figure = draw(results)
            path = folder / name
            figure.savefig(path)
            plt.close(figure)
            drawn.append(path)
    return drawn


def _by_name(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the runs that did not fail, by name, in the order of the configurations."""
    runs = [run for run in results["runs"] if run["failure"] is None]
    grouped = {name: [run for run in runs if run["name"] == name] for name in CONFIGS}
    return {name: group for name, group in grouped.items() if group}


def _trade_off(results: dict[str, Any]) -> Figure:
    figure, axes = plt.subplots(figsize=(8, 5))
    points: dict[str, list[tuple[float, float, float, str]]] = {}
    lowest = 90.0
    for name, runs in _by_name(results).items():
        config = CONFIGS[name]
        evals = [run["test_evals"] for run in runs]
        scores = [100 * run["test_accuracy"] for run in runs]
        lowest = min(lowest, *scores)
        x, y = statistics.median(evals), statistics.median(scores)
        points.setdefault(config.family, []).append((config.weight, x, y, config.label))
        axes.errorbar(
            x,
            y,
            xerr=[[x - min(evals)], [max(evals) - x]],
            yerr=[[y - min(scores)], [max(scores) - y]],
            color=_COLOURS[config.family],
            elinewidth=1,
            capsize=2,
            alpha=0.6,
        )
    for family, found in points.items():
        found.sort()
        axes.plot(
            [x for _, x, _, _ in found],
            [y for _, _, y, _ in found],
            color=_COLOURS[family],
            marker=_MARKERS[family],
            linestyle=_DASHES[family],
            linewidth=1,
            label=family,
        )
        offset, horizontal, vertical = _LABELS.get(family, ((0, 7), "center", "bottom"))
        for _, x, y, label in found if family != UNREGULARISED else ():
            axes.annotate(
                label,
                (x, y),
                offset,
                textcoords="offset points",
                horizontalalignment=horizontal,
                verticalalignment=vertical,
                fontsize=8,
                color=_COLOURS[family],
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            )
    for name, dashes in (("trained linear read-out", (0, (1, 2))), ("frozen read-out", (0, (5, 3)))):
        score = 100 * results["baselines"][name]
        label = f"no flow, {name}: {score:.0f} %"
        if score > lowest - 2:
            axes.axhline(score, color="0.5", linewidth=1, linestyle=dashes, label=label)
        else:
            axes.plot([], [], " ", label=f"({label})")
    axes.set_ylim(lowest - 2, 100)
    axes.set_xlabel("field evaluations per prediction (360 test samples)")
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(
        "Accuracy against the cost of a prediction; weights of the penalties at the points, bars: range over seeds"
    )
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _training(results: dict[str, Any]) -> Figure:
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 6.5), sharex=True)
    names = {config.name for config in TABLE}
    for name, runs in _by_name(results).items():
        if name in names:
            _band(top, [[100 * entry["test_accuracy"] for entry in run["history"]] for run in runs], name)
            _band(bottom, [[entry["train_batch_evals"] for entry in run["history"]] for run in runs], name)
    top.set_ylabel("test accuracy (%)")
    top.set_title("Accuracy while training (median and range over the seeds)")
    top.legend(fontsize=8, loc="lower right")
    bottom.set_ylabel("field evaluations per solve")
    bottom.set_title("Evaluations for a batch of 256 training samples")
    bottom.set_xlabel("epoch")
    bottom.set_ylim(bottom=0)
    return figure


def _band(axes: Axes, curves: list[list[float]], name: str) -> None:
    family = CONFIGS[name].family
    columns = list(zip(*curves, strict=True))
    epochs = range(1, len(columns) + 1)
    axes.plot(
        epochs,
        [statistics.median(column) for column in columns],
        color=_COLOURS[family],
        linestyle=_DASHES[family],
        label=name,
    )
    axes.fill_between(
        epochs, [min(c) for c in columns], [max(c) for c in columns], color=_COLOURS[family], alpha=0.15, linewidth=0
    )


def _profiles(results: dict[str, Any]) -> Figure:
    figure, (sizes, errors, fixed) = plt.subplots(3, 1, figsize=(8, 9), sharex=True)
    for name, profile in results["profiles"].items():
        family = CONFIGS[name].family if name in CONFIGS else name
        look: dict[str, Any] = {
            "color": _COLOURS[family],
            "linestyle": _DASHES.get(family, "-"),
            "marker": _MARKERS.get(family, "x"),
            "markersize": 4,
            "linewidth": 1.2,
        }
        whole = slice(len(profile["t"]) - 1)  # the last step is cut to reach the end, which says nothing
        sizes.plot(profile["t"][whole], profile["h"][whole], label=name, **look)
        errors.plot(profile["t"][whole], profile["error"][whole], label=name, **look)
        fixed.plot(profile["fixed_t"], profile["fixed_error"], label=name, **look)
    for axes in (sizes, errors, fixed):
        axes.set_yscale("log")
        axes.set_xlim(0, 1)
    sizes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    sizes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    sizes.yaxis.set_minor_formatter(NullFormatter())
    sizes.set_ylabel("step size h")
    sizes.set_title(
        "Step sizes that the controller chooses (first seed, 256 training samples; without the last, cut step)"
    )
    errors.set_ylabel("error / tolerance")
    errors.set_title("Error estimates of these steps: the controller keeps them alike once it has found its pace")
    fixed.axhline(1, color="0.5", linewidth=1)
    fixed.set_ylabel("error / tolerance")
    fixed.set_title(
        f"Error estimates of {FIXED_STEPS} equal steps: what the penalties have made easier (1: still acceptable)"
    )
    fixed.set_xlabel("time t along the flow")
    errors.set_ylim(1e-4, 2)
    sizes.legend(fontsize=8, ncols=2, loc="lower right")
    return figure
