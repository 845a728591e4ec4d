"""A neural ODE whose field is a LocalNO learns a chaotic equation, with and without a penalty on the solver's cost.

    python -m examples.operators.rollout              trains all of it, in about ten minutes
    python -m examples.operators.rollout --seeds 1    once with each penalty

The Kuramoto-Sivashinsky equation, of which the model sees frames one unit of time apart, and never the equation. It is
trained to reach the next two frames and rolled out over sixteen, at the resolution of the training and at twice that.
Prints a table and leaves results and networks in results/operators. Ctrl-C stops it; the same command goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nde
from examples.common import Interrupts, Stopped, Training, make_folder, positive, write_json
from nde.data import KuramotoSivashinsky, generate, resample_periodic
from nde.operators import LocalNO, UniformGrid
from nde.operators.train import RelativeL2, Windows
from nde.regularize import GlobalError, Penalty

__all__ = [
    "FACTORS",
    "PENALTIES",
    "POINTS",
    "RollOutRun",
    "RollOutSettings",
    "finished_roll_outs",
    "frames",
    "main",
    "predict",
    "table",
    "train",
]

POINTS, FACTORS, SEEDS = 64, (1, 2), 3
FRAMES, AHEAD, DEPTH, BATCH, RATE, TOLERANCE, WEIGHT = 16, 2, 2, 16, 2e-3, 1e-5, 0.1

PENALTIES: Mapping[str, Callable[[], Penalty | None]] = {
    "none": lambda: None,
    "global error": lambda: GlobalError(WEIGHT),
}


@dataclass(frozen=True)
class RollOutSettings:
    """What all runs share.

    Attributes:
        trajectories, test_trajectories: How many there are.
        iterations: Of the training.
        width: Channels of the field.
    """

    trajectories: int = 60
    test_trajectories: int = 20
    iterations: int = 300
    width: int = 16


@dataclass(frozen=True)
class RollOutRun:
    """One of the runs: a penalty, a seed, what it shares with the others, and the folder of all results."""

    penalty: str
    seed: int
    settings: RollOutSettings
    output: Path

    @property
    def path(self) -> Path:
        """File of the result, without its ending."""
        shared = self.settings
        folder = f"{shared.trajectories}-trajectories-{shared.iterations}-iterations-width-{shared.width}"
        return self.output / "rollout" / folder / f"{self.penalty.replace(' ', '-')}-seed{self.seed}"

    def result(self) -> dict[str, Any] | None:
        """Return what an earlier run found, or None."""
        try:
            found: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.get("settings") == self.described() else None

    def described(self) -> dict[str, str]:
        """Return everything that the outcome depends on."""
        penalty = repr(PENALTIES[self.penalty]())
        return {name: str(value) for name, value in {**asdict(self.settings), "seed": self.seed, "of": penalty}.items()}


def frames(settings: RollOutSettings, output: Path, factor: int = 1) -> Tensor:
    """Return trajectories of all samples, shape ``(samples, frames + 1, 1, points)``, with values about one."""
    problem = KuramotoSivashinsky(
        points=POINTS * max(FACTORS), length=32.0, final_time=float(FRAMES), frames=FRAMES, warm_up=60.0
    )
    count = settings.trajectories + settings.test_trajectories
    data = generate(problem, count, folder=output / "data" / "kuramoto-sivashinsky")
    return torch.from_numpy(resample_periodic(data["velocity"], POINTS * factor)).float() / 1.3


def build(run: RollOutRun) -> nde.NeuralODE:
    """Return the untrained layer of a run: without coordinates, shifts of the circle commute with it."""
    torch.manual_seed(run.seed)
    field = LocalNO(
        1,
        1,
        dims=1,
        width=run.settings.width,
        depth=DEPTH,
        modes=8,
        coordinates=0,
        grid=UniformGrid(periodic=True, centering="vertices"),
    )
    return nde.NeuralODE(field, regularizer=PENALTIES[run.penalty](), rtol=TOLERANCE, atol=TOLERANCE, max_steps=2000)


def train(run: RollOutRun, stop: Callable[[], bool] = lambda: False) -> nde.NeuralODE:
    """Train, or go on where an earlier run stopped.

    Raises:
        Stopped: ``stop`` said so.
    """
    windows = Windows(frames(run.settings, run.output)[: run.settings.trajectories], AHEAD)
    ts = torch.arange(AHEAD + 1.0)

    def loss(layer: nde.NeuralODE, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        chosen = torch.randint(len(windows), (BATCH,), generator=generator).tolist()
        batch = torch.stack([windows[index][0] for index in chosen], 1)  # frames before samples, as solves have them
        output = layer(batch[0], ts)
        error = RelativeL2()(output.ys[1:].flatten(0, 1), batch[1:].flatten(0, 1)).mean()
        figures = {"error": float(error.detach()), "evaluations": output.stats.n_field_evals}
        return error + output.penalty, figures

    training = Training(
        build(run), loss, run.settings.iterations, run.path.with_suffix(".pt"), run.described(), RATE, seed=run.seed
    )
    training.run(f"{run.penalty}, seed {run.seed}", stop)
    model: nde.NeuralODE = training.model
    return model.eval()


def predict(layer: nde.NeuralODE, initial: Tensor) -> nde.solvers.Solution:
    """Return the solution from some states over all frames."""
    with torch.no_grad():
        return layer.solve(initial, torch.arange(FRAMES + 1.0))


def measure(run: RollOutRun, stop: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Train and measure; write and return the result.

    Raises:
        Stopped: ``stop`` said so.
    """
    known = run.result()
    if known is not None:
        return known
    layer = train(run, stop)
    result: dict[str, Any] = {"penalty": run.penalty, "seed": run.seed, "settings": run.described(), "test": {}}
    for factor in FACTORS:
        truth = frames(run.settings, run.output, factor)[run.settings.trajectories :].transpose(0, 1)
        solution = predict(layer, truth[0])
        errors = [float(RelativeL2()(*pair).mean()) for pair in zip(solution.ys, truth, strict=True)]
        result["test"][str(factor)] = {
            "errors": errors,
            "evaluations": solution.stats.n_field_evals / FRAMES,
        }
    write_json(run.path.with_suffix(".json"), result)
    return result


