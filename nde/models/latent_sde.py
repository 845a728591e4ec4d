"""The variational latent SDE: two stochastic equations that share a diffusion, and the divergence of their paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from nde import validation
from nde.adjoint import Adjoint
from nde.doors.sde import solve_sde
from nde.models.girsanov import PaddedPath, stable_division
from nde.models.layer import LayerOutput, SolverLayer, check_size
from nde.models.neural_sde import sde_options
from nde.models.penalized import Part
from nde.models.seeds import standard_normal
from nde.models.unwatched import LEFT_OUT, tolerances_of_part
from nde.regularize import Penalty
from nde.solvers import Controller
from nde.solvers.sde import SDEMethod, find_sde_method
from nde.solvers.sde.field import Path
from nde.solvers.structure import StateStructure

__all__ = ["LatentSDE", "LatentSDEOutput"]


@dataclass(frozen=True)
class LatentSDEOutput(LayerOutput):
    """What `LatentSDE` returns: one path of the posterior for each sample of the batch.

    Attributes:
        solution: The solution of the nested state ``{"z": paths, "kl": integral}``.
        penalty: Weighted penalty to add to the loss, a 0-d tensor.
        initial_kl: Divergence of the initial state's posterior from its prior, shape ``(*batch,)``.
    """

    initial_kl: Tensor

    @property
    def ys(self) -> Tensor:
        """Paths at the output times, shape ``(T, *batch, latent_size)``."""
        paths: Tensor = self.solution.ys["z"]
        return paths

    @property
    def y1(self) -> Tensor:
        """Latent state at the end of the span, shape ``(*batch, latent_size)``."""
        last: Tensor = self.solution.y1["z"]
        return last

    @property
    def path_kl(self) -> Tensor:
        """``1/2 int |(posterior drift - prior drift) / diffusion|^2 dt`` along each path, shape ``(*batch,)``.

        Its mean over paths is the divergence of the posterior's paths from the prior's, given the initial state.
        """
        integral: Tensor = self.solution.y1["kl"]
        return integral.squeeze(-1)

    @property
    def kl(self) -> Tensor:
        """Both divergences together, shape ``(*batch,)``: what the evidence lower bound subtracts."""
        return self.initial_kl + self.path_kl


class LatentSDE(SolverLayer):
    """A variational posterior over the paths of a latent SDE.

    The prior is ``dz = prior_drift(t, z) dt + diffusion(t, z) dW`` with a normal initial state whose mean and standard
    deviation are learned; the posterior has another drift and another initial state, which an encoder makes of the
    data, and the same diffusion: otherwise the divergence of the two would be infinite. By Girsanov's theorem it is the
    mean of ``1/2 int |(posterior_drift - prior_drift) / diffusion|^2 dt`` over paths of the posterior. That integral is
    one more state without noise.

    It takes no part in the control of the steps, nor in penalties on the error: steps and errors are those of the
    latent state alone. (A stiffness estimate sees the integrand beside the drift.)

    Li, Wong, Chen, Duvenaud (2020), Scalable gradients for stochastic differential equations.

    Args:
        posterior_drift: An ``nn.Module`` or any callable ``(t, z, *args)``; ``args`` of a call bring the context.
        prior_drift: Likewise, ``(t, z)``.
        diffusion: Likewise, ``(t, z)``, with a value of the shape of ``z``: the noise is diagonal. It should keep away
            from zero: where it vanishes and the drifts differ, the divergence is infinite.
        latent_size: Length of the last axis of ``z``.
        ts: Output times, shape ``(T,)``, increasing; those of a call take precedence.
        diffusion_floor: Smaller diffusions count as this one where the difference of the drifts is divided by them, so
            that values and gradients stay finite.
        calculus, method: See `nde.solve_sde`.
        regularizer: Penalty on the cost of the posterior's solve, applied in training mode. Penalties along the
            trajectory are those of the posterior's drift; in the augmented form, a seed stands for another path than
            without them.
        per_sample: See `nde.solve_sde`: a step size for each sample, along the first axis. What of ``args`` belongs to
            samples is passed as ``nde.PerSample(value)``, and calls take no ``path``.
        rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw: See `nde.solve_sde`.

    Attributes:
        initial_mean, initial_log_std: Parameters of the prior's initial state, shape ``(latent_size,)``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the method does not fit the calculus and diagonal noise.
    """

    def __init__(
        self,
        posterior_drift: Callable[..., Tensor],
        prior_drift: Callable[[Tensor, Tensor], Tensor],
        diffusion: Callable[[Tensor, Tensor], Tensor],
        latent_size: int,
        ts: Tensor | Sequence[float] = (0.0, 1.0),
        *,
        diffusion_floor: float = 1e-7,
        calculus: str = "ito",
        method: str | SDEMethod | None = None,
        regularizer: Penalty | None = None,
        rtol: Any = 1e-2,
        atol: Any = 1e-3,
        controller: Controller | None = None,
        adjoint: str | Adjoint = "discrete",
        max_steps: int = 100_000,
        dt_min: float = 0.0,
        dt_max: float = math.inf,
        throw: bool = True,
        per_sample: bool = False,
    ) -> None:
        functions = {"posterior_drift": posterior_drift, "prior_drift": prior_drift, "diffusion": diffusion}
        for name, function in functions.items():
            validation.check_field(function, name)
        check_size(latent_size, "latent_size")
        if isinstance(diffusion_floor, bool) or not isinstance(diffusion_floor, (int, float)):
            raise TypeError(f"diffusion_floor must be a number, but is {diffusion_floor!r}.")
        if not 0 < diffusion_floor < math.inf:
            raise ValueError(f"diffusion_floor must be positive and finite, but is {diffusion_floor}. Try 1e-7.")
        options = sde_options(
            "diagonal", calculus, method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw
        )
        validation.check_flag(per_sample, "per_sample")
        super().__init__(ts, regularizer, {**options, "per_sample": per_sample})
        self.posterior_drift = posterior_drift
        self.prior_drift = prior_drift
        self.diffusion = diffusion
        self.latent_size = latent_size
        self.diffusion_floor = float(diffusion_floor)
        self.initial_mean = nn.Parameter(torch.zeros(latent_size))
        self.initial_log_std = nn.Parameter(torch.zeros(latent_size))

    @property
    def initial(self) -> Normal:
        """The prior of the initial state, of shape ``(latent_size,)``."""
        return Normal(self.initial_mean, self.initial_log_std.exp())

    def forward(
        self,
        initial: Normal,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        *,
        path: Path | None = None,
        seed: int | None = None,
    ) -> LatentSDEOutput:
        """Draw a path of the posterior for each sample of the batch.

        Args:
            initial: Posterior of the initial state, of shape ``(*batch, latent_size)``; the gradient reaches its mean
                and its standard deviation.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of the posterior's drift: the context.
            path: The Brownian path, of the shape of ``z``; None for a new one.
            seed: Seed of the initial state, and of the path where none is given; None to draw them from torch's global
                generator.

        Returns:
            Paths, divergences and the penalty.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: A shape is wrong, ``ts`` does not increase, or the diffusion is not diagonal.
            SolverError: The solve failed and ``throw`` is set.
        """
        if not isinstance(initial, Normal):
            raise TypeError(
                f"initial must be a torch.distributions.Normal, but is a {type(initial).__name__}. "
                "Try Normal(mean, std), of what the encoder returns."
            )
        shape = tuple(initial.mean.shape)
        if not shape or shape[-1] != self.latent_size:
            raise ValueError(f"initial must have shape (*batch, {self.latent_size}), but has shape {shape}.")
        z0 = initial.mean + initial.stddev * standard_normal(initial.mean, shape, seed)
        times = self.ts if ts is None else ts
        if self.options["per_sample"] and path is not None:
            raise ValueError(
                "path does not go with per_sample=True, where each sample has its divergence too. Use seed."
            )
        if self.options["per_sample"] and len(shape) < 2:
            raise ValueError(f"initial must have a batch axis with per_sample=True, but has shape {shape}.")
        if path is not None:
            _check_shape(path, shape)
        solution = self.integrated(
            solve_sde,
            (self._drift, self._diffusion),
            {"z": z0, "kl": torch.zeros_like(z0[..., :1])},
            self._increasing(times, z0),
            args,
            part=Part("z", self.posterior_drift),
            path=None if path is None else PaddedPath(path, z0[..., 0].numel()),
            seed=seed if path is None else None,
            **self._tolerances(z0),
        )
        divergence: Tensor = torch.distributions.kl_divergence(initial, self.initial)
        return LatentSDEOutput(solution, self.penalty(solution), divergence.sum(-1))

    def sample(
        self,
        samples: int,
        ts: Tensor | Sequence[float] | None = None,
        *,
        path: Path | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draw paths of the prior, with their gradient.

        Args:
            samples: Number of paths.
            ts: Output times of this call; the layer's by default.
            path: The Brownian path, of shape ``(samples, latent_size)``; None for a new one.
            seed: Seed of the initial states, and of the path where none is given; None to draw them from torch's global
                generator.

        Returns:
            Shape ``(T, samples, latent_size)``.

        Raises:
            TypeError, ValueError: An argument has the wrong type or is out of range.
            SolverError: The solve failed and ``throw`` is set.
        """
        check_size(samples, "samples")
        shape = (samples, self.latent_size)
        noise = standard_normal(self.initial_mean, shape, seed)
        z0 = self.initial_mean + self.initial_log_std.exp() * noise
        times = self._increasing(self.ts if ts is None else ts, z0)
        path_seed = seed if path is None else None
        solution = solve_sde(self.prior_drift, self.diffusion, z0, times, path=path, seed=path_seed, **self.options)
        paths: Tensor = solution.ys
        return paths

    def relative_drift(self, t: Tensor, z: Tensor, *args: Any) -> Tensor:
        """Return ``(posterior_drift - prior_drift) / diffusion``, of the shape of ``z``.

        With ``u`` for it, ``1/2 int |u|^2 dt + int u dW`` along a path of the posterior is the logarithm of its density
        with respect to the prior.
        """
        difference = self.posterior_drift(t, z, *args) - self.prior_drift(t, z)
        return stable_division(difference, self._diagonal(t, z), self.diffusion_floor)

    def extra_repr(self) -> str:
        """Describe sizes and the solver in ``repr``."""
        return f"latent_size={self.latent_size}, {super().extra_repr()}"

    def _drift(self, t: Tensor, state: dict[str, Tensor], *args: Any) -> dict[str, Tensor]:
        z = state["z"]
        posterior = self.posterior_drift(t, z, *args)
        relative = stable_division(posterior - self.prior_drift(t, z), self._diagonal(t, z), self.diffusion_floor)
        return {"z": posterior, "kl": 0.5 * relative.square().sum(-1, keepdim=True)}

    def _diffusion(self, t: Tensor, state: dict[str, Tensor], *args: Any) -> dict[str, Tensor]:
        return {"z": self._diagonal(t, state["z"]), "kl": torch.zeros_like(state["kl"])}

    def _diagonal(self, t: Tensor, z: Tensor) -> Tensor:
        value = self.diffusion(t, z)
        if not isinstance(value, Tensor) or value.shape != z.shape:
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise ValueError(
                f"diffusion(t, z) must return a tensor of the shape of z, {tuple(z.shape)}, but what it returned has "
                f"{given}. LatentSDE takes diagonal noise: of another diffusion, the divergence needs the inverse."
            )
        return value

    def _increasing(self, ts: Tensor | Sequence[float], z0: Tensor) -> Tensor:
        checked, times = validation.check_times(ts, StateStructure(z0))
        if times[0] > times[-1]:
            raise ValueError(
                f"ts must be increasing, but goes from {times[0]:.10g} to {times[-1]:.10g}: the divergence would be "
                "negative."
            )
        return checked

    def _tolerances(self, z0: Tensor) -> dict[str, Any]:
        """Return tolerances with which steps and errors are those of the latent state alone."""
        count = z0[..., 0].numel()
        rtol, atol = tolerances_of_part(self.options["rtol"], self.options["atol"], z0, count)
        zero = validation.is_zero(rtol) and validation.is_zero(atol)
        method = find_sde_method(self.options["method"], self.options["calculus"], "diagonal")
        validation.check_controller(self.options["controller"], method, zero)
        return {"rtol": {"z": rtol, "kl": 0.0}, "atol": {"z": atol, "kl": LEFT_OUT}}


def _check_shape(path: Any, shape: tuple[int, ...]) -> None:
    if not callable(path):
        raise TypeError(f"path must be callable as path(s, t), but is {path!r}. Try nde.BrownianPath(t0, t1, {shape}).")
    has = getattr(path, "shape", None)
    if has is not None and tuple(has) != shape:
        raise ValueError(f"path must have shape {shape}, that of the latent state, but has shape {tuple(has)}.")
