"""The truth that a row's accuracy is held against: float64, order 8, tight tolerance, from a peer and not from nde."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchdiffeq
from torch import Tensor

from benchmarks.problems import Problem

__all__ = ["Reference", "solve_reference"]

_TOLERANCE = 1e-11
_CHUNK = 64  # samples per solve, which bounds the tape


@dataclass(frozen=True)
class Reference:
    """Float64 states at the output times and the gradient of the sum of squares of the final one."""

    ys: Tensor
    gradient: Tensor

    def state_error(self, ys: Tensor) -> float:
        """Return the root mean square error over the output times after the first that ``ys`` holds."""
        wanted = min(len(ys), len(self.ys) - 1)
        return float((ys[-wanted:].double() - self.ys[-wanted:]).square().mean().sqrt())

    def gradient_error(self, gradient: tuple[Tensor, ...]) -> float:
        """Return the relative error of a gradient in the Euclidean norm."""
        flat = torch.cat([part.reshape(-1) for part in gradient]).double()
        return float((flat - self.gradient).norm() / self.gradient.norm())


def solve_reference(problem: Problem) -> Reference:
    """Solve chunk by chunk; the loss is a sum over the samples, and so is its gradient."""
    exact = problem.double()
    parameters = list(exact.field.parameters())
    states, gradient = [], torch.zeros(())
    for y0 in exact.y0.split(_CHUNK):
        ys = torchdiffeq.odeint(exact.field, y0, exact.ts, method="dopri8", rtol=_TOLERANCE, atol=_TOLERANCE)
        parts = torch.autograd.grad(ys[-1].square().sum(), parameters)
        gradient = gradient + torch.cat([part.reshape(-1) for part in parts])
        states.append(ys.detach())
    return Reference(torch.cat(states, dim=1), gradient)
