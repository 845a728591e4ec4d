"""Gauss-Newton steps on residuals: natural gradients with a line search, solved in the smaller of two spaces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nde.pinn.jacobian import residual_jacobian
from nde.pinn.problem import Problem, check_finite
from nde.taylor.operators.checks import check_count

__all__ = ["NaturalGradient"]

_LARGEST_DAMPING = 1e8
_SHORT = 0.3  # of the full step


class NaturalGradient(torch.optim.Optimizer):
    """Steps along ``phi = mu phi' + J^T (J J^T + damping)^-1 (r - mu J phi')``: ``r`` residuals, ``J`` their Jacobian.

    The system is solved for as many unknowns as there are residuals or parameters, whichever are fewer. A line search
    halves the step while that lowers the loss; where no step does, the damping is raised.
    Works best in float64, with little damping and points that stay.

    Args:
        problem: What is minimised. The residuals must be exact.
        damping: Relative to the mean diagonal of ``J J^T`` or ``J^T J``; raised where needed and lowered again to this.
            None: little above rounding. With few points that are drawn anew in every step try 1e-4.
        adaptive: Also raise the damping after short steps and lower it after full ones, which nonlinear equations need
            (Allen-Cahn, Burgers). Linear ones reach a lower loss without, by many short steps with little damping.
        momentum: ``mu``, below 1: how much of the last direction is kept where the new residuals do not speak against
            it (SPRING).
        halvings: The line search ends at the step ``2^-halvings``.
        chunk: Number of points whose Jacobian is computed at once; None: all.

    Attributes:
        status: ``"running"``, or ``"stalled"`` after a call in which no step lowered the loss.
        losses: The losses by condition before the last step.
        length: Of the last step, in directions.

    Raises:
        ValueError: A setting is out of range; no parameter of the problem requires a gradient.

    Source:
        Müller and Zeinhofer, Achieving high accuracy with PINNs via energy natural gradient descent (2023);
        Guzman-Cordero, Dangel, Goldshlager, Zeinhofer, Improving energy natural gradient descent through Woodbury,
        momentum, and randomization (2025); Goldshlager, Abrahamsen, Lin, A Kaczmarz-inspired approach to accelerate the
        optimization of neural network wavefunctions (2024).
    """

    def __init__(
        self,
        problem: Problem,
        *,
        damping: float | None = None,
        adaptive: bool = True,
        momentum: float = 0.0,
        halvings: int = 16,
        chunk: int | None = None,
    ) -> None:
        if damping is None:
            eps = torch.finfo(problem.like.dtype).eps
            damping = 64 * eps if adaptive else eps**0.625
        if not damping > 0:
            raise ValueError(f"damping must be positive, but is {damping}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, but is {momentum}.")
        trained = [parameter for parameter in problem.parameters() if parameter.requires_grad]
        if not trained:
            raise ValueError("the problem has no parameter that requires a gradient. Look for frozen parameters.")
        super().__init__(trained, {"damping": damping, "smallest_damping": damping, "momentum": momentum})
        self.problem = problem
        self.adaptive = adaptive
        self.halvings = check_count(halvings, "halvings", 0)
        self.chunk = chunk
        self.status = "running"
        self.losses: dict[str, Tensor] = {}
        self.length = 0.0

    @property
    def damping(self) -> float:
        """The damping that the next step begins with."""
        return self.param_groups[0]["damping"]

    @torch.no_grad()
    def step(  # type: ignore[override]  # torch's overloads leave out that closures may return tensors
        self,
        closure: Callable[[], Any] | None = None,
        *,
        weights: Mapping[str, Tensor | float] | None = None,
    ) -> float:
        """Take a step on the problem's current points and return the loss before it.

        Args:
            closure: Not used; the problem is evaluated itself.
            weights: As for `Problem.losses`.

        Raises:
            NonFiniteResidualError: The residual, or its derivative by a parameter, is not finite before the step.
            ValueError: No residual depends on a trained parameter.
        """
        group = self.param_groups[0]
        parameters = group["params"]
        residual, jacobian = self._system(weights)
        before = float(residual.square().sum())
        start = [parameter.clone() for parameter in parameters]
        state = self.state[parameters[0]]
        kept = group["momentum"] * state.get("direction", jacobian.new_zeros(jacobian.shape[1]))
        target = residual - jacobian @ kept if group["momentum"] else residual
        dual = jacobian.shape[0] < jacobian.shape[1]
        gram = jacobian @ jacobian.T if dual else jacobian.T @ jacobian
        scale = float(gram.diagonal().mean())
        if scale == 0 and before > 0 and not bool(jacobian.any()):
            raise ValueError(
                "no residual depends on a trained parameter. Look for detach() or torch.no_grad() in the model, and "
                "for frozen parameters."
            )
        right = target if dual else jacobian.T @ target
        while group["damping"] <= _LARGEST_DAMPING:
            solution = self._solve(gram, right, group["damping"] * scale)
            if solution is not None:
                direction = kept + (jacobian.T @ solution if dual else solution)
                self.length = self._search(parameters, start, direction, before, weights)
                if self.length:
                    # short steps: directions that hardly change the residuals are too long for a linear model
                    raised = self.adaptive and self.length < _SHORT
                    kept_up = self.adaptive and self.length < 1
                    factor = 10.0 if raised else 1.0 if kept_up else 0.1
                    group["damping"] = max(group["damping"] * factor, group["smallest_damping"])
                    if group["momentum"]:
                        state["direction"] = direction
                    self.status = "running"
                    return before
            group["damping"] *= 100
        group["damping"] = group["smallest_damping"]
        state.pop("direction", None)  # what did not help must not be kept
        self.status = "stalled"
        return before

    def _search(
        self,
        parameters: list[Tensor],
        start: list[Tensor],
        direction: Tensor,
        before: float,
        weights: Mapping[str, Tensor | float] | None,
    ) -> float:
        """Move by the best of the lengths 1, 1/2, 1/4, ..., up to the first worse one; return it, 0 if none helps."""
        best, length = before, 0.0
        for halving in range(self.halvings + 1):
            self._move(parameters, start, 0.5**halving * direction)
            loss = self._loss(weights)
            if loss < best:
                best, length = loss, 0.5**halving
            elif length:
                break
        self._move(parameters, start, length * direction)
        return length

    def _system(self, weights: Mapping[str, Tensor | float] | None) -> tuple[Tensor, Tensor]:
        """Return residuals and Jacobian, scaled so that the loss is the sum of the squares."""
        residuals, rows = [], []
        for name, residual in self.problem.residuals().items():
            value = _exact(name, residual)
            factor = self._factors(name, value, weights)
            residuals.append((value * factor).reshape(-1))
            self.losses[name] = residuals[-1].square().sum()
            x = self.problem.points(name)
            jacobian = residual_jacobian(self.problem, name, x, chunk=self.chunk)
            check_finite(name, x, jacobian.reshape(len(x), -1), "derivative by the parameters of the residual")
            rows.append(jacobian * factor.expand_as(value).reshape(-1, 1))
        return torch.cat(residuals), torch.cat(rows)

    def _factors(self, name: str, value: Tensor, weights: Mapping[str, Tensor | float] | None) -> Tensor:
        """Return the factors of a residual whose squares weigh its mean square."""
        weight = torch.as_tensor(1.0 if weights is None else weights.get(name, 1.0)).to(value)
        weight = weight.reshape(-1, *[1] * (value.ndim - 1)) if weight.ndim else weight
        return (weight * (self.problem.conditions[name].weight / value.numel())).sqrt()

    def _loss(self, weights: Mapping[str, Tensor | float] | None) -> float:
        try:
            residuals = self.problem.residuals()
        except FloatingPointError:  # a trial step too far
            return math.inf
        total = 0.0
        for name, residual in residuals.items():
            value = _exact(name, residual)
            total += float((value * self._factors(name, value, weights)).square().sum())
        return total

    @staticmethod
    def _solve(gram: Tensor, right: Tensor, damping: float) -> Tensor | None:
        factor, info = torch.linalg.cholesky_ex(
            gram + damping * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        )
        if int(info):
            return None
        return torch.cholesky_solve(right.unsqueeze(1), factor).squeeze(1)

    @staticmethod
    def _move(parameters: list[Tensor], start: list[Tensor], direction: Tensor) -> None:
        offset = 0
        for parameter, value in zip(parameters, start, strict=True):
            size = parameter.numel()
            parameter.copy_(value - direction[offset : offset + size].view_as(parameter))
            offset += size


def _exact(name: str, residual: Any) -> Tensor:
    if isinstance(residual, Tensor):
        return residual
    if not residual.exact:
        raise TypeError(f'condition {name!r} is estimated at random; natural gradients need mode="exact" or "rank".')
    return residual.value
