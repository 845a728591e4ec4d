"""Solve Kuramoto and Sivashinsky's equation window by window in time, with natural gradients.

    python examples/pinn/kuramoto_sivashinsky.py                 to t = 0.1, two minutes
    python examples/pinn/kuramoto_sivashinsky.py --end 0.05      the smooth beginning, a minute
    python examples/pinn/kuramoto_sivashinsky.py --full          to t = 0.2, four minutes

The equation has derivatives of fourth order in space and, from t = 0.1 on, fronts with forty waves in them; errors
grow in time. One network for all times does not find that. Here every window has a network of its own, which is
periodic by construction and begins, by construction as well, with the Fourier series of what the one before ended with.

Prints the error of every window and of the whole, and leaves a plot in results/pinn. Ctrl-C stops it after a step; the
same command with --resume goes on from there.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor, nn

from examples.pinn import runs
from nde import pinn

PERIOD = 2 * math.pi
WINDOW = 0.025
STEPS = 40  # of each window
NODES = 192  # as many as resolve sixty-four waves: fewer than forty are not enough for the fronts


class Series(nn.Module):
    """The Fourier series through values at equally spaced nodes of the circle, a function of points ``(x, t)``.

    Args:
        values: Shape ``(n,)``; waves up to a third of ``n`` are kept.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        spectrum = torch.fft.rfft(values)[: len(values) // 3 + 1] / len(values)
        self.mean = float(spectrum[0].real)
        self.register_buffer("cosines", 2 * spectrum[1:].real)
        self.register_buffer("sines", -2 * spectrum[1:].imag)

    def forward(self, x: Any) -> Any:
        """Return the values, shape ``(*S,)``."""
        waves = torch.arange(1, len(self.cosines) + 1, dtype=self.cosines.dtype)
        phase = x[..., :1] * waves
        return phase.cos() @ self.cosines + phase.sin() @ self.sines + self.mean


class March(nn.Module):
    """The models of consecutive windows of equal length as one.

    Args:
        models: One for each window, the first from time 0 on.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values at points ``(n, 2)``, shape ``(n,)``."""
        window = (x[:, 1] / WINDOW).long().clamp(0, len(self.models) - 1)
        result = torch.zeros_like(x[:, 0])
        for place, model in enumerate(self.models):
            chosen = window == place
            result[chosen] = model(x[chosen]).squeeze(-1)
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--end", type=float, help="last time, up to 0.4; default: 0.1, with --full 0.2")
    options = runs.options_of(parser, arguments)
    end = (0.2 if options.full else 0.1) if options.end is None else options.end
    count = round(end / WINDOW)
    if not 0 < end <= 0.4 or abs(count * WINDOW - end) > 1e-9:
        parser.error(f"argument --end: must be a multiple of {WINDOW} up to 0.4, but is {end}")
    runs.prepare(options)
    case = pinn.zoo.kuramoto_sivashinsky(end)
    grid = PERIOD * torch.arange(NODES) / NODES
    values = case.initial[0](grid.unsqueeze(-1))
    models: list[nn.Module] = []
    for window in range(count):
        torch.manual_seed(options.seed + window)  # so that a resumed run finds the same networks
        start, stop = window * WINDOW, (window + 1) * WINDOW
        model, ending = solve_window(case, values, start, stop, f"kuramoto_sivashinsky_{window}", options)
        if ending == "interrupted":
            return 130
        models.append(model)
        values = model(torch.stack([grid, torch.full_like(grid, stop)], -1)).detach().squeeze(-1)
    whole = March(models)
    print(f"{case.name} to t = {end:g}: relative L2 error {case.reference(4000).error(whole):.2e}")
    draw(whole, case, options.output / "kuramoto_sivashinsky.png")
    return 0


def solve_window(
    case: pinn.zoo.Case, values: Tensor, start: float, stop: float, name: str, options: argparse.Namespace
) -> tuple[nn.Module, str]:
    """Return the trained model of one window, and how its training ended."""
    domain = pinn.TimeProduct(pinn.Interval(0.0, PERIOD), start, stop)
    # the coordinates are moved to [-1, 1], where the circle has the length 2
    embedding = pinn.PeriodicEmbedding(2, {0: 2.0}, harmonics=10)
    perceptron = pinn.MLP(embedding.outputs, width=32, depth=2)
    network = runs.Rescaled(nn.Sequential(embedding, perceptron), domain)
    model = pinn.HardConstraint(network, domain.vanishing_at_start, Series(values))
    points = pinn.RandomPoints(domain.sample, options.points or 2500, every=10, method="sobol")
    problem = pinn.Problem(model, {"equation": pinn.Equation(case.residual, points)})
    x = domain.sample(2000, generator=torch.Generator().manual_seed(1))
    steps = options.steps or STEPS
    reference = pinn.Reference(x, case.solution)
    trainer, ending = runs.train(name, problem, pinn.NaturalGradient(problem), steps, options, reference)
    return trainer.problem.model, ending


def draw(model: nn.Module, case: pinn.zoo.Case, path: Path) -> None:
    """Save a picture of the solution."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pinn.plot_solution(model, case.domain, solution=case.solution)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"plot: {path}")


if __name__ == "__main__":
    sys.exit(main())
