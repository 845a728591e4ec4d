"""What more processes give: ``python -m benchmarks.distributed``.

Measures a training step of a neural ODE in one process and in two (gloo, one thread each), splits it into what the cost
model of docs/distributed.md has as its parts, and prints prediction beside measurement. The machine needs as many idle
cores as processes: without, the second process measures its neighbours, as the printed load tells.

The parts are measured each by itself: a process's part of the batch alone; beside another process that computes the
same and says nothing, for what they take from each other; wrapped in one process, for what wrapping costs; a reduction
of nothing, and of much.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import nde

__all__ = ["main", "predicted"]

BATCH, SIZE, HIDDEN = 512, 16, 256


def predicted(
    compute: float,
    world: int,
    latency: float,
    bandwidth: float,
    nbytes: int,
    imbalance: float = 1.0,
    contention: float = 1.0,
    wrapping: float = 0.0,
) -> float:
    """Return the seconds of a step: see docs/distributed.md.

    Args:
        compute: Seconds of a step of one process's part of the batch, alone.
        world: Number of processes.
        latency: Seconds of a reduction of nothing.
        bandwidth: Bytes in a second through one process's link.
        nbytes: Of the gradients.
        imbalance: Work of the busiest process over the mean.
        contention: Seconds of that part beside the other processes of the machine, the slowest of them, over alone.
        wrapping: Seconds of a step that `DistributedDataParallel` takes for itself.
    """
    if world == 1:
        return compute * imbalance
    return compute * imbalance * contention + 2 * (world - 1) / world * nbytes / bandwidth + latency + wrapping


def _model() -> nn.Module:
    torch.manual_seed(0)
    field = nn.Sequential(nn.Linear(SIZE, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, SIZE))
    return nde.NeuralODE(_Field(field), rtol=1e-5, atol=1e-6)


class _Field(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Evaluate the field."""
        result: torch.Tensor = 3 * self.net(y)
        return result


def _least(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each call, by turns; that of the last process to be done where there are several."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            dist.barrier()
            start = time.perf_counter()
            run()
            seconds = torch.tensor(time.perf_counter() - start)
            dist.all_reduce(seconds, dist.ReduceOp.MAX)
            best[name] = min(best[name], float(seconds))
    return best


def _work(repeats: int) -> dict[str, float]:
    """Measure in this process, together with the others."""
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model = _model()
    y0 = torch.randn(BATCH, SIZE, generator=torch.Generator().manual_seed(1))
    part = y0.chunk(2)[rank]
    wrapped = nn.parallel.DistributedDataParallel(model)
    nbytes = sum(parameter.nbytes for parameter in model.parameters())

    def step(module: nn.Module, batch: torch.Tensor) -> None:
        module(batch).y1.square().mean().backward()

    for module in (model, wrapped):
        step(module, part)
    runs: dict[str, Callable[[], Any]] = {"part": lambda: step(model, part), "wrapped": lambda: step(wrapped, part)}
    if world == 1:
        runs["whole"] = lambda: step(model, y0)
    else:
        for name, count in (("latency", 1), ("large", 4_000_000)):
            runs[name] = functools.partial(dist.all_reduce, torch.zeros(count))
    found = {**_least(runs, repeats), "bytes": float(nbytes)}
    if world > 1:
        stats = torch.tensor([float(model(part).stats.n_field_evals)])
        every = [torch.zeros(1) for _ in range(world)]
        dist.all_gather(every, stats)
        found["imbalance"] = float(max(every) / (sum(every) / world))
    dist.destroy_process_group()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        found = _work(options.repeats)
        if int(os.environ.get("RANK", "0")) == 0:
            options.worker.write_text(json.dumps(found))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, 2):
            path = Path(folder) / f"{world}.json"
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
            command += ["-m", "benchmarks.distributed", "--worker", str(path), "--repeats", str(options.repeats)]
            settings = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
            done = subprocess.run(command, env=settings, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{world} processes failed:\n{done.stderr[-3000:]}")
            results[world] = json.loads(path.read_text())
    one, two = results[1], results[2]
    nbytes = int(one["bytes"])
    bandwidth = 16e6 / max(two["large"] - two["latency"], 1e-9)  # of two processes, each sends what it reduces once
    # the slower of two is compared with one alone: other numbers of evaluations are no contention
    contention = two["part"] / one["part"] / two["imbalance"]
    wrapping = max(one["wrapped"] - one["part"], 0.0)
    print(f"load of the machine {os.getloadavg()[0]:.1f}, two of it this benchmark's")
    print(f"gradients {nbytes / 1e6:.2f} MB; reduction {two['latency'] * 1e3:.2f} ms and {bandwidth / 1e9:.2f} GB/s")
    print(f"evaluations of the busiest process over the mean: {two['imbalance']:.3f}")
    print(f"half of the batch alone {one['part'] * 1e3:.1f} ms, beside another process {contention:.3f} times that")
    print(f"wrapping {wrapping * 1e3:.2f} ms")
    print("| processes | measured | predicted | without contention and wrapping |\n| ---: | ---: | ---: | ---: |")
    print(f"| 1 | {one['whole'] * 1e3:.1f} ms | {one['whole'] * 1e3:.1f} ms, by construction | |")
    parts = (two["latency"], bandwidth, nbytes, two["imbalance"])
    full, short = predicted(one["part"], 2, *parts, contention, wrapping), predicted(one["part"], 2, *parts)
    print(f"| 2 | {two['wrapped'] * 1e3:.1f} ms | {full * 1e3:.1f} ms | {short * 1e3:.1f} ms |")


if __name__ == "__main__":
    main()
