"""Solve a sine-Gordon equation in a thousand to a million dimensions, with the error of a trivial fit beside its own.

    python examples/pinn/sine_gordon.py                        1000 dimensions, a few minutes
    python examples/pinn/sine_gordon.py --dimension 100        half a minute
    python examples/pinn/sine_gordon.py --optimizer adam       for comparison: slower, and less accurate
    python examples/pinn/sine_gordon.py --network perceptron   for comparison: it hardly learns what matters
    python examples/pinn/sine_gordon.py --dimension 1000000 --steps 10000   an hour; what it costs, not what it learns

In many dimensions a small error says little: much of a solution on the ball is a number times 1 - |x|^2. Every error is
printed with its skill, the error over that of the best such fit. Solutions here are scaled such that all coordinates
matter at every dimension: a sum over pairs of neighbours, each with a coefficient of its own. The network "local" knows
that neighbours interact and learns how and how much; its Laplacian is exact by two directions. It is trained by natural
gradients on points that are drawn anew in every step. A "perceptron" sees as many directions of the space as its first
layer is wide. Where there are very many dimensions, blocks of its inputs share weights, and its Laplacian is exact by
the rank of the first layer; it is trained by Adam.

Leaves a plot in results/pinn. Ctrl-C stops it after a step; the same command with --resume goes on from there.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import nn

from nde import pinn

_MANY = 20_000  # dimensions from which on the network of neighbours is too dear, and perceptrons share weights
_SHARED_BLOCK = 50
_ADAM = {"steps": 5000, "points": 100, "every": 10}
_REFERENCE_NUMBERS = 10_000_000  # at most, in the points at which errors are measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    dimension, kind = options.dimension, options.network
    mode = {"mode": "banded", "samples": 2} if kind == "local" else {"mode": "rank", "samples": None}
    case = pinn.zoo.sine_gordon(dimension, **mode)
    model = pinn.HardConstraint(_network(kind, dimension, options.width), case.domain.vanishing)
    points = pinn.RandomPoints(case.domain.sample, options.points, every=options.every)
    problem = pinn.Problem(model, {"equation": pinn.Equation(case.residual, points)})
    optimizer, scheduler = _optimizer(problem, options)
    options.output.mkdir(parents=True, exist_ok=True)
    name = f"sine_gordon_{dimension}_{kind}_{options.optimizer}"
    checkpoint = options.output / f"{name}.pt"
    trainer = pinn.Trainer(
        problem,
        optimizer,
        scheduler=scheduler,
        seed=options.seed,
        reference=case.reference(max(min(1000, _REFERENCE_NUMBERS // dimension), 10)),
        evaluate_every=max(options.steps // 50, 1),
        checkpoint=checkpoint,
        checkpoint_every=500,
    )
    if options.resume and checkpoint.exists():
        trainer.resume()
    count, first = sum(parameter.numel() for parameter in problem.parameters()), trainer.iteration
    print(f"{case.name}: {kind} network, {count:,} parameters, {options.steps} steps")
    begin, processor = time.perf_counter(), time.process_time()
    ending = trainer.run(options.steps)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)
    error, skill = trainer.history.last("error"), trainer.history.last("skill")
    print(
        f"{ending} after {trainer.iteration} steps: relative L2 error {error:.3g}, that of the trivial fit "
        f"{error / skill:.3g}, skill {skill:.3g}"
    )
    steps = max(trainer.iteration - first, 1)
    print(f"{seconds:.0f} s; {processor / steps:.3f} s of processor time for a step; {memory:.2f} GiB at most")
    draw(trainer, case.name, options.output / f"{name}.png")
    return 130 if ending == "interrupted" else 0


def _network(kind: str, dimension: int, width: int) -> nn.Module:
    if kind == "local":
        return pinn.LocalNetwork(dimension, channels=6, width=width, scale=dimension**0.5)
    if dimension < _MANY:
        return pinn.MLP(dimension, width=8 * width, depth=3)
    shared = pinn.SharedLinear(dimension, 8 * width, _SHARED_BLOCK)
    return nn.Sequential(shared, nn.Tanh(), pinn.MLP(8 * width, width=8 * width, depth=2))


def _optimizer(
    problem: pinn.Problem, options: argparse.Namespace
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    if options.optimizer == "natural":
        # fewer points than parameters, new ones in every step: much of the last direction is kept
        return pinn.NaturalGradient(problem, damping=1e-3, adaptive=False, momentum=0.95, chunk=50), None
    adam = torch.optim.Adam(problem.parameters(), options.rate)
    return adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, options.steps)


def draw(trainer: pinn.Trainer, title: str, path: Path) -> None:
    """Save a picture of the skill and the loss along the training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pinn.plot_history(trainer.history)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"plot: {path}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--dimension", type=int, default=1000)
    add("--network", choices=("local", "perceptron"), help="default: local, up to 20,000 dimensions")
    add("--optimizer", choices=("natural", "adam"), help="default: natural for the local network, else adam")
    add("--steps", type=int, help="default: 100 natural ones, 5000 of Adam")
    add(
        "--points",
        type=int,
        help="of the equation; default: 500 for natural gradients, at most two a dimension, else 100",
    )
    add("--every", type=int, help="number of steps after which points are drawn anew; default: 1, of Adam 10")
    add("--rate", type=float, default=4e-3, help="Adam's learning rate at the beginning")
    add("--width", type=int, default=16)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    add("--output", type=Path, default=Path("results/pinn"))
    options = parser.parse_args(arguments)
    options.network = options.network or ("local" if options.dimension < _MANY else "perceptron")
    options.optimizer = options.optimizer or ("natural" if options.network == "local" else "adam")
    natural = options.optimizer == "natural"
    defaults = {"steps": 100, "points": min(500, 2 * options.dimension), "every": 1} if natural else _ADAM
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name, least in (("dimension", 2), ("steps", 1), ("points", 1), ("every", 1), ("width", 1)):
        if getattr(options, name) < least:
            parser.error(f"argument --{name}: must be at least {least}, but is {getattr(options, name)}")
    if options.dimension >= _MANY and options.dimension % _SHARED_BLOCK:
        parser.error(f"argument --dimension: from {_MANY} on it must be a multiple of {_SHARED_BLOCK}")
    return options


if __name__ == "__main__":
    sys.exit(main())
