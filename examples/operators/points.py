"""One operator on scattered points: trained on a few clouds, asked on clouds it has not seen and on grids.

    python examples/operators/points.py            two minutes
    python examples/operators/points.py --quick    to see it work, not to compare

The map is from the right-hand side of ``u - Laplace(u) / 50 = f`` with walls without flux to its solution, in closed
form for sums of cosines, so that both are known at any points. A LocalNO is trained on four clouds of uneven points,
and measured on new functions: on these clouds, on other clouds of as many points, of four times as many, and on grids.
Prints the errors and leaves a picture in results/operators. Ctrl-C stops it; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor, nn

from nde.operators import LocalNO, PointCloud, UniformGrid
from nde.training import Loop

WAVES, DIFFUSION, POINTS, CLOUDS, BATCH = 8, 1 / 50, 500, 4, 8


def functions(count: int, seed: int) -> Tensor:
    """Draw amplitudes of cosines, shape ``(count, waves, waves)``, which fall with the frequency."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.arange(WAVES)
    falling = (1 + (k[:, None] ** 2 + k[None] ** 2) / 8) ** -0.5
    return torch.randn(count, WAVES, WAVES, generator=generator) * falling


def at(amplitudes: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return right-hand sides and solutions at points ``(n, 2)``, shape ``(count, 1, n)`` each."""
    k = torch.arange(WAVES, dtype=amplitudes.dtype)
    first, second = (torch.cos(math.pi * positions[:, axis, None] * k) for axis in range(2))
    damped = amplitudes / (1 + DIFFUSION * math.pi**2 * (k[:, None] ** 2 + k[None] ** 2))
    source, solution = (
        torch.einsum("cij,ni,nj->cn", part, first, second).unsqueeze(1) for part in (amplitudes, damped)
    )
    return source, solution


def cloud(points: int, seed: int) -> PointCloud:
    """Draw uneven points: half of them anywhere, half of them near a corner."""
    generator = torch.Generator().manual_seed(seed)
    anywhere = torch.rand(points - points // 2, 2, generator=generator)
    corner = torch.rand(points // 2, 2, generator=generator).square()
    return PointCloud(torch.cat([anywhere, corner]))


def error(model: nn.Module, amplitudes: Tensor, grid: PointCloud | UniformGrid, cells: int | None = None) -> float:
    """Return the mean relative L2 error, by the grid's weights."""
    if isinstance(grid, PointCloud):
        source, solution = at(amplitudes, grid.points.float())
        weights = grid.weights.float()
    else:
        shape = (cells or 0, cells or 0)
        source, solution = at(amplitudes, grid.positions(shape).flatten(1).T.float())
        source, solution = (field.reshape(*field.shape[:2], *shape) for field in (source, solution))
        weights = torch.ones(())
    with torch.no_grad():
        off = (model(source, grid=grid) - solution).square() * weights
    norms = ((solution.square() * weights).flatten(1).sum(1), off.flatten(1).sum(1))
    return float((norms[1] / norms[0]).sqrt().mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--samples", type=int, default=200, help="functions for training")
    parser.add_argument("--output", type=Path, default=Path("results/operators"))
    options = parser.parse_args(arguments)
    count, epochs = (16, 1) if options.quick else (options.samples, options.epochs)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = LocalNO(1, 1, width=12, depth=3, modes=4, radii=(0.15, 0.1), boundary="reflect")
    clouds = [cloud(POINTS, seed) for seed in range(CLOUDS)]
    train = functions(count, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=1e-4)
    steps = epochs * -(-count // BATCH)

    def batches(epoch: int) -> list[tuple[Tensor, int]]:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch)).split(BATCH)
        return [(indices, (epoch + place) % CLOUDS) for place, indices in enumerate(order)]

    def loss(model: nn.Module, batch: tuple[Tensor, int]) -> Tensor:
        indices, which = batch
        source, solution = at(train[indices], clouds[which].points.float())
        weights = clouds[which].weights.float()
        off = ((model(source, grid=clouds[which]) - solution).square() * weights).flatten(1).sum(1)
        value: Tensor = (off / (solution.square() * weights).flatten(1).sum(1)).sqrt().mean()
        return value

    loop = Loop(
        model,
        optimizer,
        loss,
        batches,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps),
        checkpoint=options.output / f"points-{count}samples-{epochs}epochs.pt",
    )
    start = time.process_time()
    loop.run(epochs)
    if loop.interrupted:
        print("\nInterrupted. What was done is saved: the same command goes on from there.", file=sys.stderr)
        return 130
    model.eval()
    test = functions(40, seed=2)
    other, finer = cloud(POINTS, 100), cloud(4 * POINTS, 101)
    print(
        f"\nTrained in {time.process_time() - start:.0f} s of processor time. "
        f"Relative L2 errors of {len(test)} functions:"
    )
    for name, value in (
        (f"the clouds of the training, {POINTS} points", sum(error(model, test, one) for one in clouds) / CLOUDS),
        (f"another cloud, {POINTS} points", error(model, test, other)),
        (f"another cloud, {4 * POINTS} points", error(model, test, finer)),
        ("a grid of 32 x 32 cells", error(model, test, UniformGrid(), 32)),
        ("a grid of 64 x 64 cells", error(model, test, UniformGrid(), 64)),
    ):
        print(f"  {name:<44}{value:.4f}")
    draw(model, test[:1], finer, options.output / "points.png")
    return 0


def draw(model: nn.Module, amplitudes: Tensor, where: PointCloud, path: Path) -> None:
    """Save a picture of a right-hand side, its solution and the error on a cloud."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    source, solution = at(amplitudes, where.points.float())
    with torch.no_grad():
        off = model(source, grid=where) - solution
    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    panels = (("right-hand side", source, "viridis"), ("solution", solution, "magma"), ("error", off, "RdBu_r"))
    for axis, (title, field, colours) in zip(axes, panels, strict=True):
        limit = float(off.abs().max())
        limits = {"vmin": -limit, "vmax": limit} if title == "error" else {}
        dots = axis.scatter(*where.points.T, c=field[0, 0], s=5, cmap=colours, **limits)
        axis.set(title=title, xticks=[], yticks=[], aspect="equal")
        figure.colorbar(dots, ax=axis, shrink=0.8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"picture: {path}")


if __name__ == "__main__":
    sys.exit(main())
