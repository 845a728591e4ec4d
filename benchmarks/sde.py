"""Measures stochastic solves beside torchsde: the same equation, method, steps and process, in turns.

Every row gives the time over torchsde's and over the floor, the time of as many evaluations of drift and diffusion as
the method takes, made in a loop. torchsde's "srk" has the strong order 1.5 of `sriw1` and `sosri2`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchsde
from torch import Tensor

import nde


class _Row(NamedTuple):
    method: str
    calculus: str
    theirs: str
    drifts: int  # evaluations per step
    diffusions: int


_ROWS = (
    _Row("euler", "ito", "euler", 1, 1),
    _Row("milstein", "ito", "milstein", 1, 1),
    _Row("sriw1", "ito", "srk", 2, 4),
    _Row("sosri2", "ito", "srk", 4, 4),
    _Row("reversible_heun", "stratonovich", "reversible_heun", 1, 1),
)
_SIZES = ((4, 32, 128), (32, 64, 512))  # entries, hidden units, batch


class Equation(torch.nn.Module):
    """An equation whose drift and diffusion are two networks, in the form that torchsde takes."""

    noise_type = "diagonal"

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.nets = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(size, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, size), torch.nn.Sigmoid()
            )
            for _ in range(2)
        )
        self.sde_type = "ito"

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        value: Tensor = self.nets[0](y)
        return value

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        value: Tensor = self.nets[1](y)
        return value


def medians(entrants: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in entrants}
    for _ in range(turns + 1):
        for name, entrant in entrants.items():
            start = time.perf_counter()
            entrant()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def measure(row: _Row, size: int, hidden: int, batch: int, steps: int, training: bool, turns: int) -> dict[str, Any]:
    """Measure one method at one size."""
    torch.manual_seed(0)
    equation = Equation(size, hidden)
    equation.sde_type = row.calculus
    y0 = torch.full((batch, size), 0.1)
    ts = torch.tensor([0.0, 1.0])
    time_zero = torch.tensor(0.0)

    def done(y1: Tensor) -> None:
        if training:
            y1.square().sum().backward()

    def ours() -> None:
        solution = nde.solve_sde(
            equation.f, equation.g, y0, (0.0, 1.0), calculus=row.calculus, method=row.method,
            controller=nde.FixedStep(1 / steps),
        )  # fmt: skip
        done(solution.y1)

    def theirs() -> None:
        done(torchsde.sdeint(equation, y0, ts, method=row.theirs, dt=1 / steps)[-1])

    def floor() -> None:
        for function, count in ((equation.f, row.drifts), (equation.g, row.diffusions)):
            for _ in range(count * steps):
                done(function(time_zero, y0))

    with torch.set_grad_enabled(training):
        seconds = medians({"nde": ours, "torchsde": theirs, "floor": floor}, turns)
    return {
        "method": row.method,
        "size": size,
        "batch": batch,
        "training": training,
        "seconds": seconds,
        "over_torchsde": seconds["nde"] / seconds["torchsde"],
        "over_floor": seconds["nde"] / seconds["floor"],
    }


def main() -> None:
    """Measure, print a table and write everything as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sde", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of every entrant (default: 1)")
    parser.add_argument("--steps", type=int, default=50, help="fixed steps of every solve")
    parser.add_argument("--turns", type=int, default=7, help="turns of each entrant")
    parser.add_argument("--output", type=Path, default=Path("results/sde.json"), help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    print(f"{options.steps} fixed steps, medians of {options.turns} turns, {options.threads} thread(s)")
    for training in (False, True):
        for size, hidden, batch in _SIZES:
            for row in _ROWS:
                found = measure(row, size, hidden, batch, options.steps, training, options.turns)
                results.append(found)
                seconds = {name: 1e3 * value for name, value in found["seconds"].items()}
                print(
                    f"{'training ' if training else 'inference'} {batch} x {size} {row.method:16s} nde "
                    f"{seconds['nde']:7.1f} ms, torchsde {seconds['torchsde']:7.1f} ms, ratio "
                    f"{found['over_torchsde']:.2f}, over the floor {found['over_floor']:.1f}"
                )
                sys.stdout.flush()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
