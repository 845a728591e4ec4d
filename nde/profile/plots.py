"""Pictures of a recording: along the span, over the training, over the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from nde.profile.solve_record import SolveRecord
from nde.profile.statistics import Group, groups, steps_along
from nde.profile.summary import counted

if TYPE_CHECKING:
    from nde.profile.cost import Cost

__all__ = ["plot_along", "plot_cost", "plot_samples", "plot_training"]

_BINS, _MOST_ROWS = 48, 400


def plot_cost(cost: Cost, label: str | None = None) -> Any:
    """Return a matplotlib figure of one field's solves: steps along the span, over the training, over the samples.

    Args:
        cost: The recording.
        label: Which field; None for the one with the most evaluations.

    Raises:
        ValueError: Nothing was recorded, or no field has this name.
        ImportError: matplotlib is not installed.
    """
    group = _chosen(cost, label)
    plt = _pyplot()
    has_samples = bool(group.hard_samples())
    figure, axes = plt.subplots(
        1, 3 if has_samples else 2, figsize=(14 if has_samples else 10, 4), layout="constrained"
    )
    plot_along(group.solves[-1], axes[0])
    plot_training(group, axes[1])
    if has_samples:
        plot_samples(group, axes[2])
    figure.suptitle(f"{group.label}: {group.method}, {counted(len(group.solves), 'solve')}", fontsize=11)
    return figure


def plot_along(solve: SolveRecord, axes: Any) -> None:
    """Draw step sizes, errors and stiffness along the span of one solve; rejected steps as crosses."""
    columns = solve.steps.columns()
    taken, refused = columns["accepted"], ~columns["accepted"]
    middle, size = columns["t"] + 0.5 * columns["h"], numpy.abs(columns["h"])
    axes.set_yscale("log")
    # steps of samples of their own are no sequence
    axes.plot(
        middle[taken], size[taken], "." if solve.per_sample else ".-", color="C0", label="step size", linewidth=0.8
    )
    if refused.any():
        axes.plot(middle[refused], size[refused], "x", color="C3", label="rejected")
    for name, colour in (("error", "C1"), ("stiffness", "C2")):
        values = columns[name][taken]
        chosen = numpy.isfinite(values) & (values > 0)
        if chosen.any():
            title = "error, in tolerances" if name == "error" else name
            axes.plot(middle[taken][chosen], values[chosen], ".", color=colour, label=title, markersize=4)
    axes.set(xlabel="t", title="the last solve")
    if len(middle):
        axes.legend(fontsize=8, loc="upper left", framealpha=0.8)  # finding the best place takes long among many points
    else:
        axes.text(0.5, 0.5, "no steps", ha="center", transform=axes.transAxes)


def plot_training(group: Group, axes: Any) -> None:
    """Draw where along the span steps were taken, solve by solve, with the evaluations as a line."""
    solves: Sequence[SolveRecord] = group.solves
    stride = -(-len(solves) // _MOST_ROWS)
    shown = solves[::stride]
    first, last = group.span
    image = numpy.stack([steps_along(solve.steps.columns(), first, last, _BINS) for solve in shown], 1)
    extent = (0, len(solves), first, last)
    drawn = axes.imshow(
        image, aspect="auto", origin="lower", extent=extent, cmap="viridis", interpolation="nearest", vmin=0
    )
    axes.figure.colorbar(drawn, ax=axes, label="attempted steps", shrink=0.8)
    axes.set(xlabel="solve", ylabel="t", title="steps and evaluations, solve by solve")
    other = axes.twinx()
    places = (numpy.arange(len(shown)) + 0.5) * stride
    other.plot(places, [solve.forward.field for solve in shown], color="white", linewidth=2.2)
    other.plot(places, [solve.forward.field for solve in shown], color="C3", linewidth=1.2)
    other.set_ylim(bottom=0)
    other.set_ylabel("evaluations (line)")


def plot_samples(group: Group, axes: Any) -> None:
    """Draw the steps of the samples, hardest first; or how often each decided the error of a step of all."""
    hard = group.hard_samples(most=10**9)
    axes.plot([share for _, share in hard], ".-", linewidth=0.8)
    own = group.solves[0].per_sample
    axes.set(
        xlabel="samples, hardest first",
        ylabel="share of the steps" if own else "share of the steps whose error it decided",
        title=f"work per sample; hardest: {', '.join(str(sample) for sample, _ in hard[:3])}",
    )
    axes.set_ylim(bottom=0)


def _chosen(cost: Cost, label: str | None) -> Group:
    found = groups(cost.solves)
    if not found:
        raise ValueError("nothing was recorded, so that there is nothing to draw. Solve inside the block of record().")
    if label is None:
        return max(found, key=lambda group: int(group.evaluations.sum()))
    for group in found:
        if group.label == label:
            return group
    names = ", ".join(sorted({group.label for group in found}))
    raise ValueError(f"label must be one of {names}, but is {label!r}.")


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'nde[plots]'.") from error
    return pyplot
