"""What an error penalty of a stochastic solve penalises: ``python -m benchmarks.sde_estimates``.

Takes the steps of one adaptive solve again on its path, and compares the penalty that StochasticDiffEq.jl's estimate
makes, ``sum_j E_j h_j``, with that of the embedded estimate and with explicit kinetic energies: their values, and the
angles between their gradients by the networks' parameters. On the spiral of the published experiments, before training
and after a fit to its means and variances.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import nde
from nde.solvers.sde import SDEMethod, StochasticRungeKutta, find_sde_method

__all__ = ["Comparison", "Spiral", "compare", "main"]

TOLERANCE = 0.3  # of the published experiment


class Spiral(nn.Module):
    """A neural spiral: a network of the cubes as drift, a linear map as diagonal diffusion.

    Args:
        seed: Seed of the weights.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inner, self.outer, self.spread = (nn.Linear(2, 50).double(), nn.Linear(50, 2).double(), nn.Linear(2, 2))
        self.spread.double()

    def drift(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the drift, shape ``(batch, 2)``."""
        value: Tensor = self.outer(torch.tanh(self.inner(y**3)))
        return value

    def diffusion(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the diagonal diffusion, shape ``(batch, 2)``."""
        value: Tensor = self.spread(y)
        return value


@dataclass(frozen=True)
class Comparison:
    """Penalties on the steps of one solve.

    Attributes:
        steps: Number of steps, chosen by the estimate of the reference.
        embedded_steps: Number of steps that the embedded estimate chooses.
        values: Value of each penalty.
        cosines: Cosine of the angle between its gradient and that of the reference's.
    """

    steps: int
    embedded_steps: int
    values: dict[str, float]
    cosines: dict[str, float]


def compare(model: Spiral, trajectories: int = 100, seed: int = 0) -> Comparison:
    """Compare the penalties of a model.

    Args:
        model: The drift and the diffusion.
        trajectories: How many paths are solved as one state.
        seed: Seed of the Brownian path.
    """
    embedded = find_sde_method("sosri", "ito", "diagonal")
    if not isinstance(embedded, StochasticRungeKutta):
        raise TypeError(f"sosri must be a StochasticRungeKutta, but is {embedded!r}.")
    reference = embedded.with_estimate("reference")
    y0 = torch.tensor([2.0, 0.0], dtype=torch.float64).expand(trajectories, 2)
    path = nde.BrownianPath(0.0, 1.0, (trajectories, 2), seed=seed, dtype=torch.float64, levy_area="space-time")

    def solved(method: SDEMethod, controller: nde.StepTo | None = None) -> nde.Solution:
        return nde.solve_sde(
            model.drift,
            model.diffusion,
            y0,
            (0.0, 1.0),
            method=method,
            path=path,
            rtol=TOLERANCE,
            atol=TOLERANCE,
            controller=controller,
            step_states=True,
        )

    with torch.no_grad():
        chosen, fewer = (solved(method).steps for method in (reference, embedded))
    again = nde.StepTo(tuple((chosen.t + chosen.h).tolist()[:-1]))
    replayed = solved(reference, again)
    steps = replayed.steps
    states = torch.cat([y0.unsqueeze(0), steps.y])  # type: ignore[list-item]  # one tensor
    drifts = torch.stack([model.drift(t, y) for t, y in zip(steps.t, states[:-1], strict=True)])
    scaled = drifts / (TOLERANCE + TOLERANCE * torch.maximum(states[:-1].abs(), states[1:].abs()))
    sizes = steps.h
    penalties = {
        "reference": nde.regularize.GlobalError(reduction="sum")(replayed),
        "4 h^2 rms(f / scale)": (4 * sizes.square() * scaled.square().mean((1, 2)).sqrt()).sum(),
        "kinetic energy": (0.5 * sizes * drifts.square().mean((1, 2))).sum(),
        "embedded": nde.regularize.GlobalError(reduction="sum")(solved(embedded, again)),
    }
    gradients = {name: _gradient(value, model) for name, value in penalties.items()}
    against = gradients["reference"]
    return Comparison(
        len(chosen),
        len(fewer),
        {name: float(value.detach()) for name, value in penalties.items()},
        {name: float(nn.functional.cosine_similarity(value, against, 0)) for name, value in gradients.items()},
    )


def fit(model: Spiral, iterations: int, trajectories: int = 100) -> float:
    """Fit a model to the means and variances of the true spiral; return the last loss."""
    times = torch.linspace(0, 1, 30, dtype=torch.float64)
    y0 = torch.tensor([2.0, 0.0], dtype=torch.float64)

    def truth(t: Tensor, y: Tensor) -> Tensor:
        first, second = y.pow(3).unbind(-1)
        return torch.stack([-0.1 * first + 2 * second, -2 * first - 0.1 * second], -1)

    fixed = nde.FixedStep(1 / 58)
    with torch.no_grad():
        paths = nde.solve_sde(truth, lambda t, y: 0.2 * y, y0.expand(2000, 2), times, controller=fixed, seed=0).ys
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    loss = torch.zeros(())
    for iteration in range(iterations):
        start = y0.expand(trajectories, 2)
        ys = nde.solve_sde(model.drift, model.diffusion, start, times, controller=fixed, seed=iteration).ys
        loss = (ys.mean(1) - paths.mean(1)).square().mean() + (ys.var(1) - paths.var(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def main(arguments: list[str] | None = None) -> None:
    """Print a table for some seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=150, help="of the fit")
    options = parser.parse_args(arguments)
    print("| model | seed | steps (embedded) | penalty | value | cosine with the reference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for seed in range(options.seeds):
        model = Spiral(seed)
        for name in ("untrained", "fitted"):
            if name == "fitted":
                fit(model, options.iterations)
            found = compare(model, seed=seed)
            for penalty, value in found.values.items():
                counts = f"{found.steps} ({found.embedded_steps})"
                print(f"| {name} | {seed} | {counts} | {penalty} | {value:.3g} | {found.cosines[penalty]:.3f} |")


def _gradient(value: Tensor, model: Spiral) -> Tensor:
    parts = torch.autograd.grad(value, list(model.parameters()), retain_graph=True, allow_unused=True)
    zeros = [torch.zeros_like(parameter) for parameter in model.parameters()]
    return torch.cat([(zero if part is None else part).reshape(-1) for part, zero in zip(parts, zeros, strict=True)])


if __name__ == "__main__":
    main()
