"""Draw one sample of each problem of nde.data.

python examples/data_pictures.py                    half a minute; pictures in results/data
python examples/data_pictures.py --output docs/images/data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to be run from any directory, installed or not

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image

from nde.data import (
    Advection,
    Burgers,
    ConDiff,
    Darcy,
    DiffusionReaction,
    KuramotoSivashinsky,
    NavierStokes,
    ShallowWater,
    SpectralField,
    contrast,
    draw_sample,
)

Panel = tuple[str, Any, str, bool]  # title, field, colours, whether zero is in their middle


def steady_problems() -> list[Panel]:
    """Return coefficients and solutions of Darcy flow and of ConDiff."""
    panels: list[Panel] = []
    for name, darcy in (("thresholded", Darcy(128)), ("lognormal", Darcy(128, coefficient="lognormal"))):
        sample = draw_sample(darcy, 0)
        panels.append((f"Darcy, {name}: coefficient", sample["coefficient"][0], "viridis", False))
        panels.append(("solution", sample["solution"][0], "magma", False))
    for covariance, variance in (("cubic", 0.1), ("exponential", 2.0)):
        sample = draw_sample(ConDiff(64, covariance, variance), 0)  # type: ignore[arg-type]
        k = sample["coefficient"][0]
        title = f"ConDiff, {covariance}, variance {variance:g}: ln k"
        panels.append((f"{title}\ncontrast {float(contrast(k)):.3g}", np.log(k), "viridis", False))
        panels.append(("solution", sample["solution"][0], "RdBu_r", True))
    return panels


def flows() -> list[Panel]:
    """Return frames of Navier-Stokes, diffusion-reaction and shallow water."""
    panels: list[Panel] = []
    turbulent = NavierStokes(
        points=128, viscosity=1e-4, final_time=30.0, frames=3, output_points=64, precision="single"
    )
    for frame, field in zip(
        turbulent.times[[0, 1, 3]], draw_sample(turbulent, 0)["vorticity"][[0, 1, 3], 0], strict=True
    ):
        panels.append((f"Navier-Stokes, viscosity 1e-4: t = {frame:g}", field, "RdBu_r", True))
    reaction = DiffusionReaction(points=128, frames=5)
    for frame, field in zip(
        reaction.times[[1, 3, 5]], draw_sample(reaction, 0)["concentration"][[1, 3, 5], 0], strict=True
    ):
        panels.append((f"Diffusion-reaction: u, t = {frame:g}", field, "RdBu_r", True))
    water = ShallowWater(points=128, frames=4)
    for frame, field in zip(water.times[[0, 2, 4]], draw_sample(water, 0)["height"][[0, 2, 4], 0], strict=True):
        panels.append((f"Shallow water: height, t = {frame:g}", field, "viridis", False))
    return panels


def lines() -> list[Panel]:
    """Return problems in one dimension: space across, time upwards."""
    burgers = Burgers(viscosity=1e-3, frames=200, dt=1e-3, initial=SpectralField(2.5, 7.0, sigma=49.0))
    chaos = KuramotoSivashinsky(final_time=150.0, frames=150)
    steps = Advection(points=256, frames=128, profile="steps", terms=5)
    return [
        ("Burgers, viscosity 1e-3", draw_sample(burgers, 0)["velocity"][:, 0].T, "RdBu_r", True),
        ("Kuramoto-Sivashinsky", draw_sample(chaos, 0)["velocity"][:, 0].T, "RdBu_r", True),
        ("Advection of steps", draw_sample(steps, 0)["density"][:, 0].T, "viridis", False),
    ]


def draw(panels: Sequence[Panel], columns: int, path: Path) -> None:
    """Draw fields beside each other; the first axis of a field runs to the right."""
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.5 * rows), layout="constrained")
    for axis, (title, field, colours, centred) in zip(np.ravel(axes), panels, strict=True):
        limit = float(np.abs(field).max())
        limits = {"vmin": -limit, "vmax": limit} if centred else {}
        aspect = "equal" if field.shape[0] == field.shape[1] else "auto"
        image = axis.imshow(np.asarray(field).T, origin="lower", cmap=colours, aspect=aspect, **limits)
        axis.set_title(title, fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
        bar = figure.colorbar(image, ax=axis, shrink=0.8)
        bar.ax.tick_params(labelsize=6)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    # a palette of as many colours as the eye tells apart makes the file a third as large
    with Image.open(path) as full:
        small = full.convert("RGB").quantize(192)
    small.save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/data"), help="folder of the pictures")
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    for name, panels, columns in (("steady", steady_problems, 4), ("flows", flows, 3), ("lines", lines, 3)):
        draw(panels(), columns, folder / f"{name}.png")
        print(folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
