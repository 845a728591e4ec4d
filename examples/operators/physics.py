"""An operator learned from an equation alone, without a single solution: its residual by jets is the loss.

    python examples/operators/physics.py            a minute
    python examples/operators/physics.py --quick    to see it work, not to compare

``-u'' + u^3 = f`` on the unit interval with ``u = 0`` at its ends. A DeepONet reads ``f`` at 33 sensors and answers
anywhere; a factor ``x (1 - x)`` gives it the boundary values. Its second derivative at random points is a jet through
the unmodified network, so that the loss is the equation. Solutions by finite differences and Newton's method are for
the test alone. Prints the error beside that of the best multiple of the linear equation's solution, and leaves a
picture in results/operators. Ctrl-C stops it; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import numpy as np
import torch
from torch import Tensor, nn

from nde.operators import DeepONet
from nde.taylor import jet
from nde.training import Loop

SENSORS, WAVES, BATCH, POINTS, STEPS_IN_EPOCH = 33, 5, 32, 24, 50


def amplitudes(count: int, seed: int) -> Tensor:
    """Draw right-hand sides: sums of sines, shape ``(count, waves)``."""
    generator = torch.Generator().manual_seed(seed)
    return 40 * torch.randn(count, WAVES, generator=generator) / torch.arange(1, WAVES + 1)


def source(a: Tensor, x: Tensor) -> Tensor:
    """Return right-hand sides at points ``(n,)``, shape ``(count, n)``."""
    return a @ torch.sin(math.pi * torch.arange(1, WAVES + 1)[:, None] * x)


def answer(model: nn.Module, a: Tensor) -> Callable[[Any], Any]:
    """Return the answers to right-hand sides as a function of points ``(n, 1)``."""
    sensors = torch.linspace(0, 1, SENSORS)
    values = source(a, sensors) / 40

    def solution(x: Any) -> Any:
        return (x * (1 - x))[:, 0] * model(values, x)[:, 0]

    return solution


def residual(model: nn.Module, a: Tensor, x: Tensor) -> Tensor:
    """Return ``-u'' + u^3 - f`` at points ``(n,)``, shape ``(count, n)``."""
    place = x.unsqueeze(1)
    series = jet(answer(model, a), place, torch.ones_like(place), order=2)
    value, curvature = series.coefficients[0], 2 * series.coefficients[2]
    return -curvature + value**3 - source(a, x)


def exact(a: Tensor, cells: int = 400) -> tuple[Tensor, Tensor]:
    """Return solutions by finite differences and Newton's method, at the vertices, and those without the cube."""
    from scipy.linalg import solve_banded

    x = np.linspace(0, 1, cells + 1)
    inner, h = x[1:-1], 1 / cells
    bands = np.zeros((3, cells - 1))
    bands[0, 1:] = bands[2, :-1] = -1 / h**2
    found, linear = [], []
    for f in source(a.double(), torch.from_numpy(inner)).numpy():
        u = np.zeros(cells - 1)
        for iteration in range(30):
            bands[1] = 2 / h**2 + 3 * u**2
            padded = np.pad(u, 1)
            off = (2 * u - padded[:-2] - padded[2:]) / h**2 + u**3 - f
            change = solve_banded((1, 1), bands, off)
            u = u - change
            if iteration == 0:
                linear.append(np.pad(u, 1))
            if np.abs(change).max() < 1e-12:
                break
        found.append(np.pad(u, 1))
    return torch.from_numpy(np.stack(found)).float(), torch.from_numpy(np.stack(linear)).float()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps")
    parser.add_argument("--epochs", type=int, default=60, help=f"of {STEPS_IN_EPOCH} steps")
    parser.add_argument("--output", type=Path, default=Path("results/operators"))
    options = parser.parse_args(arguments)
    epochs = 1 if options.quick else options.epochs
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = DeepONet(SENSORS, dims=1, width=64, depth=4)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)

    def batches(epoch: int) -> list[int]:
        return [epoch * STEPS_IN_EPOCH + step for step in range(STEPS_IN_EPOCH)]

    def loss(model: nn.Module, number: int) -> Tensor:
        a = amplitudes(BATCH, seed=number)  # new functions and points in every step
        x = torch.rand(POINTS, generator=torch.Generator().manual_seed(number))
        off = residual(model, a, x)
        value: Tensor = (off.square().mean(1) / source(a, x).square().mean(1).clamp_min(1.0)).mean()
        return value

    loop = Loop(
        model,
        optimizer,
        loss,
        batches,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * STEPS_IN_EPOCH),
        checkpoint=options.output / f"physics-{epochs}epochs.pt",
    )
    start = time.process_time()
    loop.run(epochs)
    if loop.interrupted:
        print("\nInterrupted. What was done is saved: the same command goes on from there.", file=sys.stderr)
        return 130
    a = amplitudes(100, seed=-1 & 0xFFFF_FFFF)
    solution, linear = exact(a)
    x = torch.linspace(0, 1, solution.shape[1])
    with torch.no_grad():
        mine = answer(model, a)(x.unsqueeze(1))
    best = linear * ((linear * solution).sum(1) / linear.square().sum(1)).unsqueeze(1)

    def error(guess: Tensor) -> float:
        return float(((guess - solution).norm(dim=1) / solution.norm(dim=1)).mean())

    print(
        f"\nTrained in {time.process_time() - start:.0f} s of processor time, without solutions. Relative L2 error of "
        f"100 new functions: {error(mine):.4f};\n"
        f"of the best multiple of the linear equation's solution: {error(best):.4f}"
    )
    draw(x, a, mine, solution, options.output / "physics.png")
    return 0


def draw(x: Tensor, a: Tensor, mine: Tensor, solution: Tensor, path: Path) -> None:
    """Save a picture of a few right-hand sides and their solutions."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for index in range(4):
        left.plot(x, source(a[index : index + 1], x)[0], color=f"C{index}")
        right.plot(x, solution[index], color=f"C{index}", linewidth=2.5, alpha=0.4)
        right.plot(x, mine[index], "--", color=f"C{index}")
    left.set(title="right-hand sides", xlabel="x")
    right.set(title="solutions; dashed: the operator's answers", xlabel="x")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"picture: {path}")


if __name__ == "__main__":
    sys.exit(main())
