"""Measures the rest of stochastic training: `sdeint_adjoint` beside torchsde's, memory of the adjoints, steps by rows.

`sdeint_adjoint` is called through `nde.compat.torchsde` and torchsde with the same arguments. Memory is the peak of the
bytes that tensors hold. The last figure is the time of an attempted step where each sample has its own, and where all
share one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchsde
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import nde
import nde.compat.torchsde as compat
from benchmarks.sde import Equation, medians

_SIZES = ((4, 32, 128), (32, 64, 512))  # entries, hidden units, batch
_MEMORY_STEPS = (100, 1000)
_METHODS = (("ito", "euler"), ("ito", "milstein"), ("stratonovich", "midpoint"), ("stratonovich", "reversible_heun"))


def measure_adjoints(size: int, hidden: int, batch: int, steps: int, turns: int) -> list[dict[str, Any]]:
    """Return training times of `sdeint_adjoint` over torchsde's."""
    rows = []
    for calculus, method in _METHODS:
        torch.manual_seed(0)
        equation = Equation(size, hidden)
        equation.sde_type = calculus
        y0, ts = torch.full((batch, size), 0.1), torch.tensor([0.0, 1.0])
        more = {"adjoint_method": "adjoint_reversible_heun"} if method == "reversible_heun" else {}

        def run(solve: Callable[..., Tensor]) -> Callable[[], None]:
            return lambda: solve(equation, y0, ts, method=method, dt=1 / steps, **more)[-1].square().sum().backward()  # noqa: B023

        seconds = medians({"nde": run(compat.sdeint_adjoint), "torchsde": run(torchsde.sdeint_adjoint)}, turns)
        rows.append({"method": method, "size": size, "batch": batch, "seconds": seconds})
    return rows


def measure_memory(steps: int) -> dict[str, int]:
    """Return the peak bytes of a training step with each adjoint, 512 x 32 with reversible Heun."""
    equation, y0 = Equation(32, 64), torch.full((512, 32), 0.1)

    def train(adjoint: str) -> None:
        solution = nde.solve_sde(
            equation.f, equation.g, y0, (0.0, 1.0), calculus="stratonovich", method="reversible_heun", adjoint=adjoint,
            controller=nde.FixedStep(1 / steps),
        )  # fmt: skip
        solution.y1.square().sum().backward()

    return {adjoint: _peak_bytes(lambda: train(adjoint)) for adjoint in ("reversible", "discrete", "direct")}  # noqa: B023


def _peak_bytes(work: Callable[[], None]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def measure_rows(size: int, hidden: int, batch: int, turns: int) -> dict[str, float]:
    """Return the time of an attempted adaptive step, with a shared size and with one for each sample."""
    equation, y0 = Equation(size, hidden), torch.full((batch, size), 0.1)
    attempts: dict[str, float] = {}

    def run(name: str, per_sample: bool) -> Callable[[], None]:
        def solve() -> None:
            solution = nde.solve_sde(
                equation.f, equation.g, y0, (0.0, 1.0), per_sample=per_sample, rtol=1e-3, atol=1e-4
            )
            stats: Any = solution.stats
            # rows step together: the slowest one is in all of them
            attempts[name] = int((stats.accepted + stats.rejected).max()) if per_sample else stats.n_steps

        return solve

    with torch.no_grad():
        seconds = medians({"shared": run("shared", False), "per_sample": run("per_sample", True)}, turns)
    return {name: value / attempts[name] for name, value in seconds.items()}


def main() -> None:
    """Measure, print and write everything as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sde_training", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of every entrant (default: 1)")
    parser.add_argument("--steps", type=int, default=50, help="fixed steps of every solve")
    parser.add_argument("--turns", type=int, default=7, help="turns of each entrant")
    parser.add_argument("--output", type=Path, default=Path("results/sde_training.json"), help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {"adjoint": [], "memory": {}, "rows": {}}
    for sizes in _SIZES:
        for row in measure_adjoints(*sizes, options.steps, options.turns):
            results["adjoint"].append(row)
            ours, theirs = row["seconds"]["nde"], row["seconds"]["torchsde"]
            print(
                f"sdeint_adjoint {row['batch']} x {row['size']} {row['method']:16s} nde {1e3 * ours:7.1f} ms, torchsde "
                f"{1e3 * theirs:7.1f} ms, ratio {ours / theirs:.2f}",
                flush=True,
            )
        results["rows"][sizes[2]] = found = measure_rows(*sizes, options.turns)
        print(
            f"attempted step {sizes[2]} x {sizes[0]}: "
            + ", ".join(f"{name} {1e3 * s:.3f} ms" for name, s in found.items())
        )
    for steps in _MEMORY_STEPS:
        results["memory"][steps] = found_bytes = measure_memory(steps)
        print(f"{steps} steps: " + ", ".join(f"{name} {value / 2**20:.0f} MiB" for name, value in found_bytes.items()))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
