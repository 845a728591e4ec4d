"""Poisson's equation on a line by gradient descent: with and without a preconditioner, frequency by frequency.

    python examples/pinn/preconditioned.py

The model is a Fourier series up to a frequency K. Its residuals' Gram matrix has a condition number of about 3.3 K^4
whatever the boundary's weight is, and descent takes as many steps. Scaling each coefficient by one over its symbol
makes it 1 + O(1 / gamma) at every frequency. Prints the table of De Ryck, Bonnet, Mishra, de Bezenac (2023), An
operator preconditioning perspective on training in physics-informed machine learning, and leaves a plot in
results/pinn. Seconds.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor, nn

from nde import pinn
from nde.taylor.operators import Unknown

GAMMA = 10.0
BOUNDARY_WEIGHTS = tuple(10.0 ** (power / 2) for power in range(9))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frequencies", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--output", type=Path, default=Path("results/pinn"))
    options = parser.parse_args(arguments)
    if min(options.frequencies) < 1:
        parser.error(f"argument --frequencies: must be at least 1, but one is {min(options.frequencies)}")
    torch.set_default_dtype(torch.float64)
    options.output.mkdir(parents=True, exist_ok=True)
    print(f"{'K':>4}{'condition':>12}{'/ K^4':>8}{'steps to 1e-6':>16}{'preconditioned':>18}{'steps taken':>13}")
    curves: dict[int, list[float]] = {}
    for highest in options.frequencies:
        plain = min(pinn.condition_number(problem(highest, weight)).number for weight in BOUNDARY_WEIGHTS)
        better = problem(highest, math.pi / GAMMA**2, GAMMA)
        number = pinn.condition_number(better).number
        curves[highest] = descend(better)
        needed = math.log(1e-6) / math.log1p(-2 / (plain + 1))
        print(
            f"{highest:>4}{plain:>12.3g}{plain / highest**4:>8.2f}{needed:>16,.0f}{number:>18.3f}"
            f"{len(curves[highest]) - 1:>13}"
        )
    draw(curves, options.output / "preconditioned.png")
    return 0


def problem(highest: int, boundary_weight: float, gamma: float | None = None) -> pinn.Problem:
    """Return ``u'' = -cos x - 4 sin 2x`` on ``[-pi, pi]`` with ``u = 1`` at its ends, for a Fourier series.

    Args:
        highest: The highest frequency.
        boundary_weight: Of the boundary condition.
        gamma: The preconditioned series' constant has this factor, and wave ``k`` the factor ``1 / k^2``; None for the
            series as it is.
    """
    u = Unknown("x")
    symbol = None if gamma is None else lambda w: w.square().sum(-1)
    basis = pinn.FourierBasis(
        pinn.Interval(-math.pi, math.pi), highest, symbol=symbol, kernel_scale=1.0 if gamma is None else gamma
    )
    model = nn.Sequential(basis, nn.Linear(basis.outputs, 1, bias=False))
    count = 2 * highest + 1  # the trapezoidal rule is exact for products of the basis functions
    x = (-math.pi + 2 * math.pi * torch.arange(count) / count).unsqueeze(1)
    source = u.given(lambda x: torch.cos(x[..., 0]) + 4 * torch.sin(2 * x[..., 0]))
    ends = torch.tensor([[-math.pi], [math.pi]])
    conditions = {
        "operator": pinn.Equation(u.xx + source, x, weight=2 * math.pi),  # the integral, not the mean
        "ends": pinn.Dirichlet(1.0, ends, weight=2 * boundary_weight),
    }
    built = pinn.Problem(model, conditions)
    built.refresh()
    return built


def descend(built: pinn.Problem, most: int = 2000) -> list[float]:
    """Return the losses of gradient descent with the best step size, until they are 1e-12 of the first."""
    eigenvalues = pinn.condition_number(built).eigenvalues
    size = sum(parameter.numel() for parameter in built.parameters())
    rate = 1 / float(eigenvalues[0] + eigenvalues[-1])
    descent = pinn.PreconditionedDescent(built.parameters(), torch.ones(size), lr=rate)
    losses = [float(built.loss().detach())]

    def closure() -> Tensor:
        descent.zero_grad()
        loss = built.loss()
        loss.backward()
        return loss

    while losses[-1] > 1e-12 * losses[0] and len(losses) <= most:
        descent.step(closure)
        losses.append(float(built.loss().detach()))
    return losses


def draw(curves: dict[int, list[float]], path: Path) -> None:
    """Save a picture of the losses."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for highest, losses in curves.items():
        axes.semilogy(losses, label=f"K = {highest}")
    axes.set(xlabel="step of preconditioned gradient descent", ylabel="loss")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"plot: {path}")


if __name__ == "__main__":
    sys.exit(main())
