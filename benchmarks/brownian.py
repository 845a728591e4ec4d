"""Measures queries of Brownian paths against torchsde's two and against drawing as many numbers with torch.randn.

The entrants take turns, after one warm-up of each; a new path of a new seed is made at every turn, as a training step
makes one. Times are medians per query.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchsde

import nde
from nde.solvers.brownian import BrownianWalk

Interval = tuple[float, float]
_SHAPES = ((128, 4), (512, 32))
_TREE_TOLERANCE = 1e-6  # BrownianTree's default; ours is 2 ** -22


def patterns(queries: int) -> dict[str, list[Interval]]:
    """Return what is asked: the steps of a grid, those of an adaptive solver, and anywhere.

    "rounded" are the adaptive ones again, each time moved by at most an eighth of a step to one that costs us less;
    "drawn" are the adaptive ones of `BrownianWalk`, which draws as it is asked, like torchsde's interval.
    """
    source = random.Random(0)
    grid = [step / queries for step in range(queries + 1)]
    adaptive = [0.0]
    while len(adaptive) <= queries:
        adaptive.append(min(adaptive[-1] + (0.5 + source.random()) / (1.6 * queries), 1.0))
    path = nde.BrownianPath(0.0, 1.0, (), seed=0)
    anywhere = [tuple(sorted((source.random(), source.random()))) for _ in range(queries)]
    return {
        "sequential": list(pairwise(grid)),
        "drawn": list(pairwise(adaptive)),
        "adaptive": list(pairwise(adaptive)),
        "rounded": list(pairwise([path.nearby(time, 1 / (8 * queries)) for time in adaptive])),
        "random": [(start, end) for start, end in anywhere],
    }


def entrants(
    pattern: str, intervals: list[Interval], shape: tuple[int, int], dtype: torch.dtype, levy_area: str
) -> dict[str, Callable[[int], Any]]:
    """Return what runs in turns, each given a seed."""
    grid = [*(start for start, _ in intervals), 1.0] if pattern == "sequential" else None
    with_h = levy_area != "none"

    def ours(seed: int) -> None:
        path: Any
        if pattern == "drawn":
            device = torch.device("cpu")
            path = BrownianWalk(0.0, 1.0, shape, seed=seed, levy_area=levy_area, dtype=dtype, device=device)
        else:
            path = nde.BrownianPath(0.0, 1.0, shape, seed=seed, grid=grid, levy_area=levy_area, dtype=dtype)
        for start, end in intervals:
            path(start, end)

    def peer(path: Any) -> None:
        for start, end in intervals:
            path(start, end, return_U=with_h)

    options: dict[str, Any] = {"dtype": dtype, "levy_area_approximation": levy_area}

    def randn(seed: int) -> None:
        torch.manual_seed(seed)
        for _ in intervals:
            torch.randn(shape, dtype=dtype)
            if with_h:
                torch.randn(shape, dtype=dtype)

    return {
        "nde": ours,
        "interval": lambda seed: peer(torchsde.BrownianInterval(0.0, 1.0, shape, entropy=seed, **options)),
        # BrownianTree has no areas; it is this interval, and so has them here
        "tree": lambda seed: peer(
            torchsde.BrownianInterval(0.0, 1.0, shape, entropy=seed, halfway_tree=True, tol=_TREE_TOLERANCE, **options)
        ),
        "randn": randn,
    }


def measure(runs: dict[str, Callable[[int], Any]], turns: int) -> dict[str, list[float]]:
    """Return the seconds of every turn but the first."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(turn)
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def table(queries: int, turns: int, shapes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Measure every pattern, shape, dtype and level, and print a line for each."""
    rows = []
    print(
        f"{'pattern':11}{'shape':11}{'dtype':9}{'levy area':12}{'us per query: nde':>18}{'interval':>10}{'tree':>8}",
        end="",
    )
    print(f"{'randn':>8}   nde against them: interval, tree, randn")
    for pattern, intervals in patterns(queries).items():
        for shape in shapes:
            for dtype in (torch.float32, torch.float64):
                for levy_area in ("none", "space-time"):
                    times = measure(entrants(pattern, intervals, shape, dtype, levy_area), turns)
                    medians = {name: statistics.median(values) / queries for name, values in times.items()}
                    ratios = {name: medians["nde"] / value for name, value in medians.items() if name != "nde"}
                    spread = {name: [min(values) / queries, max(values) / queries] for name, values in times.items()}
                    name = str(dtype).removeprefix("torch.")
                    row = {"pattern": pattern, "shape": shape, "dtype": name, "levy_area": levy_area}
                    rows.append({**row, "queries": queries, "seconds": medians, "spread": spread, "ratio": ratios})
                    figures = [1e6 * medians[entrant] for entrant in ("nde", "interval", "tree", "randn")]
                    print(
                        f"{pattern:11}{shape!s:11}{name:9}{levy_area:12}{figures[0]:18.1f}{figures[1]:10.1f}"
                        f"{figures[2]:8.0f}{figures[3]:8.1f}   "
                        + ", ".join(f"{ratios[entrant]:.2f}" for entrant in ("interval", "tree", "randn"))
                    )
                    sys.stdout.flush()
    return rows


def main() -> None:
    """Measure, print a table and write everything as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.brownian", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of every entrant (default: 1)")
    parser.add_argument("--queries", type=int, default=50, help="queries of a path (default: 50)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each entrant")
    parser.add_argument("--small", action="store_true", help="the small state only")
    parser.add_argument("--output", type=Path, default=Path("results/brownian.json"), help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = table(options.queries, options.turns, _SHAPES[:1] if options.small else _SHAPES)
    results = {"threads": options.threads, "torch": torch.__version__, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