def finished_roll_outs(output: Path, settings: RollOutSettings | None = None) -> dict[RollOutRun, dict[str, Any]]:
    """Return what there is of runs with some settings, the default ones for None."""
    shared = RollOutSettings() if settings is None else settings
    runs = (RollOutRun(penalty, seed, shared, output) for penalty in PENALTIES for seed in range(SEEDS))
    return {run: result for run in runs if (result := run.result()) is not None}


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return a table of the results, in Markdown."""
    places = [(str(factor), frame) for frame in (AHEAD, FRAMES // 2, FRAMES) for factor in FACTORS]
    head = ["Penalty", "Evaluations for a frame", *(f"Frame {at}, {int(f) * POINTS} points" for f, at in places)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for penalty in PENALTIES:
        mine = [one["test"] for one in results if one["penalty"] == penalty]
        if mine:
            columns = [[one["1"]["evaluations"] for one in mine]]
            columns += [[one[factor]["errors"][frame] for one in mine] for factor, frame in places]
            cells = [_mean(column, 1 if not index else 3) for index, column in enumerate(columns)]
            lines.append("| " + " | ".join([penalty, *cells]) + " |")
    return "\n".join(lines)


def _mean(values: Sequence[float], digits: int) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for and return the exit status."""
    parser, defaults = (
        argparse.ArgumentParser(
            prog="python -m examples.operators.rollout",
            description=__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        ),
        RollOutSettings(),
    )
    add = parser.add_argument
    add("--iterations", type=positive, default=defaults.iterations, help="of the training (default %(default)s)")
    add("--trajectories", type=positive, default=defaults.trajectories, help="for training (default %(default)s)")
    add("--test-trajectories", type=positive, default=defaults.test_trajectories, help="default %(default)s")
    add("--width", type=positive, default=defaults.width, help="channels of the field (default %(default)s)")
    add(
        "--seeds",
        type=int,
        choices=range(1, SEEDS + 1),
        default=SEEDS,
        help="runs with each penalty (default %(default)s)",
    )
    add("--output", type=Path, default=Path("results/operators"), help="where results go (default %(default)s)")
    options = parser.parse_args(arguments)
    make_folder(parser, options.output)
    torch.set_num_threads(1)
    settings = RollOutSettings(options.trajectories, options.test_trajectories, options.iterations, options.width)
    runs = [RollOutRun(name, seed, settings, options.output) for seed in range(options.seeds) for name in PENALTIES]
    with Interrupts() as interrupts:
        try:
            results = [measure(run, lambda: interrupts.asked) for run in runs]
        except Stopped:
            print("\nInterrupted. What is done is saved: the same command goes on from there.", file=sys.stderr)
            return 130
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
