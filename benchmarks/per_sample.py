"""Measures solves with a step size per sample beside torchode, events, and implicit steps.

The entrants take turns, after one warm-up of each; medians of the turns are printed, and the first call on its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchode
from torch import Tensor

import nde

_TOLERANCE = 1e-6


def _van_der_pol(t: Tensor, y: Tensor, mu: Tensor) -> Tensor:
    x, v = y[:, 0], y[:, 1]
    return torch.stack([v, mu * (1 - x * x) * v - x], 1)


def _turns(entrants: dict[str, Callable[[], Any]], turns: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the times of every turn, the first included, and the last results."""
    times: dict[str, list[float]] = {name: [] for name in entrants}
    results: dict[str, Any] = {}
    for _ in range(turns + 1):
        for name, entrant in entrants.items():
            results[name] = None  # its memory is free before the next turn
            start = time.perf_counter()
            results[name] = entrant()
            times[name].append(time.perf_counter() - start)
    return times, results


def van_der_pol(samples: int, turns: int) -> dict[str, Any]:
    """Measure a batch of van der Pol oscillators, mu from 1 to 100, until t = 10."""
    mu = torch.logspace(0, 2, samples, dtype=torch.float64)
    y0 = torch.tensor([[2.0, 0.0]], dtype=torch.float64).repeat(samples, 1)
    options: dict[str, Any] = {"rtol": _TOLERANCE, "atol": _TOLERANCE, "max_steps": 100_000}

    def ours() -> Any:
        return nde.solve_ode(_van_der_pol, y0, (0.0, 10.0), (nde.PerSample(mu),), per_sample=True, **options)

    term = torchode.ODETerm(lambda t, y: _van_der_pol(t, y, mu))
    controller = torchode.IntegralController(atol=_TOLERANCE, rtol=_TOLERANCE, term=term)
    peer = torchode.AutoDiffAdjoint(torchode.Tsit5(term=term), controller)
    problem = torchode.InitialValueProblem(
        y0=y0, t_eval=torch.tensor([[0.0, 10.0]], dtype=torch.float64).repeat(samples, 1)
    )

    @torch.no_grad()
    def theirs() -> Any:
        return peer.solve(problem)

    times, results = _turns({"nde": ours, "torchode": theirs}, turns)
    solution = results["nde"]
    apart = 0.0
    for sample in range(0, samples, max(samples // 16, 1)):
        alone = nde.solve_ode(_van_der_pol, y0[sample][None], (0.0, 10.0), (mu[sample],), **options)
        apart = max(apart, float((alone.y1[0] - solution.y1[sample]).abs().max()))
    start = time.perf_counter()
    for _ in range(100):
        _van_der_pol(y0[:, :1], y0, mu)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {
        "samples": samples,
        "seconds": medians,
        "first_call": {name: values[0] for name, values in times.items()},
        "ratio": medians["nde"] / medians["torchode"],
        "attempted_sample_steps": solution.stats.n_steps,
        "accepted_sample_steps": solution.stats.n_accepted,
        "field_calls": solution.stats.n_field_evals,
        "rows_evaluated": solution.stats.n_sample_evals,
        "rows_evaluated_torchode": int(results["torchode"].stats["n_f_evals"].max()) * samples,
        "field_call_of_all_rows": (time.perf_counter() - start) / 100,
        "largest_difference_from_solo_solves": apart,
        "largest_difference_from_torchode": float((solution.y1 - results["torchode"].ys[:, -1]).abs().max()),
    }


def radau(turns: int) -> dict[str, Any]:
    """Measure five steps of the three-stage Radau IIA method at 256 samples of 4 unknowns."""
    torch.manual_seed(0)
    matrix = torch.randn(4, 4, dtype=torch.float64)
    y0 = torch.randn(256, 4, dtype=torch.float64)

    def solve() -> nde.Solution:
        return nde.solve_ode(
            lambda t, y: torch.tanh(y @ matrix.T) - y * torch.cos(t),
            y0,
            (0.0, 0.5),
            method="radau_iia5",
            controller=nde.FixedStep(0.1),
        )

    times, results = _turns({"nde": solve}, turns)
    seconds = times["nde"]
    return {
        "seconds": statistics.median(seconds[1:]),
        "first_call": seconds[0],
        "steps": results["nde"].stats.n_accepted,
    }


def balls(turns: int) -> dict[str, Any]:
    """Measure 1,000 balls that bounce each for itself."""
    y0 = torch.stack([torch.linspace(1.0, 2.0, 1000), torch.zeros(1000)], 1).double()
    event = nde.Event(
        lambda t, y: y[:, 0],
        terminal=False,
        direction=-1,
        apply=lambda t, y: torch.stack([torch.zeros_like(y[:, 0]), -0.8 * y[:, 1]], 1),
    )

    def solve() -> Any:
        return nde.solve_ode(
            lambda t, y: torch.stack([y[:, 1], torch.full_like(y[:, 1], -9.81)], 1),
            y0,
            (0.0, 3.0),
            events=event,
            per_sample=True,
        )

    times, results = _turns({"nde": solve}, turns)
    return {"seconds": statistics.median(times["nde"][1:]), "bounces": len(results["nde"].events[0])}


def main() -> None:
    """Measure, print a table and write everything as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.per_sample", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of every entrant (default: 1)")
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 65_536], help="sizes of the van der Pol batch")
    parser.add_argument("--turns", type=int, default=5, help="turns of each entrant")
    parser.add_argument("--output", type=Path, default=Path("results/per_sample.json"), help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # first, because its first call in a process is a figure of its own
    results: dict[str, Any] = {"threads": options.threads, "radau": radau(options.turns), "balls": balls(options.turns)}
    stiff, bounce = results["radau"], results["balls"]
    print(f"Radau IIA, order 5, 5 steps, 256 x 4: {stiff['seconds']:.3f} s; first call {stiff['first_call']:.3f} s")
    print(f"1,000 balls, {bounce['bounces']} bounces: {bounce['seconds']:.3f} s")
    results["van_der_pol"] = []
    for samples in options.samples:
        row = van_der_pol(samples, options.turns if samples < 10_000 else min(options.turns, 3))
        results["van_der_pol"].append(row)
        seconds, first = row["seconds"], row["first_call"]
        print(
            f"van der Pol, {samples} samples: nde {seconds['nde']:.3f} s, torchode {seconds['torchode']:.3f} s, "
            f"ratio {row['ratio']:.2f}; first calls {first['nde']:.3f} s, {first['torchode']:.3f} s\n"
            f"  sample-steps {row['attempted_sample_steps']} ({row['accepted_sample_steps']} accepted), "
            f"rows evaluated {row['rows_evaluated']} (torchode {row['rows_evaluated_torchode']}) in "
            f"{row['field_calls']} calls; one call at all rows takes {1e6 * row['field_call_of_all_rows']:.0f} us\n"
            f"  largest difference from solo solves {row['largest_difference_from_solo_solves']:.1e}, "
            f"from torchode {row['largest_difference_from_torchode']:.1e}"
        )
        sys.stdout.flush()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
