"""The plots of an experiment, from its results alone."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from examples.common import PLOT_STYLE
from examples.regularization.framework.summary import Row, summarise
from examples.regularization.framework.variants import METHODS, NONE

__all__ = ["draw_plots"]

# Okabe and Ito's palette, distinct also to colour-blind eyes; markers tell the methods apart without colour
_STYLES: dict[str, tuple[str, str]] = {
    NONE: ("#000000", "D"),
    "steer": ("#999999", "P"),
    "taylor": ("#CC79A7", "v"),
    "rnode": ("#E69F00", "^"),
    "global-error": ("#D55E00", "s"),
    "global-stiffness": ("#7F6000", "X"),
    "local-biased": ("#0072B2", "o"),
    "local-unbiased": ("#56B4E9", "h"),
    "local-taylor": ("#882255", "<"),
    "budget": ("#009E73", "*"),
}
_SMOOTHING = 25  # a curve over the iterations is smoothed over this part of them


def draw_plots(results: dict[str, Any], folder: Path, prefix: str = "") -> dict[str, Path]:
    """Draw all plots into a folder.

    Args:
        results: The results.
        folder: The folder; it is made where there is none.
        prefix: Of the files' names.

    Returns:
        Paths, by the name of the plot: ``"pareto"``, ``"training"``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    with plt.rc_context(PLOT_STYLE):
        for name, draw in {"pareto": _pareto, "training": _training}.items():
            figure = draw(results)
            drawn[name] = folder / f"{prefix}{name}.png"
            figure.savefig(drawn[name], metadata={"Software": None})
            plt.close(figure)
    return drawn


def _pareto(results: dict[str, Any]) -> Figure:
    """Draw the metric against the evaluations, with the solver of the training and with another one."""
    rows = [row for row in summarise(results["runs"]) if row.runs]
    panels = [("test_evals", "field evaluations per prediction")]
    if results["other_solver"]:
        named = ", ".join(f"{key}={value}" for key, value in results["other_solver"].items())
        panels.append(("other_evals", f"the same with {named}, not used in training"))
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.6), sharey=True, squeeze=False)
    for axis, (key, label) in zip(axes[0], panels, strict=True):
        for method in METHODS:
            _curve(axis, key, method, [row for row in rows if row.method == method])
        axis.set_xlabel(label)
    _limit(axes[0, 0], rows, results)
    axes[0, 0].set_ylabel(results["metric"]["name"])
    if results["metric"]["form"].endswith("%"):
        axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle(f"{results['title']}: one point for each weight, mean and spread of its seeds", x=0.01, ha="left")
    return figure


def _curve(axis: Axes, key: str, method: str, rows: list[Row]) -> None:
    rows = sorted((row for row in rows if key in row.values), key=lambda row: row.strength)
    if not rows:
        return
    colour, marker = _STYLES[method]
    x, y = [row.values[key].mean for row in rows], [row.values["metric"].mean for row in rows]
    axis.errorbar(
        x,
        y,
        xerr=[row.values[key].deviation for row in rows],
        yerr=[row.values["metric"].deviation for row in rows],
        color=colour,
        marker=marker,
        markersize=7 if method in ("budget", NONE) else 5,
        linewidth=1,
        elinewidth=0.6,
        label=METHODS[method],
        zorder=3 if method == NONE else 2,
    )
    for row, horizontal, vertical in zip(rows, x, y, strict=True):
        if row.collapsed:
            axis.plot(horizontal, vertical, marker="x", markersize=11, color=colour, markeredgewidth=2)
        if method != NONE and len(rows) > 1:
            axis.annotate(
                f"{row.strength:g}",
                (horizontal, vertical),
                (3, 3),
                textcoords="offset points",
                fontsize=6.5,
                color=colour,
                annotation_clip=True,
            )


def _limit(axis: Axes, rows: list[Row], results: dict[str, Any]) -> None:
    """Leave out of sight what is far from everything that is of interest; say what is."""
    plain = next((row.values["metric"].mean for row in rows if row.method == NONE), None)
    metrics = [row.values["metric"].mean for row in rows if not row.collapsed]
    if plain is None or len(metrics) < 2:
        return
    sign = 1 if results["metric"]["higher_is_better"] else -1
    worse = sorted(sign * (plain - metric) for metric in metrics)
    # three times the typical distance from training without a penalty
    reach = 3 * max(statistics.median(abs(distance) for distance in worse), 0.004 * abs(plain), 1e-12)
    near = [metric for metric in metrics if sign * (plain - metric) <= 2 * reach]
    low, high = min(near), max(near)
    margin = 0.15 * (high - low) + 1e-12
    axis.set_ylim(low - margin, high + margin)
    hidden = [row for row in rows if not low - margin <= row.values["metric"].mean <= high + margin]
    if hidden:
        names = "\n".join(f"{METHODS[row.method]} {row.label}: {row.values['metric'].mean:.3g}" for row in hidden)
        edge = 0.02 if sign > 0 else 0.98
        axis.text(
            0.98,
            edge,
            f"outside:\n{names}",
            transform=axis.transAxes,
            fontsize=6.5,
            ha="right",
            va="bottom" if sign > 0 else "top",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _training(results: dict[str, Any]) -> Figure:
    """Draw the evaluations of each iteration, of the strongest weight of each method that has not collapsed."""
    rows = [row for row in summarise(results["runs"]) if row.runs and not row.collapsed]
    figure, axis = plt.subplots(figsize=(8.5, 4.2))
    for method in METHODS:
        found = [row for row in rows if row.method == method]
        # the strongest budget is the smallest one
        chosen = found if method == "budget" else sorted(found, key=lambda row: row.strength)[-1:]
        for row in chosen:
            curves = [run["evaluations"] for run in row.runs.values()]
            means = _smooth([statistics.fmean(values) for values in zip(*curves, strict=False)])
            name = METHODS[method] if method == NONE else f"{METHODS[method]}, {row.label}"
            axis.plot(range(1, 1 + len(means)), means, color=_STYLES[method][0], linewidth=1, label=name)
            if method == "budget":
                axis.axhline(row.strength, color=_STYLES[method][0], linewidth=0.8, linestyle=":")
    axis.set_xlabel("iteration")
    axis.set_ylabel("field evaluations of the solve in training")
    figure.suptitle(f"{results['title']}: the strongest weight of each method, mean of its seeds", x=0.01, ha="left")
    figure.legend(loc="outside right center", fontsize=7)
    return figure


def _smooth(values: list[float]) -> list[float]:
    """Return running means over a small part of the iterations: random end times make the evaluations jump."""
    half = len(values) // _SMOOTHING // 2
    return [statistics.fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
