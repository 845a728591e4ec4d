"""The problems on which operators are compared: the same functions at one resolution or at several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from nde.data import (
    ConDiff,
    Darcy,
    DiffusionReaction,
    NavierStokes,
    ShallowWater,
    SpectralField,
    coarsen,
    generate,
    resample_periodic,
)
from nde.operators import UniformGrid
from nde.operators.local_integral import Boundary

__all__ = ["CELLS", "PROBLEMS", "OperatorProblem", "Samples"]

CELLS = 32  # along each side, where operators are trained


@dataclass(frozen=True)
class Samples:
    """Inputs and outputs, scaled to have values about one.

    Attributes:
        train: On the grid of the training.
        test: Other functions, by the factor of their grid's resolution over that of the training; 1 is among them.
    """

    train: TensorDataset
    test: Mapping[int, TensorDataset]


@dataclass(frozen=True)
class OperatorProblem:
    """A problem.

    Attributes:
        name: For the command line.
        title: For tables.
        about: What is mapped to what.
        load: From the number of samples for training and for the test, and a folder for the data, to the samples.
        periodic: Whether the box is.
        boundary: How local kernels see what is beyond walls: nothing, or, where no flux passes them, the mirror image.
    """

    name: str
    title: str
    about: str
    load: Callable[[int, int, Path], Samples]
    periodic: bool = False
    boundary: Boundary = "zero"

    @property
    def grid(self) -> UniformGrid:
        """The grid of the fields, at every resolution: values are means over cells, on a torus those at vertices."""
        return UniformGrid(periodic=self.periodic, centering="vertices" if self.periodic else "cells")


def _darcy(train: int, test: int, folder: Path) -> Samples:
    data = generate(Darcy(points=4 * CELLS, coefficient_points=CELLS), train + test, folder=folder / "darcy")
    parts = {}
    for factor in (1, 2, 4):
        coefficient, solution = (_tensor(coarsen(data[name], 4 // factor)) for name in ("coefficient", "solution"))
        parts[factor] = (coefficient - 7.5) / 4.5, 100 * solution  # 3 and 12 become -1 and 1
    return _split(parts, train)


def _condiff(variance: float) -> Callable[[int, int, Path], Samples]:
    def load(train: int, test: int, folder: Path) -> Samples:
        problem = ConDiff(points=CELLS, variance=variance)
        data = generate(problem, train + test, folder=folder / f"condiff-{variance:g}")
        logarithm = torch.nn.functional.avg_pool2d(_tensor(data["coefficient"]).log(), 2, 1)  # corners to cells
        scale = 0.07 / (CELLS + 1)  # of the solution, for noise of variance 1 as the source
        fields = torch.cat([logarithm / variance**0.5, _tensor(data["source"])], 1), _tensor(data["solution"]) / scale
        return _split({1: fields}, train)

    return load


def _reaction(problem: DiffusionReaction, factors: tuple[int, ...]) -> Callable[[int, int, Path], Samples]:
    def load(train: int, test: int, folder: Path) -> Samples:
        kind = "noise" if problem.initial is None else "smooth"
        trajectories = -(-train // problem.frames) + -(-test // problem.frames)
        data = generate(problem, trajectories, folder=folder / f"diffusion-reaction-{kind}")
        name = next(iter(data))
        parts = {}
        for factor in factors:
            fields = _tensor(coarsen(data[name], problem.points // (CELLS * factor)))
            parts[factor] = _pairs(5 * fields)
        return _split(parts, -(-train // problem.frames) * problem.frames)

    return load


def _shallow_water(train: int, test: int, folder: Path) -> Samples:
    problem = ShallowWater(points=4 * CELLS, final_time=1.0, frames=5)
    trajectories = -(-train // problem.frames) + -(-test // problem.frames)
    data = generate(problem, trajectories, folder=folder / "shallow-water")
    parts = {factor: _pairs(4 * (_tensor(coarsen(data["height"], 4 // factor)) - 1.0)) for factor in (1, 2, 4)}
    return _split(parts, -(-train // problem.frames) * problem.frames)


def _navier_stokes(train: int, test: int, folder: Path) -> Samples:
    problem = NavierStokes(
        points=2 * CELLS,
        viscosity=1e-4,
        final_time=2.0,
        frames=8,
        forcing="none",
        initial=SpectralField(3.0, 30.0, sigma=7200.0),
        precision="single",
    )
    trajectories = -(-train // problem.frames) + -(-test // problem.frames)
    data = generate(problem, trajectories, folder=folder / "navier-stokes")
    fields = 0.7 * _tensor(data["vorticity"])
    parts = {factor: _pairs(_tensor(resample_periodic(fields.numpy(), factor * CELLS, axes=2))) for factor in (1, 2, 4)}
    return _split(parts, -(-train // problem.frames) * problem.frames)


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _pairs(frames: Tensor) -> tuple[Tensor, Tensor]:
    """From shape ``(samples, times, ...)`` to every state and the next one."""
    return frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)


def _split(parts: Mapping[int, tuple[Tensor, Tensor]], train: int) -> Samples:
    tests = {factor: TensorDataset(*(field[train:] for field in fields)) for factor, fields in parts.items()}
    return Samples(TensorDataset(*(field[:train] for field in parts[1])), tests)


_SMOOTH = SpectralField(4.0, 20.0, sigma=20.0**3, boundary="neumann", length=2.0)

PROBLEMS: dict[str, OperatorProblem] = {
    problem.name: problem
    for problem in (
        OperatorProblem(
            "darcy",
            "Darcy flow",
            "a coefficient with jumps to the solution",
            _darcy,
        ),
        OperatorProblem(
            "condiff-low",
            "ConDiff, variance 0.1",
            "the logarithm of the coefficient and a source of noise to the solution",
            _condiff(0.1),
        ),
        OperatorProblem(
            "condiff-high",
            "ConDiff, variance 2",
            "the logarithm of the coefficient, with contrasts of thousands, and a source of noise to the solution",
            _condiff(2.0),
        ),
        OperatorProblem(
            "reaction-noise",
            "Diffusion-reaction from noise",
            "both concentrations, which began as noise, to those a quarter later",
            _reaction(DiffusionReaction(points=2 * CELLS, final_time=1.0, frames=4), (1,)),
            boundary="reflect",
        ),
        OperatorProblem(
            "reaction-smooth",
            "Diffusion-reaction from a smooth field",
            "both concentrations, which began as a field that 64 cells resolve, to those a quarter later",
            _reaction(DiffusionReaction(points=4 * CELLS, final_time=1.0, frames=4, initial=_SMOOTH), (1, 2, 4)),
            boundary="reflect",
        ),
        OperatorProblem(
            "shallow-water",
            "Shallow water",
            "the height of a breaking dam's water to that a fifth later",
            _shallow_water,
        ),
        OperatorProblem(
            "navier-stokes",
            "Navier-Stokes",
            "the vorticity of a decaying flow to that a quarter later",
            _navier_stokes,
            periodic=True,
        ),
    )
}
