"""Solve Allen and Cahn's, Burgers' or Poisson's equation with a small network and natural gradients.

    python examples/pinn/natural_gradient.py                    Allen-Cahn, about a minute and a half
    python examples/pinn/natural_gradient.py --equation burgers Burgers with its shock, the same
    python examples/pinn/natural_gradient.py --equation poisson Poisson on the unit square, seconds
    python examples/pinn/natural_gradient.py --full             to the accuracy of docs/pinn.md

Prints the error against the reference and leaves plots in results/pinn. Ctrl-C stops it after a step; the same command
with --resume goes on from there, to the same numbers as without a break.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor, nn

from examples.pinn import runs
from nde import pinn

STEPS = {"allen-cahn": (150, 800), "burgers": (150, 500), "poisson": (100, 400)}  # by default, with --full


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--equation", choices=sorted(STEPS), default="allen-cahn")
    options = runs.options_of(parser, arguments)
    runs.prepare(options)
    make = {"allen-cahn": allen_cahn, "burgers": burgers, "poisson": poisson}[options.equation]
    case, problem = make(options.points or 2000)
    optimizer = pinn.NaturalGradient(problem, adaptive=options.equation != "poisson")  # which is linear
    steps = options.steps or STEPS[options.equation][options.full]
    trainer, ending = runs.train(options.equation, problem, optimizer, steps, options, case.reference(4000))
    runs.draw(trainer, case, options.output, options.equation)
    return 130 if ending == "interrupted" else 0


def allen_cahn(points: int) -> tuple[pinn.zoo.Case, pinn.Problem]:
    """Return Allen and Cahn's equation with a model that is periodic and has the initial values by construction."""
    case = pinn.zoo.allen_cahn_1d()
    embedding = pinn.PeriodicEmbedding(2, {0: 2.0})
    network = nn.Sequential(embedding, pinn.MLP(embedding.outputs, width=20, depth=3))

    def start(x: Tensor) -> Tensor:
        return x[..., 0] ** 2 * torch.cos(math.pi * x[..., 0])

    model = pinn.HardConstraint(network, lambda x: x[..., 1], start)  # the time, which is 0 at the start
    inside = pinn.ResidualPoints(case.domain.sample, points, every=20, pool=5)
    return case, pinn.Problem(model, {"equation": pinn.Equation(case.residual, inside)})


def burgers(points: int) -> tuple[pinn.zoo.Case, pinn.Problem]:
    """Return Burgers' equation with a model that has the initial and boundary values by construction."""
    case = pinn.zoo.burgers_1d()

    def factor(x: Tensor) -> Tensor:
        return case.domain.vanishing(x) * x[..., 1]

    model = pinn.HardConstraint(pinn.MLP(2, width=20, depth=3), factor, lambda x: -torch.sin(math.pi * x[..., 0]))
    inside = pinn.ResidualPoints(case.domain.sample, points, every=20, pool=5)
    return case, pinn.Problem(model, {"equation": pinn.Equation(case.residual, inside)})


def poisson(points: int) -> tuple[pinn.zoo.Case, pinn.Problem]:
    """Return Poisson's equation on the unit square with a model that vanishes on the boundary."""
    case = pinn.zoo.poisson_2d()
    model = pinn.HardConstraint(pinn.MLP(2, width=32, depth=1), case.domain.vanishing)
    inside = pinn.RandomPoints(case.domain.sample, min(points, 900), every=None, method="sobol")
    return case, pinn.Problem(model, {"equation": pinn.Equation(case.residual, inside)})


if __name__ == "__main__":
    sys.exit(main())
