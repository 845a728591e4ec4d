"""The generator of an SDE-GAN: noise in, paths out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nde.adjoint import Adjoint
from nde.doors.sde import solve_sde
from nde.models.layer import LayerOutput, SolverLayer, check_size
from nde.models.neural_sde import sde_options
from nde.models.perceptron import TimedPerceptron, perceptron
from nde.models.seeds import standard_normal
from nde.regularize import Penalty
from nde.solvers import Controller, Solution, StepTo
from nde.solvers.sde import SDEMethod
from nde.solvers.sde.field import Path

__all__ = ["SDEGenerator", "SDEGeneratorOutput"]


@dataclass(frozen=True)
class SDEGeneratorOutput(LayerOutput):
    """What `SDEGenerator.generate` returns.

    Attributes:
        solution: The solution of the hidden state.
        penalty: Weighted penalty to add to the loss, a 0-d tensor.
        series: Shape ``(samples, T, data_size)``.
    """

    series: Tensor


class SDEGenerator(SolverLayer):
    """A sampler of time series: ``x(ts[0]) = initial(V)``, ``dx = drift dt + diffusion o dW``, ``y = readout(x)``.

    ``V`` is normal noise. Drift and diffusion see the time and end in a hyperbolic tangent, which bounds them; the
    read-out is affine. The equation is one of Stratonovich with general noise.

    It needs no particular way of training: a discriminator (Kidger et al. take a neural CDE; see `NeuralCDE`), or a
    distance between laws, such as the energy score or the mean discrepancy of signatures.

    Kidger, Foster, Li, Oberhauser, Lyons (2021), Neural SDEs as infinite-dimensional GANs; Kidger, Foster, Li, Lyons
    (2021), Efficient and accurate gradients for neural SDEs.

    Args:
        data_size: Channels of a series.
        hidden_size: Length of the hidden state.
        ts: Times of a series, shape ``(T,)``; those of a call take precedence.
        initial_noise_size: Length of ``V``; None for ``hidden_size``.
        noise_size: Number of Brownian motions.
        width, depth: Of the hidden layers of the three networks.
        regularizer: Penalty on the cost of the solve or along the trajectory of the drift, which `generate` applies in
            training mode. Those along the trajectory need ``form="local"``, because the noise is not diagonal; those on
            the error a method with an estimate and a step size of its own, such as ``method="heun"`` with
            ``controller=nde.PIController()``.
        method: A method for the Stratonovich calculus and general noise.
        controller: Step-size controller; by default one step from each of ``ts`` to the next, as in the paper.
        rtol, atol, adjoint, max_steps, dt_min, dt_max, throw: See `nde.solve_sde`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, the method does not fit the calculus and the noise, or the regularizer
            does not go with the options.
    """

    def __init__(
        self,
        data_size: int,
        hidden_size: int = 16,
        ts: Tensor | Sequence[float] = (0.0, 1.0),
        *,
        initial_noise_size: int | None = None,
        noise_size: int = 3,
        width: int = 32,
        depth: int = 1,
        regularizer: Penalty | None = None,
        method: str | SDEMethod = "reversible_heun",
        rtol: Any = 1e-2,
        atol: Any = 1e-3,
        controller: Controller | None = None,
        adjoint: str | Adjoint = "discrete",
        max_steps: int = 100_000,
        dt_min: float = 0.0,
        dt_max: float = math.inf,
        throw: bool = True,
    ) -> None:
        initial_noise_size = hidden_size if initial_noise_size is None else initial_noise_size
        sizes = {
            "data_size": data_size,
            "hidden_size": hidden_size,
            "initial_noise_size": initial_noise_size,
            "noise_size": noise_size,
            "width": width,
            "depth": depth,
        }
        for name, size in sizes.items():
            check_size(size, name)
        controller = StepTo() if controller is None else controller
        options = sde_options(
            "general", "stratonovich", method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw
        )
        super().__init__(ts, regularizer, {**options, "per_sample": False})
        self.initial_noise_size = initial_noise_size
        self.initial = perceptron(initial_noise_size, hidden_size, width, depth)
        self.drift = TimedPerceptron(hidden_size, width, depth)
        self.diffusion = TimedPerceptron(hidden_size, width, depth, noise_size)
        self.readout = nn.Linear(hidden_size, data_size)

    def forward(
        self,
        samples: int,
        ts: Tensor | Sequence[float] | None = None,
        *,
        path: Path | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Generate series, with their gradient and without a penalty.

        Args:
            samples: Number of series.
            ts: Times of this call; the layer's by default.
            path: The Brownian path, of shape ``(samples, noise_size)``; None for a new one.
            seed: Seed of the initial noise, and of the path where none is given; None to draw them from torch's global
                generator.

        Returns:
            Shape ``(samples, T, data_size)``.

        Raises:
            TypeError, ValueError: An argument has the wrong type or is out of range.
            SolverError: The solve failed and ``throw`` is set.
        """
        return self._read(self.solve(samples, ts, path=path, seed=seed))

    def generate(
        self,
        samples: int,
        ts: Tensor | Sequence[float] | None = None,
        *,
        path: Path | None = None,
        seed: int | None = None,
    ) -> SDEGeneratorOutput:
        """Generate series, with the solution behind them and the penalty on it.

        Args:
            samples, ts, path, seed: See `SDEGenerator.forward`.
        """
        start, noise = self._begin(samples, path, seed)
        solution = self.integrated(solve_sde, (self.drift, self.diffusion), start, ts, (), **noise)
        return SDEGeneratorOutput(solution, self.penalty(solution), self._read(solution))

    def solve(
        self,
        samples: int,
        ts: Tensor | Sequence[float] | None = None,
        *,
        path: Path | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Solution:
        """Return the solution of the hidden state, of shape ``(samples, hidden_size)``, before the read-out.

        Args:
            samples: Number of series.
            ts: Times of this call; the layer's by default.
            path, seed: See `SDEGenerator.forward`.
            options: Options of `nde.solve_sde` that take precedence over the layer's.
        """
        start, noise = self._begin(samples, path, seed)
        times = self.ts if ts is None else ts
        return solve_sde(self.drift, self.diffusion, start, times, **noise, **{**self.options, **options})

    def _begin(self, samples: int, path: Path | None, seed: int | None) -> tuple[Tensor, dict[str, Any]]:
        """Return initial states, and the keywords of the solve that are about its noise."""
        check_size(samples, "samples")
        noise = standard_normal(self.readout.weight, (samples, self.initial_noise_size), seed)
        return self.initial(noise), {"path": path, "seed": seed if path is None else None}

    def _read(self, solution: Solution) -> Tensor:
        series: Tensor = self.readout(solution.ys)
        return series.transpose(0, 1)
