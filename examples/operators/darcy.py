"""Darcy flow: FNO against LocalNO at the resolution of the training, and at twice as many cells without training there.

    python examples/operators/darcy.py            two minutes; one seed
    python examples/operators/darcy.py --quick    to see it work, not to compare
    python examples/operators/darcy.py --seeds 3 --samples 300 --epochs 40

Both learn the map from a coefficient with jumps to the solution, on 32 x 32 cells, and are measured on the same
functions on 32 x 32 and 64 x 64 cells: coefficients are constant on 32 x 32 cells, solutions are means of one solve on
128 x 128. Prints a table of relative errors and leaves a picture in results/operators. Ctrl-C stops it; the same
command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from nde.data import Darcy, coarsen, generate
from nde.operators import FNO, LocalNO, NeuralOperator, UniformGrid
from nde.operators.train import RelativeL2, Supervised, Trainer

CELLS, FINE_CELLS, SOLVER_CELLS = 32, 64, 128
TEST_SAMPLES = 40
WIDTH, MODES, DEPTH = 16, 8, 4
GRID = UniformGrid()


@dataclass(frozen=True)
class Samples:
    """The same functions at two resolutions, scaled to have values about one."""

    train: TensorDataset
    test: TensorDataset
    fine_test: TensorDataset


def samples(count: int, folder: Path) -> Samples:
    """Draw the data, or read what an earlier run has drawn."""
    data = generate(Darcy(points=SOLVER_CELLS, coefficient_points=CELLS), count + TEST_SAMPLES, folder=folder)
    parts = {}
    for cells in (CELLS, FINE_CELLS):
        fields = [torch.from_numpy(coarsen(data[name], SOLVER_CELLS // cells)) for name in ("coefficient", "solution")]
        # 3 and 12 become -1 and 1; solutions are about a hundredth
        parts[cells] = ((fields[0] - 7.5) / 4.5, 100 * fields[1])
    first, rest = slice(None, count), slice(count, None)
    return Samples(
        TensorDataset(*(field[first] for field in parts[CELLS])),
        TensorDataset(*(field[rest] for field in parts[CELLS])),
        TensorDataset(*(field[rest] for field in parts[FINE_CELLS])),
    )


def operators(seed: int) -> dict[str, NeuralOperator]:
    """Return both networks, which differ by 3 % in their numbers of parameters."""
    torch.manual_seed(seed)
    fno = FNO(1, 1, width=WIDTH, modes=MODES, depth=DEPTH, grid=GRID)
    torch.manual_seed(seed)
    return {"FNO": fno, "LocalNO": LocalNO(1, 1, width=WIDTH, modes=MODES, depth=DEPTH, grid=GRID)}


def train(model: NeuralOperator, data: Samples, epochs: int, seed: int, checkpoint: Path) -> Trainer:
    """Train a network, or go on where an earlier run stopped."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    trainer = Trainer(
        model, data.train, optimizer, Supervised(RelativeL2(GRID)), batch_size=10, seed=seed, checkpoint=checkpoint
    )
    steps = epochs * trainer.steps_per_epoch
    trainer.scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    trainer.fit(epochs)
    return trainer


def draw(data: Samples, models: dict[str, NeuralOperator], path: Path) -> None:
    """Draw a coefficient, its solution, and both networks' errors at twice the resolution of their training."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    coefficient, solution = (field[:1] for field in data.fine_test.tensors)
    with torch.no_grad():
        errors = {name: model(coefficient) - solution for name, model in models.items()}
    panels: list[tuple[str, Tensor, str, float | None]] = [
        ("coefficient", 4.5 * coefficient + 7.5, "viridis", None),
        ("solution x 100", solution, "magma", None),
    ]
    limit = max(float(error.abs().max()) for error in errors.values())
    panels += [
        (f"{name}: error on {FINE_CELLS} x {FINE_CELLS}", error, "RdBu_r", limit) for name, error in errors.items()
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(3 * len(panels), 2.8), layout="constrained")
    for axis, (title, field, colours, bound) in zip(axes, panels, strict=True):
        limits = {} if bound is None else {"vmin": -bound, "vmax": bound}
        image = axis.imshow(field[0, 0].T.numpy(), origin="lower", cmap=colours, **limits)
        axis.set(title=title, xticks=[], yticks=[])
        figure.colorbar(image, ax=axis, shrink=0.8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples, two epochs")
    parser.add_argument("--samples", type=int, default=200, help="for training")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/operators"))
    options = parser.parse_args(arguments)
    count, epochs = (20, 2) if options.quick else (options.samples, options.epochs)
    options.output.mkdir(parents=True, exist_ok=True)

    data = samples(count, options.output / "darcy")
    errors: dict[str, list[tuple[float, float]]] = {}
    lines = {}
    for seed in range(options.seeds):
        models = operators(seed)
        for name, model in models.items():
            start = time.process_time()
            run = f"darcy-{name}-{count}samples-{epochs}epochs-seed{seed}.pt"
            trainer = train(model, data, epochs, seed, options.output / run)
            spent = time.process_time() - start
            errors.setdefault(name, []).append((trainer.evaluate(data.test), trainer.evaluate(data.fine_test)))
            parameters = sum(parameter.numel() for parameter in model.parameters())
            lines[name] = f"{parameters:>12,}{spent:>14.0f}"
        if seed == 0:
            draw(data, models, options.output / "darcy.png")
    print(
        f"\n{'':10}{'parameters':>12}{'CPU seconds':>14}{f'{CELLS} x {CELLS}':>12}{f'{FINE_CELLS} x {FINE_CELLS}':>12}"
    )
    for name, found in errors.items():
        means = "".join(f"{statistics.mean(values):>12.4f}" for values in zip(*found, strict=True))
        print(f"{name:10}{lines[name]}{means}")
    print(f"\nRelative L2 errors of {TEST_SAMPLES} test samples, mean over {options.seeds} seed(s).")
    print(f"In {options.output}: darcy.png, the data and the networks.")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print("\nInterrupted. What was done is saved: the same command goes on from there.", file=sys.stderr)
        raise SystemExit(130) from None
