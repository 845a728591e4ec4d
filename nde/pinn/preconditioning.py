"""How fast gradient descent can be: the condition number of the residuals' Gram matrix, and what improves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nde.pinn.conditions.condition import Condition, Equation
from nde.pinn.jacobian import residual_jacobian
from nde.pinn.points import FixedPoints
from nde.pinn.problem import Problem
from nde.taylor.operators import Expression

__all__ = ["Conditioning", "PreconditionedDescent", "condition_number", "gram_matrix", "preconditioner"]


class Conditioning(NamedTuple):
    """The spectrum of the matrix ``A`` that linearised gradient descent iterates with.

    Attributes:
        number: Largest over smallest eigenvalue: gradient descent takes a number of steps proportional to it. Infinite
            where some combination of parameters does not change the residuals.
        eigenvalues: Ascending, shape ``(P,)``.
    """

    number: float
    eigenvalues: Tensor


def gram_matrix(problem: Problem, weights: Mapping[str, Tensor] | None = None, *, chunk: int | None = 256) -> Tensor:
    """Return ``A = sum_c weight_c J_c^T W_c J_c``, shape ``(P, P)``, of the residuals at their current points.

    ``A_ij`` approximates ``<D phi_i, D phi_j>`` plus the terms of the other conditions, with ``phi_i`` the model's
    derivative with respect to parameter ``i``; half of the loss has it as Gauss and Newton's Hessian matrix.

    Args:
        problem: Its conditions' factors are ``weight_c``.
        weights: Quadrature weights by condition, shape ``(n,)``; a condition without counts as its mean square.
        chunk: Number of points whose derivatives are computed at once.

    Raises:
        ValueError: There are not as many weights as points.
    """
    total: Tensor | None = None
    for name, condition in problem.conditions.items():
        x = problem.points(name)
        rows = residual_jacobian(problem, name, x, chunk=chunk)
        count = len(rows) // len(x)
        mass = None if weights is None else weights.get(name)
        if mass is None:
            mass = rows.new_full((len(x),), 1 / len(rows))
        elif mass.shape != (len(x),):
            raise ValueError(
                f"weights of condition {name!r} must have the shape ({len(x)},), but have {tuple(mass.shape)}."
            )
        scaled = rows * (condition.weight * mass.repeat_interleave(count)).unsqueeze(1)
        part = rows.T @ scaled
        total = part if total is None else total + part
    assert total is not None  # a problem has conditions
    return total


def condition_number(
    model: nn.Module | Problem,
    operator: Expression | None = None,
    points: Tensor | None = None,
    *,
    weights: Tensor | Mapping[str, Tensor] | None = None,
    conditions: Mapping[str, Condition] | None = None,
) -> Conditioning:
    """Return the condition number that governs gradient descent on a residual.

    Args:
        model: A model with an operator and points; or a `Problem` with its points drawn.
        operator: The linear operator, or a residual whose linearisation is meant.
        points: Shape ``(n, d)``.
        weights: Quadrature weights, shape ``(n,)``; for a problem by condition. None: equal weights.
        conditions: Boundary conditions to add, each with its weight.

    Raises:
        ValueError: An operator comes without points, or either with a problem.

    Source:
        De Ryck, Bonnet, Mishra, de Bezenac, An operator preconditioning perspective on training in physics-informed
        machine learning (2023), equation 2.4.
    """
    if isinstance(model, Problem):
        if operator is not None or points is not None or conditions is not None:
            raise ValueError("a problem has its own operator, points and conditions; give it alone.")
        problem = model
    else:
        if operator is None or points is None:
            raise ValueError("operator and points must be given with a model.")
        equation = Equation(operator, FixedPoints(points))
        problem = Problem(model, {"operator": equation, **(conditions or {})})
    problem.refresh()
    by_name = {"operator": weights} if isinstance(weights, Tensor) else weights
    eigenvalues = torch.linalg.eigvalsh(gram_matrix(problem, by_name).double())
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    return Conditioning(largest / smallest if smallest > 0 else float("inf"), eigenvalues)


def preconditioner(gram: Tensor, *, damping: float = 1e-10) -> Tensor:
    """Return ``P = (A + damping |A|)^(-1/2)``: with the gradient times ``P P^T`` the condition number is near 1.

    Args:
        gram: ``A``, as `gram_matrix` returns it.
        damping: Part of the largest eigenvalue that the others are lifted by.

    Raises:
        ValueError: The matrix is not square, or the damping negative.
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or damping < 0:
        raise ValueError(f"gram must be a square matrix and damping not negative, not {tuple(gram.shape)}, {damping}.")
    values, vectors = torch.linalg.eigh(gram.double())
    lifted = values.clamp_min(0) + damping * values[-1]
    return ((vectors / lifted.sqrt()) @ vectors.T).to(gram.dtype)


class PreconditionedDescent(torch.optim.Optimizer):
    """Gradient descent in the parameters ``P^-1 theta``: ``theta <- theta - lr P P^T grad``.

    Args:
        params: The parameters, in the order of the matrix.
        matrix: ``P``, shape ``(P, P)``, or ``(P,)`` for its diagonal, as `preconditioner` returns it.
        lr: Below 2 over the largest eigenvalue of ``P^T A P`` for the loss ``theta^T A theta / 2``.

    Raises:
        ValueError: The matrix does not fit the number of parameters, or ``lr`` is not positive.
    """

    def __init__(self, params: Iterable[Tensor], matrix: Tensor, lr: float = 1.0) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be positive, but is {lr}.")
        super().__init__(params, {"lr": lr})
        if len(self.param_groups) != 1:
            raise ValueError("a preconditioner needs all parameters in one group.")
        count = sum(parameter.numel() for parameter in self.param_groups[0]["params"])
        if matrix.shape not in ((count,), (count, count)):
            raise ValueError(
                f"matrix must have the shape ({count},) or ({count}, {count}) for {count} parameters, but has "
                f"{tuple(matrix.shape)}."
            )
        self.matrix = matrix

    @torch.no_grad()
    def step(self, closure: object = None) -> Tensor | None:  # type: ignore[override]
        """Take a step and return what the closure returned."""
        loss = None
        if callable(closure):
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in group["params"]]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        if self.matrix.ndim == 1:
            direction = self.matrix.square() * flat
        else:
            direction = self.matrix @ (self.matrix.T @ flat)
        offset = 0
        for parameter in group["params"]:
            size = parameter.numel()
            parameter.sub_(group["lr"] * direction[offset : offset + size].view_as(parameter))
            offset += size
        return loss
