"""Solve Hamilton-Jacobi-Bellman's or Black-Scholes-Barenblatt's equation in many dimensions with natural gradients.

    python examples/pinn/control_and_finance.py                            HJB in 100 dimensions, two minutes
    python examples/pinn/control_and_finance.py --equation bsb             Black-Scholes-Barenblatt, the same
    python examples/pinn/control_and_finance.py --dimension 10             seconds
    python examples/pinn/control_and_finance.py --network perceptron       for comparison
    python examples/pinn/control_and_finance.py --full                     to the accuracy of docs/pinn.md

The derivative in time and the drift ride on the directions of the Laplacian, in one pass. Values at the end hold by
construction, those on the boundary of the box are conditions. Every error is printed with its skill, the error over
that of the best combination of 1, the time and the final values, because in many dimensions a small error says little.

The network "symmetric" sums features of every coordinate, because the order of coordinates does not matter here; a
"perceptron" has to learn that from points, of which there are never enough in a hundred dimensions.

Leaves a plot in results/pinn. Ctrl-C stops it after a step; the same command with --resume goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import nn

from examples.common import positive
from examples.pinn import runs
from nde import pinn

CASES = {"hjb": pinn.zoo.hamilton_jacobi_bellman, "bsb": pinn.zoo.black_scholes_barenblatt}
STEPS = (30, 90)  # by default, with --full
_NUMBERS = 1_000_000  # in the layers of the jets that are differentiated at once


class Symmetric(nn.Module):
    """A function of the time and of sums over the coordinates: it does not change where coordinates change places.

    Args:
        dimension: Number of coordinates, without the time.
        features: Number of sums.
        width: Of the perceptron behind them.

    Source:
        Zaheer et al., Deep sets (2017), theorem 2.
    """

    def __init__(self, dimension: int, features: int = 6, width: int = 16) -> None:
        super().__init__()
        self.scale = dimension**-0.5
        self.each = pinn.MLP(1, features, width=features, depth=1)
        self.joined = pinn.MLP(features + 1, width=width, depth=2)

    def forward(self, x: Any) -> Any:
        """Return the values at points ``(*S, dimension + 1)``, shape ``(*S, 1)``."""
        sums = self.each(x[..., :-1].unsqueeze(-1)).sum(-2) * self.scale
        return self.joined(torch.cat([sums, x[..., -1:]], -1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--equation", choices=sorted(CASES), default="hjb")
    parser.add_argument("--dimension", type=positive, default=100, help="of space")
    parser.add_argument("--network", choices=("symmetric", "perceptron"), default="symmetric")
    options = runs.options_of(parser, arguments)
    runs.prepare(options)
    dimension = options.dimension
    case = CASES[options.equation](dimension)
    network: nn.Module = Symmetric(dimension)
    if options.network == "perceptron":
        network = pinn.MLP(dimension + 1, width=32, depth=2)
    assert case.final is not None  # both are solved backwards in time
    # what the network has to add is of the size of the final values, which can be far from 1
    size = float(case.final(case.domain.sample(1000)).square().mean().sqrt())
    model = pinn.HardConstraint(runs.Rescaled(network, case.domain), lambda x: size * (1 - x[..., -1]), case.final)
    conditions = case.conditions(interior=options.points or 200, boundary=options.points or 200, every=10, weight=10.0)
    del conditions["final"]  # the model has these values
    problem = pinn.Problem(model, conditions)
    chunk = max(_NUMBERS // (8 * dimension**2), 1)
    optimizer = pinn.NaturalGradient(problem, chunk=chunk)
    name = f"{options.equation}_{dimension}_{options.network}"
    steps = options.steps or STEPS[options.full]
    trainer, ending = runs.train(name, problem, optimizer, steps, options, case.reference(2000))
    runs.draw(trainer, case, options.output, name)
    return 130 if ending == "interrupted" else 0


if __name__ == "__main__":
    sys.exit(main())
