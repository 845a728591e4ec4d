"""Neural operators: a training step against neuraloperator, growth of the cost, scattered points, resolutions.

    python -m benchmarks.operators                         # our side alone
    python -m benchmarks.operators --peer /path/to/python  # of an environment with neuraloperator 2.0.0

The peer's local operator also needs torch-harmonics 0.8.0 there. Both sides have equal layers (4), width (32), waves
kept along each axis (12; 24 coefficients, as the peer counts) and batch (8). Local kernels reach L/16: 9 x 9 points at
64 x 64 and 17 x 17 at 128 x 128 in both. A row is the least CPU time of its repetitions, with several
threads the least time that passes, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

BATCH, WIDTH, MODES = 8, 32, 12
OURS = ("fno", "local", "two radii")
PEERS = {"fno": "peer fno", "local": "peer local"}


def _now() -> float:
    """Return CPU time of one thread; of several, the time that passes."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def build(name: str, size: int):
    if name.startswith("peer"):
        from neuralop import models  # type: ignore[import-not-found, import-untyped, unused-ignore]

        settings = {"n_modes": (2 * MODES, 2 * MODES), "in_channels": 1, "out_channels": 1, "hidden_channels": WIDTH}
        if name == "peer fno":
            return models.FNO(**settings, n_layers=4)
        # on its box of side 2, the radius 1/8 gives 9 x 9 points at 64 x 64: those that a radius L/16 reaches
        shape = {"default_in_shape": (size, size), "disco_kernel_shape": [2, 4], "radius_cutoff": 0.125}
        return models.LocalNO(**settings, **shape, n_layers=4)
    from nde.operators import FNO, LocalNO

    if name == "fno":
        return FNO(1, 1, width=WIDTH, modes=MODES)
    if name == "local":
        return LocalNO(1, 1, width=WIDTH, modes=MODES, radii=(1 / 16,), differential=(1,))
    return LocalNO(1, 1, width=WIDTH, modes=MODES)


def measure_step(name: str, size: int, repetitions: int) -> dict[str, float]:
    torch.manual_seed(0)
    model = build(name, size)
    x = torch.randn(BATCH, 1, size, size)
    forward, both = [], []
    for _ in range(repetitions + 1):
        start = _now()
        out = model(x)
        forward.append(_now() - start)
        out.square().mean().backward()
        both.append(_now() - start)
    count = sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
    return {"forward": min(forward[1:]), "both": min(both[1:]), "parameters": count}


