"""The page of the documentation with tables and pictures of the comparison of operators and of the roll-outs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.operators import rollout
from examples.operators.compare import table
from examples.operators.pictures import Found, draw_fields, draw_ratios, draw_resolutions, draw_roll_out
from examples.operators.problems import PROBLEMS
from examples.operators.rollout import RollOutRun
from examples.operators.runs import Run, load
from examples.operators.structure import Structure, fine_structure
from nde.files import write_atomically

__all__ = ["write_report"]

AIM = 0.75  # of FNO's error

_HEAD = """# Neural operators compared

Written by `make experiments-operators`; do not edit. FNO and LocalNO (two local integrals of fixed radius beside the
spectral convolution, its default) with {modes} waves along each axis and four blocks; FNO is as wide as it takes for at
least as many parameters. {samples} inputs with their outputs on 32 x 32 cells, {epochs} epochs, one thread, {seeds}
seeds. An epoch of LocalNO takes about three times as long, so there is an FNO with three times the epochs, too. With
"regularised differential", this takes the place of one of the integrals, for the first seed. Walls without flux (both
reactions) are mirrors for local kernels.

Errors are relative, in L2, of functions not seen in training. Networks and data are small: this says what local kernels
are good for, not how small an error can get.

![Errors, over those of FNO: bars are means, dots are seeds](images/operators-ratios.png)

## Where local kernels help

{summary}

*Beyond the waves* is the norm of the outputs' structure that the {modes} waves cannot hold, over the outputs' norm:
the error of the best field made of these waves alone. *Own* and *near* say how much of this structure remains when the
best linear function of the input at the same point, or at the 5 x 5 points around it, is taken away. A spectral
convolution has the waves and the pointwise map has the point: what is left to local kernels is the step from *own* to
*near*, and what is nonlinear in the neighbours. *Quotients* are of LocalNO's errors on 32 x 32 cells with those of FNO,
from the best seed to the worst; *lower by 25 %* asks that of each seed; *same time* has the quotients with FNO of three
times the epochs. *4x* is LocalNO's error on 128 x 128 cells over that on 32 x 32, without training there; ConDiff and
the reaction from noise are other problems on other grids, and have none.

{reading}
{resolutions}"""

_READING = """- Local kernels pay where neighbours decide what happens at a point, in structure finer than the kept
  waves: heat that smooths noise, vortices and fronts that move by a few cells. Pointwise maps cannot mix neighbours,
  and more epochs do not help what the layers cannot say.
- They pay less where fine structure is a small part (Darcy flow), or decided by all of the box (ConDiff): most of the
  error then lies in what both models have the same layers for.
- An epoch of FNO is cheaper. Where its error still falls with the epochs, as many seconds of it do more than local
  kernels (Darcy flow, shallow water, ConDiff of low variance).
- At other resolutions, kernels of fixed radius drift as little as FNO does where the training's cells resolve the
  functions (Navier-Stokes) or the functions are made of them (Darcy flow). Where they do not (the reaction from a
  smooth field takes 64 cells; a bore is a cell thick on every grid), finer cells hold structure that no network was
  shown.
