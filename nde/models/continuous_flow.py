"""Continuous normalizing flows: densities carried along an ordinary differential equation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.doors.ode import solve_ode
from nde.models.layer import LayerOutput, SolverLayer, check_size
from nde.models.penalized import Part
from nde.models.seeds import standard_normal
from nde.models.trace import TraceEstimator, find_trace, value_and_trace
from nde.models.unwatched import LEFT_OUT, tolerances_of_part
from nde.regularize import Penalty, Steer
from nde.solvers import Controller, Method, Solution, find_method
from nde.solvers.rows.field import PerSample

__all__ = ["Base", "ContinuousFlow", "ContinuousFlowOutput"]


class Base(Protocol):
    """What a flow asks of its base distribution; a ``torch.distributions.Distribution`` does."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """Return the log-density of states ``(*batch, size)``, shape ``(*batch,)``."""

    def sample(self, shape: torch.Size, /) -> Tensor:
        """Return draws of shape ``(*shape, size)``."""


@dataclass(frozen=True)
class ContinuousFlowOutput(LayerOutput):
    """What `ContinuousFlow` returns.

    Attributes:
        solution: The solution of the nested state ``{"z": states, "log_det": integral}``.
        penalty: Weighted penalty to add to the loss, a 0-d tensor.
        base_log_prob: Log-density of the base at the base's end of the flow, shape ``(*batch,)``.
        inverse: Whether the solve went from the base to the data.
    """

    base_log_prob: Tensor
    inverse: bool

    @property
    def ys(self) -> Tensor:
        """States at the output times, shape ``(T, *batch, size)``."""
        states: Tensor = self.solution.ys["z"]
        return states

    @property
    def y1(self) -> Tensor:
        """State at the end of the solve, shape ``(*batch, size)``."""
        last: Tensor = self.solution.y1["z"]
        return last

    @property
    def log_det(self) -> Tensor:
        """Logarithm of the determinant of the Jacobian of ``y1`` by the initial state, shape ``(*batch,)``."""
        integral: Tensor = self.solution.y1["log_det"]
        return integral.squeeze(-1)

    @property
    def log_prob(self) -> Tensor:
        """Log-density of the model at the data's end of the flow, shape ``(*batch,)``."""
        return self.base_log_prob - self.log_det if self.inverse else self.base_log_prob + self.log_det


