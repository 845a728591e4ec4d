"""What the backward solves of the continuous adjoint have in common: their settings, and what a norm of them sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.controllers import Controller
from nde.solvers.method import Method

__all__ = ["AugmentedState", "BackwardSettings", "augmented_change", "check_backward"]


@dataclass(frozen=True)
class AugmentedState:
    """Scaled errors of the backward solve, as a norm receives them.

    Attributes:
        t: Cotangent of time, shape ``()``; zero, because time's cotangents are quadratures outside the backward solve.
        y: The state, of the user's structure.
        cotangent: The state's cotangent, likewise.
        parameters: Cotangents of the tensors that the field depends on; none where they are quadratures too.
    """

    t: Tensor
    y: Any
    cotangent: Any
    parameters: tuple[Tensor, ...]


@dataclass(frozen=True)
class BackwardSettings:
    """How the backward solve is done.

    Attributes:
        method: Its method.
        controller: Its controller.
        rtol, atol: Its tolerances; None for those of the forward solve.
        norm: Norm of its scaled errors; see `nde.adjoint.BacksolveAdjoint`.
        max_steps: Its limit on steps between two times at which the state is taken from the forward solve.
        same_steps: Whether it takes the steps of the forward solve in the place of the controller's.
    """

    method: Method
    controller: Controller
    rtol: float | None
    atol: float | None
    norm: str | Callable[[AugmentedState], Tensor] | None
    max_steps: int
    same_steps: bool = False


def check_backward(error: Tensor | None, stiffness: Tensor | None) -> None:
    """Raise RuntimeError for what a continuous adjoint cannot differentiate.

    Args:
        error: Cotangent of the local errors; None where there is none.
        stiffness: Cotangent of the stiffness estimates.
    """
    if error is not None or stiffness is not None:
        raise RuntimeError(
            'adjoint="backsolve" has no gradient of steps.error and steps.stiffness, because it does not keep the '
            'steps. Use adjoint="discrete" or adjoint="direct" with a global penalty.'
        )
    if torch.is_grad_enabled():
        raise RuntimeError(
            'adjoint="backsolve" can be differentiated once only. Use adjoint="discrete" or adjoint="direct" for '
            "derivatives of gradients."
        )


def augmented_change(
    value: Tensor, y: Tensor, targets: Sequence[Tensor], cotangent: Tensor, retain_graph: bool
) -> Tensor:
    """Return ``(v, -a dv/dy, -a dv/dtargets)`` as one vector: the augmented state's change for one ``v``.

    Args:
        value: What the state changes by, on the tape; of the augmented state's dtype.
        y: The state that it is a function of.
        targets: The other tensors that gradients are wanted for; complex ones become pairs.
        cotangent: The state's cotangent ``a``.
        retain_graph: Whether the tape is needed again.
    """
    inputs = [y, *targets]
    grads: Sequence[Tensor | None] = [None] * len(inputs)
    if value.requires_grad:
        grads = torch.autograd.grad(value, inputs, -cotangent, allow_unused=True, retain_graph=retain_graph)
    parts = [value.detach()]
    for target, grad in zip(inputs, grads, strict=True):
        part = torch.zeros_like(target) if grad is None else grad
        part = torch.view_as_real(part.resolve_conj()) if part.is_complex() else part
        parts.append(part.reshape(-1).to(value.dtype))
    return torch.cat(parts)
