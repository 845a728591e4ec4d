"""What the examples of physics-informed networks share: options, a run with its report, pictures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nde import pinn

__all__ = ["Rescaled", "draw", "errors_by_output", "options_of", "prepare", "train"]


class Rescaled(nn.Module):
    """A network of coordinates that are moved and stretched to ``[-1, 1]``.

    Args:
        network: What comes after.
        domain: Its bounds go to -1 and 1.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, domain: pinn.Geometry) -> None:
        super().__init__()
        low, high = domain.bounds
        dtype = torch.get_default_dtype()
        self.register_buffer("center", ((low + high) / 2).to(dtype))
        self.register_buffer("scale", (2 / (high - low)).to(dtype))
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's values at points ``(*S, d)``."""
        return self.network((x - self.center) * self.scale)


def options_of(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Add the options that all examples have, and return the arguments, or end with an explanation."""
    add = parser.add_argument
    add("--full", action="store_true", help="as many steps as the accuracy of docs/pinn.md takes")
    add("--steps", type=int, help="number of steps")
    add("--points", type=int, help="number of points of the equation")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    add("--output", type=Path, default=Path("results/pinn"))
    options = parser.parse_args(arguments)
    for name in ("steps", "points", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"argument --{name}: must be at least 1, but is {value}")
    return options


def prepare(options: argparse.Namespace) -> None:
    """Set the type, the number of threads and the seed, and make the folder of the results."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)


def train(
    name: str,
    problem: pinn.Problem,
    optimizer: torch.optim.Optimizer,
    steps: int,
    options: argparse.Namespace,
    reference: pinn.Reference,
) -> tuple[pinn.Trainer, str]:
    """Train, or go on with what was begun, and print error, loss and time.

    Args:
        name: Of the checkpoint, ``<name>.pt`` in the folder of the results.
        problem, optimizer, steps, reference: See `nde.pinn.Trainer`.
        options: As `options_of` returns them.

    Returns:
        The trainer, and how the run ended.
    """
    checkpoint = options.output / f"{name}.pt"
    trainer = pinn.Trainer(
        problem,
        optimizer,
        seed=options.seed,
        reference=reference,
        evaluate_every=10,
        checkpoint=checkpoint,
        checkpoint_every=100,
    )
    if options.resume and checkpoint.exists():
        trainer.resume()
    count = sum(parameter.numel() for parameter in problem.parameters())
    print(f"{name}: {count} parameters, {steps} steps", flush=True)
    begin, processor = time.perf_counter(), time.process_time()
    ending = trainer.run(steps)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    if not trainer.history.values:
        trainer.evaluate()
    skill = f", skill {trainer.history.last('skill'):.3g}" if reference.trivial is not None else ""
    print(
        f"{ending} after {trainer.iteration} steps: relative L2 error {trainer.history.last('error'):.2e}{skill}, "
        f"loss {trainer.history.last('loss'):.2e}, {processor:.0f} s of processor time, {seconds:.0f} s"
    )
    return trainer, ending


@torch.no_grad()
def errors_by_output(model: nn.Module, reference: pinn.Reference, names: Sequence[str]) -> str:
    """Return the relative L2 errors of the outputs of a system, in words."""
    found = model(reference.points)
    parts = [
        f"{name} {pinn.relative_error(found[:, output], reference.values[:, output]):.2e}"
        for output, name in enumerate(names)
    ]
    return "by output: " + ", ".join(parts)


def draw(trainer: pinn.Trainer, case: pinn.zoo.Case, folder: Path, name: str, outputs: Sequence[str] = ("",)) -> None:
    """Save pictures of history, residual and, output by output, solution; of domains up to two dimensions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figures = {"history": pinn.plot_history(trainer.history)}
    if case.domain.dimension <= 2:
        figures["residual"] = pinn.plot_residual(trainer.problem, "equation", case.domain, resolution=101)
        for component, output in enumerate(outputs):
            figures["solution" + (output and f"_{output}")] = pinn.plot_solution(
                trainer.problem.model, case.domain, solution=case.solution, component=component, resolution=101
            )
    for kind, figure in figures.items():
        figure.savefig(folder / f"{name}_{kind}.png", dpi=150)
        pyplot.close(figure)
    print(f"plots: {folder / name}_*.png")