class ContinuousFlow(SolverLayer):
    """A density: that of the base, carried from ``ts[-1]`` back to ``ts[0]`` along ``dz/dt = field(t, z, *args)``.

    The data live at ``ts[0]``, the base at ``ts[-1]``. The logarithm of a density changes along a path by the integral
    of the trace of the field's Jacobian (Chen, Rubanova, Bettencourt, Duvenaud, 2018, theorem 1), which is one more
    state; Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud (2019), FFJORD, estimate that trace. Directions of an
    estimate are drawn once per solve.

    Args:
        field: An ``nn.Module`` or any callable ``(t, z, *args)`` with a value of the shape of ``z``. It must treat
            every sample for itself (no batch normalization), be differentiable twice, and work with ``torch.func.vjp``.
        size: Length of the last axis of ``z``.
        ts: Output times, shape ``(T,)``, from the data's to the base's; those of a call take precedence.
        base: Distribution at ``ts[-1]``; None for the standard normal one.
        trace: ``"exact"`` (``size`` products with the Jacobian), ``"hutchinson"`` (one), ``"hutch++"`` (three), or one
            of `nde.models.ExactTrace`, `nde.models.Hutchinson`, `nde.models.HutchPlusPlus` with options of its own.
        control_density: Whether the log-density takes part in the choice of the steps. Without, steps and penalties on
            the error are those of the states alone, and the density is as accurate as these steps make it.
        regularizer: Penalty on the cost of the solve or along the trajectory of the states, applied in training mode.
        steer: Jitter, in training mode, of the end of a solve: of the base's, or for `inverse` the data's.
        method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw, per_sample: See `nde.solve_ode`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the regularizer does not go with it.
    """

    def __init__(
        self,
        field: Callable[..., Tensor],
        size: int,
        ts: Tensor | Sequence[float] = (0.0, 1.0),
        *,
        base: Base | None = None,
        trace: str | TraceEstimator = "exact",
        control_density: bool = True,
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
        super().__init__(ts, regularizer, options, steer)
        validation.check_field(field)
        check_size(size, "size")
        if base is not None and not (hasattr(base, "log_prob") and hasattr(base, "sample")):
            raise TypeError(f"base must have log_prob and sample, as a distribution does, but is {base!r}.")
        validation.check_flag(control_density, "control_density")
        validation.check_controller(controller, find_method(method), zero_tolerance=False)
        validation.check_limits(max_steps, dt_min, dt_max)
        validation.check_adjoint(adjoint, ADJOINTS)
        self.field = field
        self.size = size
        self.base = base
        self.trace = find_trace(trace, size)
        self.control_density = control_density
        self._like: Tensor
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # moves and casts with the weights

    def forward(
        self,
        x: Tensor,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        *,
        trace: str | TraceEstimator | None = None,
        seed: int | None = None,
    ) -> ContinuousFlowOutput:
        """Carry data to the base.

        Args:
            x: Data, shape ``(*batch, size)``.
            ts: Times of this call, from the data's to the base's; the layer's by default.
            args: Further arguments of the field.
            trace: The way to the trace in this call; the layer's by default.
            seed: Seed of the directions; None to draw them from torch's global generator.

        Returns:
            The states, ``output.log_prob`` of ``x``, and the penalty.

        Raises:
            TypeError, ValueError: An argument has the wrong type or shape.
            SolverError: The solve failed and ``throw`` is set.
        """
        solution = self._solve(x, self.ts if ts is None else ts, args, trace, seed)
        base = self._base_log_prob(solution.y1["z"])
        return ContinuousFlowOutput(solution, self.penalty(solution), base, inverse=False)

    def inverse(
        self,
        z: Tensor,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        *,
        trace: str | TraceEstimator | None = None,
        seed: int | None = None,
    ) -> ContinuousFlowOutput:
        """Carry states of the base to the data: the inverse of `forward`, with the same arguments.

        Returns:
            The states, from the base to the data, ``output.log_prob`` of ``y1``, and the penalty.
        """
        solution = self._solve(z, _reversed(self.ts if ts is None else ts), args, trace, seed)
        return ContinuousFlowOutput(solution, self.penalty(solution), self._base_log_prob(z), inverse=True)

    def log_prob(self, x: Tensor, ts: Tensor | Sequence[float] | None = None, **call: Any) -> Tensor:
        """Return the log-density of data, shape ``(*batch,)``; see `forward` for the arguments."""
        output: ContinuousFlowOutput = self(x, ts, **call)
        return output.log_prob

    def sample(
        self,
        samples: int,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        *,
        seed: int | None = None,
    ) -> Tensor:
        """Draw from the density, shape ``(samples, size)``, with the gradient of the draws by the field's parameters.

        Args:
            samples: Number of draws.
            ts: Times of this call, from the data's to the base's; the layer's by default.
            args: Further arguments of the field.
            seed: Seed of draws from the standard normal base; None to draw from torch's global generator.

        Raises:
            TypeError, ValueError: An argument has the wrong type or is out of range, or there is a seed for a base that
                was given.
            SolverError: The solve failed and ``throw`` is set.
        """
        check_size(samples, "samples")
        if self.base is None:
            z = standard_normal(self._like, (samples, self.size), seed)
        elif seed is not None:
            raise ValueError("seed must be None where a base was given: it draws from torch's global generator.")
        else:
            z = self.base.sample(torch.Size([samples]))
        times = _reversed(self.ts if ts is None else ts)
        drawn: Tensor = solve_ode(self.field, self._checked(z, "base.sample"), times, args, **self.options).y1
        return drawn

    def extra_repr(self) -> str:
        """Describe size, trace and solver in ``repr``."""
        return f"size={self.size}, trace={self.trace}, {super().extra_repr()}"

    def _solve(self, x: Tensor, ts: Any, args: tuple[Any, ...], trace: Any, seed: int | None) -> Solution:
        self._checked(x, "x")
        validation.check_args(args)
        estimator = self.trace if trace is None else find_trace(trace, self.size)
        directions = PerSample(estimator.draw(x.detach(), seed))
        start = {"z": x, "log_det": x.new_zeros((*x.shape[:-1], 1))}
        options: dict[str, Any] = {}
        if not self.control_density:
            rtol, atol = tolerances_of_part(self.options["rtol"], self.options["atol"], x, x[..., 0].numel())
            options = {"rtol": {"z": rtol, "log_det": 0.0}, "atol": {"z": atol, "log_det": LEFT_OUT}}
        slopes, states = functools.partial(self._slopes, estimator), Part("z", self._slope_of_states)
        return self.integrated(solve_ode, (slopes,), start, ts, (directions, *args), states, **options)

    def _slope_of_states(self, t: Tensor, z: Tensor, directions: Tensor, *args: Any) -> Tensor:
        return self.field(t, z, *args)

    def _slopes(
        self, estimator: TraceEstimator, t: Tensor, state: dict[str, Tensor], directions: Tensor, *args: Any
    ) -> dict[str, Tensor]:
        def field(z: Tensor) -> Tensor:
            value = self.field(t, z, *args)
            if not isinstance(value, Tensor) or value.shape != z.shape:
                given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
                raise ValueError(f"field(t, z) must return the shape of z, {tuple(z.shape)}, but returned {given}.")
            return value

        value, trace = value_and_trace(field, state["z"], estimator, directions)
        return {"z": value, "log_det": trace.unsqueeze(-1)}

    def _base_log_prob(self, z: Tensor) -> Tensor:
        if self.base is None:
            return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
        value = self.base.log_prob(z)
        if value.shape != z.shape[:-1]:
            raise ValueError(
                f"base.log_prob must return shape {tuple(z.shape[:-1])} for states {tuple(z.shape)}, but returned "
                f"{tuple(value.shape)}. Try torch.distributions.Independent(base, 1)."
            )
        return value

    def _checked(self, x: Any, name: str) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"{name} must be a floating point tensor, but is {x!r}.")
        if x.ndim == 0 or x.shape[-1] != self.size:
            raise ValueError(f"{name} must have shape (*batch, {self.size}), but has shape {tuple(x.shape)}.")
        return x


def _reversed(ts: Tensor | Sequence[float]) -> Tensor | Sequence[float]:
    return ts.flip(-1) if isinstance(ts, Tensor) else tuple(reversed(ts))
