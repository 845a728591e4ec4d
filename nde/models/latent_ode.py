"""The latent ODE: a variational autoencoder of irregular series whose latent state obeys a differential equation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.doors.ode import solve_ode
from nde.models.layer import LayerOutput, SolverLayer, as_numbers, check_size
from nde.models.seeds import standard_normal
from nde.models.series import check_series_times, masked_gaussian_log_likelihood, padded
from nde.regularize import Penalty, Steer
from nde.solvers import Controller, Method, Solution, find_method

__all__ = ["LatentODE", "LatentODEOutput"]


@dataclass(frozen=True)
class LatentODEOutput(LayerOutput):
    """What `LatentODE` returns.

    Attributes:
        solution: The solution of the latent state at the initial time and all times of all samples.
        penalty: Weighted penalty to add to the loss, a 0-d tensor.
        initial: Posterior of the initial state, of shape ``(batch, latent_size)``.
        latents: Latent states at the times that were asked for, shape ``(T, batch, latent_size)``.
        mean: Predictions: what the decoder makes of them, shape ``(T, batch, data_size)``.
        noise_std: Standard deviation of the observations' errors.
    """

    initial: Normal
    latents: Tensor
    mean: Tensor
    noise_std: Tensor

    @property
    def ys(self) -> Tensor:
        """The latent states, as `latents`."""
        return self.latents

    @property
    def kl(self) -> Tensor:
        """Divergence of the initial state's posterior from the standard normal prior, shape ``(batch,)``."""
        prior = Normal(torch.zeros_like(self.initial.mean), torch.ones_like(self.initial.stddev))
        divergence: Tensor = torch.distributions.kl_divergence(self.initial, prior)
        return divergence.sum(-1)

    def log_likelihood(self, observations: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the log-density of what was observed, given the predictions, shape ``(batch,)``.

        Args:
            observations: What the predictions are compared with, shape ``(T, batch, data_size)``.
            mask: Of the same shape, or ``(T, batch)`` for all channels: true where there is an observation. None for
                everything that is not NaN.

        Raises:
            ValueError: A shape is wrong.
        """
        return masked_gaussian_log_likelihood(self.mean, self.noise_std, observations, mask)

    def elbo(self, observations: Tensor, mask: Tensor | None = None, kl_weight: float = 1.0) -> Tensor:
        """Return the evidence lower bound, its mean over the batch, a 0-d tensor.

        Args:
            observations, mask: See `log_likelihood`.
            kl_weight: Factor on the divergence; smaller than 1 early in training, where it is annealed.
        """
        return (self.log_likelihood(observations, mask) - kl_weight * self.kl).mean()


class LatentODE(SolverLayer):
    """A generative model of series: a normal ``z(t0)``, ``dz/dt = field(t, z, *args)``, observed as ``decoder(z)``.

    An encoder reads a series and returns the posterior of ``z(t0)``; the state at every other time follows, before,
    between and behind the observations. Samples may have times of their own: one solve passes through all of them.

    Rubanova, Chen, Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time series; Chen,
    Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations, section 5.

    Args:
        field: Field of the latent state, an ``nn.Module`` or any callable ``(t, z, *args)``.
        encoder: Callable ``(ts, observations, mask, t0)`` that returns a ``torch.distributions.Normal`` of shape
            ``(batch, latent_size)``: `nde.models.ODERNNEncoder`, `nde.models.GRUDEncoder`.
        decoder: Callable that turns states ``(..., latent_size)`` into predictions ``(..., data_size)``.
        latent_size: Length of the latent state.
        t0: Time of the initial state; nothing may be observed before it.
        noise_std: Standard deviation of the observations' errors, a number or shape ``(data_size,)``.
        train_noise: Whether it is learned.
        regularizer: Penalty on the cost of the latent solve or along its trajectory, applied in training mode.
        steer: Jitter, in training mode, of the times of predictions after ``t0``, of all samples together.
        method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw, per_sample: See `nde.solve_ode`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        field: Callable[..., Tensor],
        encoder: Callable[..., Normal],
        decoder: Callable[[Tensor], Tensor],
        latent_size: int,
        *,
        t0: float = 0.0,
        noise_std: float | Tensor = 0.1,
        train_noise: bool = False,
        regularizer: Penalty | None = None,
        steer: Steer | None = None,
        method: str | Method = "tsit5",
        rtol: Any = 1e-4,
        atol: Any = 1e-6,
        controller: Controller | None = None,
        adjoint: str | Adjoint = "discrete",
        max_steps: int = 10_000,
        dt_min: float = 0.0,
        dt_max: float = math.inf,
        throw: bool = True,
        per_sample: bool = False,
    ) -> None:
        options: dict[str, Any] = {
            "method": method,
            "rtol": rtol,
            "atol": atol,
            "controller": controller,
            "adjoint": adjoint,
            "max_steps": max_steps,
            "dt_min": dt_min,
            "dt_max": dt_max,
            "throw": throw,
            "per_sample": per_sample,
        }
        super().__init__((), regularizer, options, steer)
        validation.check_field(field)
        for name, value in (("encoder", encoder), ("decoder", decoder)):
            if not callable(value):
                raise TypeError(f"{name} must be callable, but is a {type(value).__name__}. Pass an nn.Module.")
        check_size(latent_size, "latent_size")
        validation.check_controller(controller, find_method(method), zero_tolerance=False)
        validation.check_limits(max_steps, dt_min, dt_max)
        validation.check_adjoint(adjoint, ADJOINTS)
        validation.check_flag(train_noise, "train_noise")
        std = as_numbers(noise_std, "noise_std")
        if not bool((std > 0).all()):
            raise ValueError(f"noise_std must be positive, but is {noise_std!r}.")
        self.field = field
        self.encoder = encoder
        self.decoder = decoder
        self.latent_size = latent_size
        self.t0 = float(as_numbers(t0, "t0"))
        # one entry where it is a number: parameters without an axis cannot be sharded
        self.log_noise_std = nn.Parameter(std.log().reshape(-1), requires_grad=train_noise)
        self._noise_shape = std.shape

    def forward(
        self,
        ts: Tensor | Sequence[float],
        observations: Tensor,
        mask: Tensor | None = None,
        predict_ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        *,
        draw: bool = True,
        seed: int | None = None,
    ) -> LatentODEOutput:
        """Encode series and predict them, at their own times or at others.

        Args:
            ts: Times of the observations, shape ``(T,)`` for all samples or ``(T, batch)``, not decreasing and not
                before ``t0``; NaN behind a sample's last one. They have no gradient.
            observations: Shape ``(T, batch, data_size)``.
            mask: Of the same shape, or ``(T, batch)`` for all channels: true where there is an observation. None for
                everything that is not NaN.
            predict_ts: Times of the predictions, likewise: between those of the observations to interpolate, behind
                them to forecast. None for ``ts``.
            args: Further arguments of the field.
            draw: Whether the initial state is drawn from its posterior; otherwise it is the posterior's mean.
            seed: Seed of the draw; None for torch's global generator.

        Returns:
            Predictions, the terms of the evidence lower bound, and the penalty.

        Raises:
            TypeError, ValueError: An argument has the wrong type or shape; see the message.
            SolverError: The solve failed and ``throw`` is set.
        """
        batch = observations.shape[1] if isinstance(observations, Tensor) and observations.ndim == 3 else 1
        self._not_before(check_series_times(ts, "ts", batch), "ts")
        wanted = self._not_before(check_series_times(ts if predict_ts is None else predict_ts, "predict_ts", batch))
        initial = self.encoder(ts, observations, mask, self.t0)
        z0 = initial.mean
        if tuple(z0.shape) != (batch, self.latent_size):
            raise ValueError(
                f"encoder must return a Normal of shape ({batch}, {self.latent_size}), but returned {tuple(z0.shape)}."
            )
        if draw:
            z0 = z0 + initial.stddev * standard_normal(z0, tuple(z0.shape), seed)
        solution, latents = self._solve(z0, wanted, args)
        mean = self.decoder(latents)
        noise = self.log_noise_std.exp().reshape(self._noise_shape)
        return LatentODEOutput(solution, self.penalty(solution), initial, latents, mean, noise)

    def sample(
        self, samples: int, ts: Tensor | Sequence[float], args: tuple[Any, ...] = (), *, seed: int | None = None
    ) -> Tensor:
        """Draw series from the prior, without the observations' errors, shape ``(T, samples, data_size)``.

        Args:
            samples: Number of series.
            ts: Their times, shape ``(T,)`` or ``(T, samples)``, not decreasing and not before ``t0``.
            args: Further arguments of the field.
            seed: Seed of the initial states; None for torch's global generator.

        Raises:
            TypeError, ValueError: An argument has the wrong type or is out of range.
            SolverError: The solve failed and ``throw`` is set.
        """
        check_size(samples, "samples")
        times = self._not_before(check_series_times(ts, "ts", samples), "ts")
        z0 = standard_normal(self.log_noise_std, (samples, self.latent_size), seed)
        return self.decoder(self._solve(z0, times, args, penalised=False)[1])

    def extra_repr(self) -> str:
        """Describe sizes and the solver in ``repr``."""
        return f"latent_size={self.latent_size}, t0={self.t0:g}, {super().extra_repr()}"

    def _solve(
        self, z0: Tensor, times: Tensor, args: tuple[Any, ...], penalised: bool = True
    ) -> tuple[Solution, Tensor]:
        """Return a solution through all times of all samples, and each sample's states at its own."""
        start = torch.full_like(times[:1], self.t0)
        # in the precision of the state, in which different times may be the same
        asked = torch.cat([start, padded(times)]).clamp(min=self.t0).to(z0)
        grid, places = torch.unique(asked, return_inverse=True)
        if len(grid) < 2:
            raise ValueError(f"There must be a time after t0 = {self.t0:g} at which a state is asked for.")
        if penalised:
            solution = self.integrated(solve_ode, (self.field,), z0, grid, args)
        else:
            solution = solve_ode(self.field, z0, grid, args, **self.options)
        latents: Tensor = solution.ys[places[1:], torch.arange(len(z0), device=z0.device)]
        return solution, latents

    def _not_before(self, times: Tensor, name: str = "predict_ts") -> Tensor:
        if bool((times < self.t0).any()):
            first = float(times[~times.isnan()].min())
            raise ValueError(f"{name} must not be before t0 = {self.t0:g}, but begins at {first:.10g}. Set t0.")
        return times
