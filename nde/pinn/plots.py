"""Pictures of training and of solutions; needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nde.pinn.geometry import Geometry
from nde.pinn.problem import Problem
from nde.pinn.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_history", "plot_residual", "plot_solution"]

Model = Callable[[Any], Any]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib (or nde[pinn]).") from error
    return pyplot


def plot_history(history: History, axes: Axes | None = None) -> Figure:
    """Draw losses and errors over steps, on logarithmic scales.

    Args:
        history: Of a `Trainer`.
        axes: Where to draw; None: a new figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: Nothing has been written down.
    """
    names = [name for name in history.values if name.startswith("loss") or name == "error"]
    if not names:
        raise ValueError("the history is empty. Run the trainer first.")
    figure, axes = _axes(axes)
    for name in names:
        style = {"linewidth": 2.0} if name in ("loss", "error") else {"linewidth": 1.0, "linestyle": "--"}
        axes.plot(history.steps[name], history.values[name], label=name, **style)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.legend()
    return figure


def plot_solution(
    model: Model,
    geometry: Geometry,
    *,
    solution: Callable[[Tensor], Tensor] | None = None,
    component: int = 0,
    resolution: int = 201,
) -> Figure:
    """Draw a model over a domain of one or two dimensions, and beside it a known solution and the error.

    Args:
        model: ``(n, d) -> (n,)``, ``(n, 1)`` or ``(n, C)``.
        geometry: The domain; a `TimeProduct` over an interval is drawn over ``(t, x)``.
        solution: ``(n, d) -> (n,)`` or ``(n, C)``.
        component: Which output is drawn.
        resolution: Points along each axis.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The domain has more than two dimensions.
    """

    def chosen(value: Tensor) -> Tensor:
        return value if value.ndim == 1 else value[:, component]

    fields: list[tuple[str, Callable[[Tensor], Tensor]]] = [("model", lambda x: chosen(model(x)))]
    if solution is not None:
        fields += [
            ("solution", lambda x: chosen(solution(x))),
            ("error", lambda x: (chosen(model(x)) - chosen(solution(x))).abs()),
        ]
    return _plot_fields(fields, geometry, resolution, _like(model))


def plot_residual(problem: Problem, name: str, geometry: Geometry, *, resolution: int = 201) -> Figure:
    """Draw the absolute residual of a condition over a domain of one or two dimensions.

    Args:
        problem, name: The problem and the name of its condition.
        geometry, resolution: See `plot_solution`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The domain has more than two dimensions.
    """
    return _plot_fields([(f"residual of {name}", lambda x: problem.sizes(name, x))], geometry, resolution, problem.like)


def _like(model: Model) -> Tensor:
    if isinstance(model, torch.nn.Module):
        for parameter in model.parameters():
            return parameter
    return torch.empty(0)


def _axes(axes: Axes | None) -> tuple[Figure, Axes]:
    if axes is None:
        return _pyplot().subplots(layout="constrained")
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes of a user belong to a figure
    return figure, axes


@torch.no_grad()
def _plot_fields(
    fields: list[tuple[str, Callable[[Tensor], Tensor]]], geometry: Geometry, resolution: int, like: Tensor
) -> Figure:
    low, high = (bound.tolist() for bound in geometry.bounds)
    if len(low) > 2:
        raise ValueError(f"a domain of {len(low)} dimensions cannot be drawn. Draw a section: lambda x: model(...).")
    lines = [torch.linspace(a, b, resolution, dtype=like.dtype) for a, b in zip(low, high, strict=True)]
    points = torch.cartesian_prod(*lines).reshape(-1, len(low)).to(like.device)
    inside = geometry.contains(points).cpu()
    pyplot = _pyplot()
    shown = [("model and solution", fields[:2]), *((title, [(title, f)]) for title, f in fields[2:])]
    panels = shown if len(low) == 1 else [(title, [(title, f)]) for title, f in fields]
    figure, all_axes = pyplot.subplots(
        1, len(panels), figsize=(4.5 * len(panels), 3.6), squeeze=False, layout="constrained"
    )
    grids: dict[str, Tensor] = {}
    for title, function in fields:
        grids[title] = function(points).cpu().masked_fill(~inside, float("nan"))
    # a model and the solution are compared by eye: one scale of colours for both
    common = torch.cat([grids[title] for title, _ in fields[:2]])
    common = common[torch.isfinite(common)]
    limits = {"vmin": float(common.min()), "vmax": float(common.max())} if len(common) else {}
    for axes, (title, drawn) in zip(all_axes[0], panels, strict=True):
        axes.set_title(title if len(drawn) == 1 or len(low) == 2 else "")
        for label, _ in drawn:
            values = grids[label]
            if len(low) == 1:
                axes.plot(lines[0].numpy(), values.numpy(), label=label)
                axes.legend()
                continue
            grid = values.reshape(resolution, resolution).numpy()
            horizontal, vertical = (1, 0) if hasattr(geometry, "start") else (0, 1)  # time runs to the right
            shade = axes.pcolormesh(
                lines[horizontal].numpy(),
                lines[vertical].numpy(),
                grid if horizontal else grid.T,
                shading="auto",
                rasterized=True,
                **(limits if label in ("model", "solution") else {}),
            )
            figure.colorbar(shade, ax=axes)
            if not horizontal:
                axes.set_aspect("equal")
            axes.set_xlabel("t" if horizontal else "x")
            axes.set_ylabel("x" if horizontal else "y")
    return figure
