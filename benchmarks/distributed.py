"""What more processes give: ``python -m benchmarks.distributed``.

Measures a training step of a neural ODE in one process and in two (gloo, one thread each), splits it into what the cost
model of docs/distributed.md has as its parts, and prints prediction beside measurement. The machine needs as many idle
cores as processes: without, the second process measures its neighbours.
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


def predicted(compute: float, world: int, latency: float, bandwidth: float, nbytes: int, imbalance: float) -> float:
    """Return the seconds of a step: see docs/distributed.md.

    Args:
        compute: Seconds of a step of one process's part of the batch, alone.
        world: Number of processes.
        latency: Seconds of a reduction of nothing.
        bandwidth: Bytes in a second through one process's link.
        nbytes: Of the gradients.
        imbalance: Work of the busiest process over the mean.
    """
    reduction = 2 * (world - 1) / world * nbytes / bandwidth + latency if world > 1 else 0.0
    return compute * imbalance + reduction


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


def _least(run: Callable[[], Any], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        if dist.is_initialized():
            dist.barrier()
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _work(repeats: int) -> dict[str, float]:
    """Measure in this process, together with the others."""
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if world > 1 else 0
    model = _model()
    y0 = torch.randn(BATCH, SIZE, generator=torch.Generator().manual_seed(1)).chunk(world)[rank]
    wrapped = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    nbytes = sum(parameter.nbytes for parameter in model.parameters())

    def step() -> None:
        wrapped(y0).y1.square().mean().backward()

    step()
    found = {"seconds": _least(step, repeats), "bytes": float(nbytes)}
    if world == 1:
        part = y0[: BATCH // 2]
        found["half"] = _least(lambda: wrapped(part).y1.square().mean().backward(), repeats)
    if world > 1:
        for name, count in (("latency", 1), ("large", 4_000_000)):
            values = torch.zeros(count)
            found[name] = _least(functools.partial(dist.all_reduce, values), repeats)
        stats = torch.tensor([float(model(y0).stats.n_field_evals)])
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
            subprocess.run(command, check=True, env=settings, capture_output=True)
            results[world] = json.loads(path.read_text())
    one, two = results[1], results[2]
    nbytes = int(one["bytes"])
    bandwidth = 16e6 / max(two["large"] - two["latency"], 1e-9)  # of two processes, each sends what it reduces once
    print(f"gradients {nbytes / 1e6:.2f} MB; reduction {two['latency'] * 1e3:.2f} ms and {bandwidth / 1e9:.2f} GB/s")
    print(f"evaluations of the busiest process over the mean: {two['imbalance']:.3f}")
    print("| processes | measured | predicted |\n| ---: | ---: | ---: |")
    for world, found in results.items():
        alone, imbalance = (one["half"], two["imbalance"]) if world > 1 else (one["seconds"], 1.0)
        model = predicted(alone, world, two["latency"], bandwidth, nbytes, imbalance)
        print(f"| {world} | {found['seconds'] * 1e3:.1f} ms | {model * 1e3:.1f} ms |")


if __name__ == "__main__":
    main()
