"""What recording costs, and whether advice holds: ``python -m benchmarks.profile [overhead | advice]``.

Processor time of forward and backward passes with a recording over that without, the least of many taken by turns, for
fields from cheap to dear. "off" is a recording made before and ended: nothing should be left of it. For advice see
`benchmarks.advice`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import nde
import nde.profile
from benchmarks.advice import CASES, print_table

__all__ = ["main", "ratios"]

_SIZES = {
    "32 x 4, 32 hidden": (32, 4, 32),
    "256 x 16, 64 hidden": (256, 16, 64),
    "512 x 64, 128 hidden": (512, 64, 128),
}


def _iteration(batch: int, size: int, hidden: int, kind: str) -> Callable[[], None]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, size)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    y0 = torch.randn(batch, size, dtype=torch.float64)
    if kind == "sde":
        layer: nn.Module = nde.NeuralSDE(lambda t, y: net(y), lambda t, y: 0.1 * y, rtol=1e-2, atol=1e-2)
    else:
        layer = nde.NeuralODE(lambda t, y: net(y), rtol=1e-6, atol=1e-6, per_sample=kind == "per sample")

    def run() -> None:
        layer(y0).y1.square().mean().backward()

    return run


def ratios(run: Callable[[], None], repeats: int) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Return the seconds without a recording, and the ratios to it with one, and after one has ended.

    Each ratio is of the least times, and of the medians.
    """
    times: list[list[float]] = [[], [], []]
    run()
    with nde.profile.record():
        run()
    for turn in range(repeats):
        for place in ((0, 1, 2), (1, 2, 0), (2, 0, 1))[turn % 3]:  # nobody always follows the same one
            if place == 1:
                with nde.profile.record() as cost:
                    times[1].append(_seconds(run))
                del cost  # what was recorded is thrown away outside of the time
            else:
                times[place].append(_seconds(run))
    least, middle = [min(some) for some in times], [statistics.median(some) for some in times]
    on, off = ((least[place] / least[0], middle[place] / middle[0]) for place in (1, 2))
    return least[0], on, off


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("overhead", "advice", "all"), default="all")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--cases", nargs="*", default=[], choices=list(CASES), help="of advice; all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what != "advice":
        _print_overhead(options.repeats)
    if options.what != "overhead":
        print_table(max(options.repeats // 4, 3), options.cases)


def _print_overhead(repeats: int) -> None:
    print(
        "| solve | state | plain | recorded: least, median | off: least, median |\n| --- | --- | ---: | ---: | ---: |"
    )
    for kind in ("ode", "per sample", "sde"):
        for name, sizes in _SIZES.items():
            seconds, on, off = ratios(_iteration(*sizes, kind), repeats)
            shown = " | ".join(f"{least:.3f}, {middle:.3f}" for least, middle in (on, off))
            print(f"| {kind} | {name} | {seconds * 1e3:.1f} ms | {shown} |", flush=True)


if __name__ == "__main__":
    main()
