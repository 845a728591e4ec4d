"""CPU time of one sample of each generator of `nde.data`.

    OMP_NUM_THREADS=1 python -m benchmarks.data            all rows, two minutes
    OMP_NUM_THREADS=1 python -m benchmarks.data Darcy      rows whose name begins so

Prints the smallest process time of some samples, after one that warms caches: the machine may do other things, CPU time
of one thread hardly notices. Rejected draws are part of a sample's cost, so ConDiff's rows are means. How many fields
are drawn for one of these samples is a matter of luck, so that the fields have a row of their own. Darcy, Burgers and
ConDiff have goals: what first versions took, with SciPy's solver for sparse matrices as it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nde.data import (
    Advection,
    Burgers,
    ConDiff,
    Darcy,
    DiffusionReaction,
    KuramotoSivashinsky,
    NavierStokes,
    Problem,
    ShallowWater,
    SpectralField,
    SphericalShallowWater,
    StationaryField,
    draw_sample,
)
from nde.data.problem import Sample


@dataclass(frozen=True)
class _Fields(Problem):
    """The fields of ConDiff before any is rejected, two at a time."""

    def sample(self, rng: np.random.Generator) -> Sample:
        one, two = StationaryField("cubic", 2.0, 0.05).sample_pair(rng, 65)
        return {"one": one[None], "two": two[None]}


# name: (problem, samples, whether to take the mean)
ROWS: dict[str, tuple[Problem, int, bool]] = {
    "Advection, 1024 points, 200 frames": (Advection(), 5, False),
    "Burgers, 1024 points, viscosity 0.1, to 1": (Burgers(), 5, False),
    "Burgers, 8192 points, viscosity 0.1, to 1": (Burgers(points=8192), 3, False),
    "Burgers, 1024 points, viscosity 1e-3, published law": (
        Burgers(viscosity=1e-3, frames=200, dt=1e-3, initial=SpectralField(2.5, 7.0, sigma=49.0)),
        3,
        False,
    ),
    "ConDiff, 64 x 64, cubic, variance 0.1": (ConDiff(), 20, True),
    "ConDiff, 64 x 64, cubic, variance 2": (ConDiff(variance=2.0), 100, True),
    "ConDiff, 64 x 64, exponential, variance 2": (ConDiff(covariance="exponential", variance=2.0), 100, True),
    "ConDiff, 64 x 64, gaussian, variance 2": (ConDiff(covariance="gaussian", variance=2.0), 100, True),
    "ConDiff, 64 x 64, two fields, kept or not": (_Fields(), 100, False),
    "ConDiff, 128 x 128, cubic, variance 0.1": (ConDiff(128), 10, True),
    "Darcy, 64 x 64": (Darcy(64), 5, False),
    "Darcy, 128 x 128": (Darcy(128), 5, False),
    "Darcy, 256 x 256": (Darcy(256), 3, False),
    "Darcy, 421 x 421": (Darcy(421), 2, False),
    "Diffusion-reaction, 64 x 64, to 5": (DiffusionReaction(points=64), 3, False),
    "Diffusion-reaction, 128 x 128, to 5": (DiffusionReaction(), 2, False),
    "Kuramoto-Sivashinsky, 128 points, 50 + 50 units": (KuramotoSivashinsky(), 3, False),
    "Navier-Stokes, 64 x 64, 10 units, double": (NavierStokes(final_time=10.0, frames=10), 2, False),
    "Navier-Stokes, 64 x 64, 10 units, single": (
        NavierStokes(final_time=10.0, frames=10, precision="single"),
        2,
        False,
    ),
    "Navier-Stokes, 128 x 128, 10 units, single": (
        NavierStokes(points=128, final_time=10.0, frames=10, viscosity=1e-4, precision="single"),
        1,
        False,
    ),
    "Shallow water, 64 x 64, to 1": (ShallowWater(points=64), 3, False),
    "Shallow water, 128 x 128, to 1": (ShallowWater(), 2, False),
    "Shallow water on the sphere, 32 x 64, an hour": (SphericalShallowWater(rows=32, dt=300.0), 3, False),
    "Shallow water on the sphere, 64 x 128, an hour": (SphericalShallowWater(), 3, False),
    "Shallow water on the sphere, 128 x 256, an hour": (SphericalShallowWater(rows=128), 2, False),
}


# CPU seconds of a sample that are not to be exceeded
GOALS = {
    "Burgers, 1024 points, viscosity 0.1, to 1": 0.030,
    "Burgers, 8192 points, viscosity 0.1, to 1": 0.58,
    "ConDiff, 64 x 64, cubic, variance 0.1": 0.006,
    "ConDiff, 64 x 64, two fields, kept or not": 0.00062,
    "ConDiff, 128 x 128, cubic, variance 0.1": 0.038,
    "Darcy, 64 x 64": 0.008,
    "Darcy, 128 x 128": 0.035,
    "Darcy, 256 x 256": 0.21,
    "Darcy, 421 x 421": 0.82,
}


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    chosen = [name for name in ROWS if not arguments or name.lower().startswith(tuple(a.lower() for a in arguments))]
    print("| generator | CPU seconds per sample | goal |\n| --- | --- | --- |")
    for name in chosen:
        problem, samples, mean = ROWS[name]
        times = []
        for index in range(samples + 1):
            start = time.process_time()
            draw_sample(problem, index)
            times.append(time.process_time() - start)
        cost = sum(times[1:]) / samples if mean else min(times[1:])
        goal = GOALS.get(name)
        verdict = "" if goal is None else f"{goal:.2g}, {'met' if cost <= goal else 'missed'}"
        print(f"| {name} | {cost:.2g} | {verdict} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
