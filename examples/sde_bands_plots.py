"""The plots of the sunspot forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from examples.common import PLOT_STYLE
from examples.sde_bands_model import BANDS, HORIZON, Sunspots

__all__ = ["draw_plots"]

_BLUE = "#0072B2"
_COLOURS = (_BLUE, "#D55E00", "#999999")
_MARKERS = ("o", "s", "^")
_SHADES = {0.9: 0.2, 0.5: 0.4}
_YEARS_BEFORE = 25


def draw_plots(data: Sunspots, paths: Tensor, results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all plots into a folder and return their paths.

    Args:
        data: The series.
        paths: Paths of the neural SDE in numbers of sunspots, shape ``(n, paths, HORIZON)``.
        results: Scores by the name of the forecast.
        folder: Where to.
    """
    drawn = []
    with plt.rc_context(PLOT_STYLE):
        for name, figure in {"bands.png": _bands(data, paths), "scores.png": _scores(results)}.items():
            figure.savefig(folder / name)
            plt.close(figure)
            drawn.append(folder / name)
    return drawn


def _bands(data: Sunspots, paths: Tensor) -> Figure:
    figure, axes = plt.subplots(figsize=(9, 4.5))
    first, final = True, len(paths) - 1
    for window in sorted({*range(0, final, HORIZON), final}):
        length = min(HORIZON, final - window) or HORIZON  # the last one but one ends where the last one begins
        last = int(data.test.last[window])
        years = data.years[last : last + length + 1]
        start = data.observed[last].expand(1)  # known when the forecast was made
        for band, shade in _SHADES.items():
            low, high = (
                torch.cat([start, torch.quantile(paths[window, :, :length], (1 + side * band) / 2, dim=0)])
                for side in (-1, 1)
            )
            label = f"{band:.0%} band" if first else None
            axes.fill_between(years, low, high, color=_BLUE, alpha=shade, linewidth=0, label=label)
        middle = torch.cat([start, paths[window, :, :length].median(0).values])
        axes.plot(years, middle, color=_BLUE, linewidth=1.2, linestyle="--", label="median" if first else None)
        axes.plot(years[:1], start, color=_BLUE, marker="D", markersize=5, linestyle="", zorder=4,
                  label="start of a forecast" if first else None)  # fmt: skip
        first = False
    shown = slice(data.split - _YEARS_BEFORE, None)
    axes.plot(data.years[shown], data.observed[shown], color="black", linewidth=1, marker=".", markersize=4,
              label="observed")  # fmt: skip
    axes.axvline(float(data.years[data.split]) - 0.5, color="0.5", linewidth=1, linestyle=":")
    axes.annotate(
        "held out from here on",
        (float(data.years[data.split]), 1),
        (4, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=8,
        color="0.35",
        verticalalignment="top",
    )
    axes.set_xlim(float(data.years[shown][0]), float(data.years[-1]) + 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("year")
    axes.set_ylabel("number of sunspots (yearly mean)")
    axes.set_title(f"Forecasts of {HORIZON} years by a neural SDE, each from the years before it alone")
    axes.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return figure


def _scores(results: dict[str, Any]) -> Figure:
    figure, (covered, errors) = plt.subplots(1, 2, figsize=(9, 4))
    ahead = range(1, HORIZON + 1)
    for (name, found), colour, marker in zip(results.items(), _COLOURS, _MARKERS, strict=True):
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        for band, dashes in zip(BANDS, ("--", "-"), strict=True):
            label = name if band == BANDS[-1] else None
            covered.plot(ahead, found[f"in_{band * 100:.0f}_ahead"], linestyle=dashes, label=label, **look)
        errors.plot(ahead, found["crps_ahead"], label=name, **look)
    for band in BANDS:
        covered.axhline(band, color="0.4", linewidth=1, linestyle=":")
    covered.set_ylim(0, 1)
    covered.yaxis.set_major_formatter(PercentFormatter(1))
    covered.set_ylabel("share of the years inside the band")
    covered.set_title("Bands of 90 % (solid) and 50 % (dashed); dotted: nominal")
    covered.legend(fontsize=8, loc="lower left")
    errors.set_ylim(bottom=0)
    errors.set_ylabel("CRPS (sunspots)")
    errors.set_title("Score of the forecasts: smaller is better")
    for axes in (covered, errors):
        axes.set_xlabel("years ahead")
        axes.set_xticks(range(1, HORIZON + 1, 2))
    return figure
