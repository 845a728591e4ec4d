"""What a training step of a physics-informed network costs: ``python -m benchmarks.pinn``.

Steps of Adam on the scaled sine-Gordon family with 100 points, drawing points and computing the source included, from a
thousand dimensions to a million; beside the same loss by nested reverse mode, coordinate by coordinate, where that is
possible; and steps of natural gradient on Poisson's equation. Least processor time of several; memory is the process's
largest.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from nde import pinn

__all__ = ["main"]

_POINTS, _EVERY, _SHARED_FROM = 100, 10, 20_000


def _network(dimension: int) -> nn.Module:
    torch.manual_seed(0)
    if dimension < _SHARED_FROM:
        return pinn.MLP(dimension, width=128, depth=3)
    shared = pinn.SharedLinear(dimension, 128, 50)
    return nn.Sequential(shared, nn.Tanh(), pinn.MLP(128, width=128, depth=2))


def _many(dimension: int, steps: int) -> float:
    """Return the mean seconds of a step over whole turns of drawing points anew."""
    case = pinn.zoo.sine_gordon(dimension, mode="rank", samples=None)
    model = pinn.HardConstraint(_network(dimension), case.domain.vanishing)
    points = pinn.RandomPoints(case.domain.sample, _POINTS, every=_EVERY)
    problem = pinn.Problem(model, {"equation": pinn.Equation(case.residual, points)})
    trainer = pinn.Trainer(problem, torch.optim.Adam(problem.parameters(), 1e-3), progress=False)
    trainer.run(_EVERY)
    start = time.process_time()
    trainer.run(_EVERY + steps)
    return (time.process_time() - start) / steps


def _nested(dimension: int, repeats: int) -> float:
    """Return the least seconds of a step by two reverse passes for each coordinate of a random sixteenth part."""
    case = pinn.zoo.sine_gordon(dimension, mode="rank", samples=None)
    model = pinn.HardConstraint(_network(dimension), case.domain.vanishing)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        x = case.domain.sample(_POINTS, dtype=torch.float32).requires_grad_()
        value = model(x)[:, 0]
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        total = torch.zeros_like(value)
        for place in torch.randperm(dimension)[:16].tolist():
            (second,) = torch.autograd.grad(slope[:, place].sum(), x, create_graph=True)
            total = total + second[:, place]
        loss = (dimension / 16 * total + value.sin()).square().mean() / dimension**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return _least(step, repeats)


def _natural(width: int, count: int, repeats: int) -> float:
    torch.manual_seed(0)
    case = pinn.zoo.poisson_2d()
    model = pinn.HardConstraint(pinn.MLP(2, width=width, depth=1).double(), case.domain.vanishing)
    points = pinn.RandomPoints(case.domain.sample, count, every=None, method="sobol")
    problem = pinn.Problem(model, {"equation": pinn.Equation(case.residual, points)})
    problem.refresh()
    optimizer = pinn.NaturalGradient(problem)
    return _least(lambda: optimizer.step(), repeats)


def _least(run: Callable[[], object], repeats: int) -> float:
    best = math.inf
    for _ in range(repeats + 1):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"imports: {_memory():.2f} GiB\n")
    print("| dimensions | exact Laplacian, a step | nested reverse, 16 of d | memory |\n| ---: | ---: | ---: | ---: |")
    for dimension in options.dimensions:
        mine = _many(dimension, options.steps)
        theirs = f"{_nested(dimension, 2) * 1e3:.0f} ms" if dimension <= 10_000 else "-"
        print(f"| {dimension:,} | {mine * 1e3:.0f} ms | {theirs} | {_memory():.2f} GiB |", flush=True)
    print("\n| natural gradient, Poisson | a step |\n| --- | ---: |")
    for width, count in ((32, 400), (64, 900), (128, 1600)):
        print(f"| 2-{width}-1, {count} points | {_natural(width, count, 3) * 1e3:.0f} ms |", flush=True)


if __name__ == "__main__":
    main()
