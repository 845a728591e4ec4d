"""The plot of the spiral."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch
from torch import nn

from examples.common import PLOT_STYLE
from examples.spiral_model import TIMES, Moments

__all__ = ["draw_plot"]

_LOOKS = (
    ("#000000", "D", "-"),
    ("#D55E00", "s", "--"),
    ("#0072B2", "o", "-."),
    ("#009E73", "^", ":"),
    ("#999999", "v", "-"),
    ("#CC79A7", "x", "--"),
)
_SAMPLES = 2000


def draw_plot(target: Moments, models: dict[str, nn.Module], figures: list[dict[str, Any]], folder: Path) -> Path:
    """Draw the plot into a folder and return its path.

    Args:
        target: The moments that were to be matched.
        models: Trained models of the first seed, by the name of the row.
        figures: Figures of all runs.
        folder: Where to.
    """
    with plt.rc_context(PLOT_STYLE), torch.no_grad():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4))
        for axes, part, title in ((left, 0, "Means of the two coordinates"), (middle, 1, "Variances")):
            axes.plot(TIMES, target[part], color="0.6", marker="o", markersize=3.5, linestyle="")
            axes.plot([], [], color="0.6", marker="o", markersize=3.5, linestyle="", label="spiral")
            for (name, model), (colour, _, dashes) in zip(models.items(), _LOOKS, strict=False):
                found = Moments.of(model(_SAMPLES, seed=1).ys)[part]
                axes.plot(TIMES, found, color=colour, linestyle=dashes, linewidth=1.2)
                axes.plot([], [], color=colour, linestyle=dashes, linewidth=1.2, label=name)
            axes.set_title(f"{title} (first seed)")
            axes.set_xlabel("t")
        left.legend(fontsize=8)
        for name, (colour, marker, _) in zip(models, _LOOKS, strict=False):
            chosen = [found for found in figures if found["row"] == name]
            right.scatter(
                [found["evals"] for found in chosen],
                [found["loss"] for found in chosen],
                color=colour,
                marker=marker,
                s=28,
                label=name,
            )
        right.set_xlim(0, 1.1 * max(found["evals"] for found in figures))
        right.set_ylim(0, 1.1 * max(found["loss"] for found in figures))
        right.axvline(118, color="0.5", linewidth=1, linestyle=":", label="one step between outputs")
        right.set_xlabel("evaluations of the drift per prediction")
        right.set_ylabel("loss")
        right.set_title("Loss against cost, one point per seed")
        right.legend(fontsize=8, loc="lower left")
        path = folder / "spiral.png"
        figure.savefig(path)
        plt.close(figure)
    return path