"""


def write_report(found: Found, roll_outs: Mapping[RollOutRun, dict[str, Any]], page: Path, images: Path) -> None:
    """Write the page and its pictures.

    Args:
        found: Results of the comparison by their runs.
        roll_outs: Those of the roll-outs; without any, the page has none of them.
        page: File of the page.
        images: Folder of the pictures.
    """
    images.mkdir(parents=True, exist_ok=True)
    settings = next(iter(found)).settings
    seeds = len({run.seed for run in found})
    several = draw_resolutions(found, images / "operators-resolutions.png")
    head = _HEAD.format(
        modes=settings.modes,
        samples=settings.samples,
        epochs=settings.epochs,
        seeds=seeds,
        summary=_summary(found),
        reading=_READING,
        resolutions="![Errors against resolution](images/operators-resolutions.png)\n" if several else "",
    )
    sections = [head]
    draw_ratios(found, images / "operators-ratios.png")
    for name, problem in PROBLEMS.items():
        results = [result for run, result in found.items() if run.problem == name]
        if not results:
            continue
        picture = images / f"operators-{name}.png"
        draw_fields({run.model: run for run in found if run.problem == name and run.seed == 0}, picture)
        sections.append(
            f"## {problem.title}\n\nFrom {problem.about}. Means over the seeds ± their standard deviation, in "
            f"parentheses the mean quotient with FNO's error of the same seed.\n\n{table(results)}\n\n"
            f"![Input, output, predictions and errors](images/{picture.name})\n"
        )
    if roll_outs:
        sections.append(_roll_outs(roll_outs, images / "operators-rollout.png"))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, lambda file: file.write("\n".join(sections).encode()))


def _summary(found: Found) -> str:
    head = ["Problem", "Beyond the waves", "Own", "Near", "Quotients", "Lower by 25 %", "Same time"]
    lines = ["| " + " | ".join([*head, "4x"]) + " |", "| --- |" + " ---: |" * len(head)]
    for name in PROBLEMS:
        runs = [run for run in found if run.problem == name]
        if runs:
            structure = _structure(runs[0])
            parts = [f"{part:.2f}" for part in (structure.beyond, structure.own, structure.near)]
            local, same_time = (_quotients(found, name, base) for base in ("FNO", "FNO, three times the epochs"))
            verdict = "" if not local else "yes" if max(local) <= AIM else "no"
            finest = [
                list(result["test"].values())[-1] / result["test"]["1"]
                for run, result in found.items()
                if run.problem == name and run.model == "LocalNO" and len(result["test"]) > 1
            ]
            drift = f"{statistics.mean(finest):.2f}" if finest else ""
            cells = [*parts, _range(local), verdict, _range(same_time), drift]
            lines.append("| " + " | ".join([PROBLEMS[name].title, *cells]) + " |")
    return "\n".join(lines)


def _structure(run: Run) -> Structure:
    problem = PROBLEMS[run.problem]
    samples = load(problem, run.settings, run.output)
    return fine_structure(samples.train, samples.test[1], run.settings.modes, problem.periodic)


def _quotients(found: Found, problem: str, base: str) -> list[float]:
    """Return LocalNO's errors over those of another model, from the least to the largest over the seeds."""
    errors = {(run.model, run.seed): result["test"]["1"] for run, result in found.items() if run.problem == problem}
    return sorted(
        error / errors[base, seed]
        for (kind, seed), error in errors.items()
        if kind == "LocalNO" and (base, seed) in errors
    )


def _range(values: list[float]) -> str:
    return "" if not values else " to ".join(f"{value:.2f}" for value in dict.fromkeys((values[0], values[-1])))


def _roll_outs(found: Mapping[RollOutRun, dict[str, Any]], picture: Path) -> str:
    draw_roll_out(found, picture)
    settings = next(iter(found)).settings
    seeds = max(sum(run.penalty == penalty for run in found) for penalty in rollout.PENALTIES)
    return f"""## A neural ODE with a LocalNO for its field

`nde.NeuralODE(LocalNO(...))` learns the Kuramoto-Sivashinsky equation from {settings.trajectories} trajectories on
{rollout.POINTS} points, of which it sees frames one unit of time apart. It is trained to reach the next {rollout.AHEAD}
frames in {settings.iterations} iterations, and rolled out over {rollout.FRAMES}, from other states, at the resolution
of the training and at twice that. Tolerances are {rollout.TOLERANCE:g}; the penalty is
`GlobalError({rollout.WEIGHT})`. Evaluations are those of the field in the whole roll-out, over its frames. The equation
is chaotic: small differences grow. Seeds: {seeds}.

{rollout.table(list(found.values()))}

A penalty on the cost finds a smoother flow where many flows fit. Here frames one unit apart leave little choice: what
it saves is paid for in the roll-out's error.

![Truth, roll-outs and errors against time](images/{picture.name})
"""
