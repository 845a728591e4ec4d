"""What recording costs: ``python -m benchmarks.profile``.

Processor time of forward and backward passes with a recording over that without, the least of many taken by turns, for
fields from cheap to dear. "off" is a recording made before and ended: nothing should be left of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

import nde
import nde.profile

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


def ratios(run: Callable[[], None], repeats: int) -> tuple[float, float, float]:
    """Return the seconds without a recording, and the ratios to it with one, and after one has ended."""
    best = [float("inf")] * 3
    run()
    for _ in range(repeats):
        for place in range(3):
            start = time.process_time()
            if place == 1:
                with nde.profile.record():
                    run()
            else:
                run()
            best[place] = min(best[place], time.process_time() - start)
    return best[0], best[1] / best[0], best[2] / best[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| solve | state | plain | recorded | off |\n| --- | --- | ---: | ---: | ---: |")
    for kind in ("ode", "per sample", "sde"):
        for name, sizes in _SIZES.items():
            seconds, on, off = ratios(_iteration(*sizes, kind), options.repeats)
            print(f"| {kind} | {name} | {seconds * 1e3:.1f} ms | {on:.3f} | {off:.3f} |", flush=True)


if __name__ == "__main__":
    main()
