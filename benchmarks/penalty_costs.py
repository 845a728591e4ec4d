"""What penalties cost: processor time of a training iteration, ``python -m benchmarks.penalty_costs``.

Each row is a forward and a backward pass with a penalty over one without, on the same steps, at the size of the digits
experiments. Times are the least of many that were taken by turns, of the process and not of the wall: other work on the
machine adds to neither.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import nde
from nde.regularize import (
    GlobalError,
    JacobianFrobenius,
    Kinetic,
    LocalError,
    LocalStiffness,
    Penalty,
    StepCount,
    Taylor,
)

__all__ = ["PENALTIES", "main", "ratios"]

PENALTIES: dict[str, Callable[[], Penalty] | None] = {
    "none": None,
    "GlobalError()": GlobalError,
    "StepCount()": StepCount,
    "LocalError()": LocalError,
    'LocalError(grad="full")': lambda: LocalError(grad="full"),
    "LocalStiffness()": LocalStiffness,
    'Kinetic(form="local")': lambda: Kinetic(form="local"),
    'JacobianFrobenius(form="local")': lambda: JacobianFrobenius(form="local"),
    'Taylor(2, form="local")': lambda: Taylor(2, form="local"),
    'Taylor(3, form="local")': lambda: Taylor(3, form="local"),
}


class Field(nn.Module):
    """The network of the digits experiments: 64 to 100 to 64, with the time as an input of both layers.

    Its weights are larger than those that training begins with: solves take as many steps as those of trained networks.
    """

    def __init__(self, size: int = 64, hidden: int = 100, scale: float = 4.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(size + 1, hidden).double(), nn.Linear(hidden + 1, size).double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(scale)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field on a state of shape ``(batch, size)``."""
        time = t.expand(*y.shape[:-1], 1)
        hidden = torch.tanh(self.inner(torch.cat([y, time], -1)))
        value: Tensor = torch.tanh(self.outer(torch.cat([hidden, time], -1)))
        return value


def _layer(problem: str, penalty: Penalty | None) -> tuple[nn.Module, dict[str, Any]]:
    if problem == "sde":
        field, spread = Field(), nn.Linear(64, 64).double()
        options: dict[str, Any] = {"rtol": 0.02, "atol": 0.02}
        return nde.NeuralSDE(field, lambda t, y: 0.1 * spread(y), regularizer=penalty, **options), {"seed": 0}
    return nde.NeuralODE(Field(), method=problem, rtol=1.4e-8, atol=1.4e-8, regularizer=penalty), {}


def ratios(problem: str, names: list[str], repeats: int) -> tuple[dict[str, float], int]:
    """Return the least processor time of an iteration with each penalty, in seconds, and the number of steps.

    Args:
        problem: ``"tsit5"``, ``"dopri5"`` or ``"sde"``.
        names: Which of `PENALTIES`.
        repeats: How often each is measured.
    """
    torch.manual_seed(0)
    y0 = torch.rand(256, 64, dtype=torch.float64)
    makers = {name: PENALTIES[name] for name in names}
    layers = {name: _layer(problem, None if make is None else make()) for name, make in makers.items()}
    least = dict.fromkeys(names, float("inf"))
    steps = 0
    for _ in range(repeats):
        for name, (layer, options) in layers.items():
            began = time.process_time()
            output = layer(y0, **options)
            loss = output.y1.square().mean() + (output.penalty if PENALTIES[name] is not None else 0.0)
            loss.backward()
            least[name] = min(least[name], time.process_time() - began)
            steps = output.stats.n_accepted
            layer.zero_grad()
    return least, steps


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--problems", nargs="+", default=["tsit5", "dopri5", "sde"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for problem in options.problems:
        names = [name for name in PENALTIES if problem != "sde" or "Taylor" not in name]
        found, steps = ratios(problem, names, options.repeats)
        print(f"\n{problem}, {steps} steps, {1e3 * found['none']:.1f} ms without a penalty\n")
        print("| penalty | time |\n| --- | --- |")
        for name in names[1:]:
            print(f"| `{name}` | {found[name] / found['none']:.3f} |")


if __name__ == "__main__":
    main()