def in_process(python: str, name: str, size: int, repetitions: int) -> dict[str, float]:
    root = Path(__file__).parents[1]
    command = [python, "-W", "ignore", __file__, "--one", name, str(size), str(repetitions)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    if done.returncode:
        sys.exit(f"{name} at {size} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def steps(sizes: list[int], repetitions: int, peer: str | None) -> None:
    print(f"\nA training step, batch {BATCH}, ms on {torch.get_num_threads()} thread(s): forward / forward + backward")
    print(f"{'model':12}{'parameters':>12}" + "".join(f"{f'{size} x {size}':>18}" for size in sizes))
    ours: dict[tuple[str, int], float] = {}
    rows = [(name, sys.executable) for name in OURS] + ([(name, peer) for name in PEERS.values()] if peer else [])
    for name, python in rows:
        cells = []
        for size in sizes:
            found = in_process(python, name, size, repetitions)
            ours[name, size] = found["both"]
            cells.append(f"{1e3 * found['forward']:.0f} / {1e3 * found['both']:.0f}")
        print(f"{name:12}{found['parameters']:>12.0f}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    for name, other in PEERS.items() if peer else ():
        ratios = "".join(f"{ours[name, size] / ours[other, size]:>18.2f}" for size in sizes)
        print(f"{name + ' / peer':24}{ratios}")


def growth(sizes: list[int], repetitions: int) -> None:
    from nde.operators import LocalIntegral

    print("\nOne local integral, 16 channels, batch 2, radius 1/16, CPU ms forward + backward, and its growth")
    before = None
    for size in sizes:
        layer, x = LocalIntegral(16, 16, radius=1 / 16), torch.randn(2, 16, size, size)
        times = []
        for _ in range(repetitions + 1):
            start = _now()
            layer(x).square().mean().backward()
            times.append(_now() - start)
        best = min(times[1:])
        print(f"{size:6}{1e3 * best:10.1f}" + (f"{best / before:8.1f} x" if before else ""), flush=True)
        before = best


def crossover(repetitions: int) -> None:
    from nde.operators import LocalIntegral

    print("\nDirect and Fourier evaluation, 32 channels, batch 8, CPU ms forward + backward, by points of the kernel")
    for dims, size in ((1, 4096), (2, 64), (3, 16)):
        for half in {1: (4, 8, 16, 32), 2: (1, 2, 3, 4), 3: (1, 2, 3)}[dims]:
            cells = []
            for method in ("direct", "fft"):
                layer = LocalIntegral(32, 32, dims, radius=(half + 0.4) / size, method=method)
                x, times = torch.randn(8, 32, *(size,) * dims), []
                for _ in range(repetitions + 1):
                    start = _now()
                    layer(x).square().mean().backward()
                    times.append(_now() - start)
                cells.append(1e3 * min(times[1:]))
            print(
                f"{dims}-D {(2 * half + 1) ** dims:6} points: direct {cells[0]:8.1f}   fourier {cells[1]:8.1f}",
                flush=True,
            )


def points(repetitions: int) -> None:
    from nde.operators import HatBasis, LocalIntegral, PointCloud

    count = 16_384
    positions = torch.rand(count, 2, dtype=torch.float64)
    start = _now()
    cloud = PointCloud(positions)
    weights = _now() - start
    cloud.filters(HatBasis(), 0.0197, "zero", False, torch.float32, torch.device("cpu"))
    whole = _now() - start
    layer, x = LocalIntegral(16, 16, radius=0.0197), torch.randn(8, 16, count, requires_grad=True)
    forward, both = [], []
    for _ in range(repetitions + 1):
        start = _now()
        out = layer(x, cloud)
        forward.append(_now() - start)
        out.square().mean().backward()
        both.append(_now() - start)
    print(f"\n{count} scattered points, about 20 neighbours, CPU seconds: set-up {whole:.2f} (weights {weights:.2f});")
    print(f"16 channels, batch 8: forward {min(forward[1:]):.3f}, forward + backward {min(both[1:]):.3f}")


def imports(repetitions: int) -> None:
    times = []
    for _ in range(repetitions):
        command = [sys.executable, "-X", "importtime", "-c", "import torch, nde.operators"]
        root = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        lines = subprocess.run(command, capture_output=True, text=True, env=root, check=True).stderr.splitlines()
        (line,) = [line for line in lines if line.split("|")[-1].strip() == "nde.operators"]
        times.append(int(line.split("|")[1]) / 1e3)
    print(f"\nImport of nde.operators after torch: {min(times):.0f} ms")


def resolutions() -> None:
    import math

    from nde.operators import LocalNO, UniformGrid, resolution_changes

    def waves(positions: torch.Tensor) -> torch.Tensor:
        x, y = 2 * math.pi * positions
        return torch.stack((x.sin() * (2 * y).cos(), (x + y).cos()))[None]

    torch.manual_seed(0)
    model = LocalNO(2, 1, width=16, coordinates=0, radii=(1 / 16, 0.1)).double()
    changes = resolution_changes(model, waves, (32, 64, 128, 256, 512), UniformGrid(periodic=True))
    print("\nRelative change of the output against 512 x 512, same weights: ", end="")
    print(", ".join(f"{size}: {change:.1e}" for size, change in zip((32, 64, 128, 256), changes, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="a Python that has neuraloperator")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="points along each axis")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, size, repetitions = arguments.one
        print(json.dumps(measure_step(name, int(size), int(repetitions))))
        return
    steps(arguments.sizes, arguments.repetitions, arguments.peer)
    growth([*arguments.sizes, 2 * arguments.sizes[-1]], arguments.repetitions)
    crossover(arguments.repetitions)
    points(arguments.repetitions)
    imports(arguments.repetitions)
    resolutions()


if __name__ == "__main__":
    main()
