"""Solve systems of equations in the plane: flows and elastic bodies, with natural gradients.

    python examples/pinn/systems.py                          the flow in a cavity under a sliding lid, half a minute
    python examples/pinn/systems.py --case kovasznay         Kovasznay's flow behind a grid
    python examples/pinn/systems.py --case elasticity        a loaded elastic square
    python examples/pinn/systems.py --case tissue            a displacement field from a few noisy measurements
    python examples/pinn/systems.py --case cavity --full     to the accuracy of docs/pinn.md

"tissue" fits the displacement of a body at rest to measurements at --sensors places with errors of --noise times its
size, once by the measurements alone and once with the equations of elasticity beside them, which is what
"biomechanics-informed" registration of images does; the regulariser needs no knowledge of forces at the boundary.

Prints the errors against the reference and leaves plots in results/pinn. Ctrl-C stops it after a step; the same command
with --resume goes on from there, to the same numbers as without a break.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor

from examples.pinn import runs
from nde import pinn

STEPS = {"cavity": (150, 600), "kovasznay": (150, 600), "elasticity": (100, 400), "tissue": (60, 60)}
OUTPUTS = {"cavity": "uvp", "kovasznay": "uvp", "elasticity": "uv", "tissue": "uv"}
_TRUST = 100.0  # weight of the equations beside data that weigh as their errors ask for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", choices=sorted(STEPS), default="cavity")
    parser.add_argument("--reynolds", type=float, default=100.0, help="of the cavity")
    parser.add_argument("--sensors", type=int, default=60, help="number of measurements of the displacement")
    parser.add_argument("--noise", type=float, default=0.1, help="their errors over the size of the displacement")
    options = runs.options_of(parser, arguments)
    if options.sensors < 1 or not 0 < options.noise < 10 or not 0 < options.reynolds <= 1000:
        parser.error(
            "argument --sensors must be at least 1, --noise above 0 and below 10, --reynolds above 0 and at most 1000"
        )
    runs.prepare(options)
    steps = options.steps or STEPS[options.case][options.full]
    if options.case == "tissue":
        return tissue(options, steps)
    make: Callable[[argparse.Namespace], tuple[pinn.zoo.Case, pinn.Problem]]
    make = {"cavity": cavity, "kovasznay": kovasznay, "elasticity": elasticity}[options.case]
    case, problem = make(options)
    reference = case.reference(4000)
    # the equations of elasticity are linear
    optimizer = pinn.NaturalGradient(problem, adaptive=options.case != "elasticity")
    trainer, ending = runs.train(options.case, problem, optimizer, steps, options, reference)
    print(runs.errors_by_output(problem.model, reference, OUTPUTS[options.case]))
    runs.draw(trainer, case, options.output, options.case, OUTPUTS[options.case])
    return 130 if ending == "interrupted" else 0


def cavity(options: argparse.Namespace) -> tuple[pinn.zoo.Case, pinn.Problem]:
    """Return the flow in a cavity with a model whose velocities at the walls hold by construction."""
    case = pinn.zoo.lid_driven_cavity(options.reynolds)

    def factor(x: Tensor) -> Tensor:
        walls = case.domain.vanishing(x)
        return torch.stack([walls, walls, torch.ones_like(walls)], -1)  # nothing is known of the pressure

    def lift(x: Tensor) -> Tensor:
        along, height = x[..., 0], x[..., 1]
        lid = 16 * along**2 * (1 - along) ** 2 * height**4
        return torch.stack([lid, torch.zeros_like(lid), torch.zeros_like(lid)], -1)

    network = runs.Rescaled(pinn.MLP(2, 3, width=24, depth=3), case.domain)
    conditions = case.conditions(interior=options.points or 1200, every=20)
    chosen = {name: conditions[name] for name in ("equation", "pressure")}
    return case, pinn.Problem(pinn.HardConstraint(network, factor, lift), chosen)


def kovasznay(options: argparse.Namespace) -> tuple[pinn.zoo.Case, pinn.Problem]:
    """Return Kovasznay's flow with its values around the domain as conditions."""
    case = pinn.zoo.kovasznay_flow()
    model = runs.Rescaled(pinn.MLP(2, 3, width=24, depth=2), case.domain)
    settings = {"interior": options.points or 600, "boundary": 200, "every": 20, "method": "sobol", "weight": 10.0}
    return case, case.problem(model, **settings)


def elasticity(options: argparse.Namespace) -> tuple[pinn.zoo.Case, pinn.Problem]:
    """Return a loaded elastic square with its displacement around it as condition."""
    case = pinn.zoo.elasticity_2d()
    model = runs.Rescaled(pinn.MLP(2, 2, width=24, depth=2), case.domain)
    settings = {"interior": options.points or 600, "boundary": 200, "every": None, "method": "sobol", "weight": 100.0}
    return case, case.problem(model, **settings)


def tissue(options: argparse.Namespace, steps: int) -> int:
    """Fit a displacement field to noisy measurements, without and with the equations of elasticity."""
    case = pinn.zoo.elastic_rest_2d()
    reference = case.reference(4000)
    generator = torch.Generator().manual_seed(options.seed)
    sensors = case.domain.sample(options.sensors, generator=generator)
    clean = case.solution(sensors)
    deviation = options.noise * float(reference.values.square().mean().sqrt())
    measured = clean + deviation * torch.randn(clean.shape, generator=generator)
    for name, informed in (("tissue_alone", False), ("tissue_informed", True)):
        torch.manual_seed(options.seed)
        model = runs.Rescaled(pinn.MLP(2, 2, width=16, depth=2), case.domain)
        conditions: dict[str, pinn.Condition] = {"sensors": pinn.Data(sensors, measured, weight=deviation**-2)}
        if informed:
            points = pinn.RandomPoints(case.domain.sample, options.points or 200, every=10)
            conditions["equation"] = pinn.Equation(case.residual, points, weight=_TRUST * deviation**-2)
        problem = pinn.Problem(model, conditions)
        trainer, ending = runs.train(name, problem, pinn.NaturalGradient(problem), steps, options, reference)
        best = min(trainer.history.values["error"])
        print(f"{runs.errors_by_output(model, reference, 'uv')}; the least error along the way {best:.2e}")
        if ending == "interrupted":
            return 130
    runs.draw(trainer, case, options.output, "tissue", OUTPUTS["tissue"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
