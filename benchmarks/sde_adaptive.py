"""Measures adaptive stochastic solves beside torchsde: time against strong error, each library at several tolerances.

The error of a solve is that against many short fixed steps of the same library on the same path. Noise is diagonal and
each entry's diffusion depends on that entry alone, as strong order 1.5 asks for. The last figure is torchsde's time
over ours at torchsde's error, between our tolerances on logarithmic scales.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import torch
import torchsde
from torch import Tensor

import nde
from nde.solvers.brownian import BrownianWalk

_SIZES = ((4, 32, 128), (32, 64, 512))  # entries, hidden units, batch
_OURS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
_THEIRS = (1e-2, 1e-3, 1e-4)
_REFERENCE_STEPS = 1024


class _Equation(torch.nn.Module):
    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(size, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, size))
        self.slope, self.shift = torch.nn.Parameter(torch.randn(size)), torch.nn.Parameter(torch.randn(size))

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        value: Tensor = torch.sigmoid(self.net(y))
        return value

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * y + self.shift)


def _ours(equation: _Equation, y0: Tensor, tolerance: float, seed: int) -> tuple[float, Tensor, Tensor]:
    path = BrownianWalk(0.0, 1.0, tuple(y0.shape), seed=seed, levy_area="space-time", dtype=y0.dtype, device=y0.device)
    start = time.perf_counter()
    found = nde.solve_sde(equation.f, equation.g, y0, (0.0, 1.0), path=path, rtol=tolerance, atol=0.1 * tolerance).y1
    seconds = time.perf_counter() - start
    steps = nde.FixedStep(1 / _REFERENCE_STEPS)
    return seconds, found, nde.solve_sde(equation.f, equation.g, y0, (0.0, 1.0), path=path, controller=steps).y1


def _theirs(equation: _Equation, y0: Tensor, tolerance: float, seed: int) -> tuple[float, Tensor, Tensor]:
    options: dict[str, Any] = {"method": "srk", "bm": torchsde.BrownianInterval(
        0.0, 1.0, y0.shape, dtype=y0.dtype, entropy=seed, levy_area_approximation="space-time"
    )}  # fmt: skip
    ts = torch.tensor([0.0, 1.0])
    start = time.perf_counter()
    found = torchsde.sdeint(equation, y0, ts, adaptive=True, dt=0.05, rtol=tolerance, atol=0.1 * tolerance, **options)
    seconds = time.perf_counter() - start
    return seconds, found[-1], torchsde.sdeint(equation, y0, ts, dt=1 / _REFERENCE_STEPS, **options)[-1]


def measure(size: int, hidden: int, batch: int, turns: int) -> list[dict[str, Any]]:
    """Measure both libraries at one size, in turns."""
    torch.manual_seed(0)
    equation = _Equation(size, hidden)
    y0 = torch.full((batch, size), 0.1)
    entrants = [("nde", _ours, tolerance) for tolerance in _OURS]
    entrants += [("torchsde", _theirs, tolerance) for tolerance in _THEIRS]
    times: dict[tuple[str, float], list[float]] = {}
    errors: dict[tuple[str, float], list[float]] = {}
    with torch.no_grad():
        for turn in range(turns + 1):
            for name, run, tolerance in entrants:
                seconds, found, reference = run(equation, y0, tolerance, turn)
                if turn:
                    times.setdefault((name, tolerance), []).append(seconds)
                    errors.setdefault((name, tolerance), []).append(float((found - reference).square().mean()))
    rows = [
        {"library": name, "size": size, "batch": batch, "tolerance": tolerance,
         "seconds": statistics.median(times[name, tolerance]),
         "error": statistics.mean(errors[name, tolerance]) ** 0.5}
        for name, _, tolerance in entrants
    ]  # fmt: skip
    own = sorted((row["error"], row["seconds"]) for row in rows if row["library"] == "nde")
    for row in rows:
        if row["library"] == "torchsde" and own[0][0] <= row["error"] <= own[-1][0]:
            ours = numpy.exp(numpy.interp(numpy.log(row["error"]), *numpy.log(own).T))
            row["over_nde"] = row["seconds"] / float(ours)
    return rows


def main() -> None:
    """Measure, print a table and write everything as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sde_adaptive", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of every entrant (default: 1)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each entrant")
    parser.add_argument("--small", action="store_true", help="the small state only")
    parser.add_argument("--output", type=Path, default=Path("results/sde_adaptive.json"), help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    print(f"adaptive solves, medians of {options.turns} turns, {options.threads} thread(s)")
    for size, hidden, batch in _SIZES[:1] if options.small else _SIZES:
        rows = measure(size, hidden, batch, options.turns)
        results += rows
        for row in rows:
            compared = f", over ours at this error {row['over_nde']:.1f}" if "over_nde" in row else ""
            print(
                f"{batch} x {size} {row['library']:9s} rtol {row['tolerance']:.0e}: {1e3 * row['seconds']:7.1f} ms, "
                f"strong error {row['error']:.1e}{compared}"
            )
            sys.stdout.flush()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
