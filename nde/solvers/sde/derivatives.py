"""Derivatives of a matrix of diffusions along directions of the state, for steps that need them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nde.solvers.method import Scalar
from nde.solvers.sde.field import SDEField
from nde.solvers.transforms import tape_fails

__all__ = ["derivative_along", "diffusion_and_derivative"]


def diffusion_and_derivative(field: SDEField, t: Scalar, y: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the diffusion and its derivative along a direction, both differentiable where gradients are recorded.

    Args:
        field: A field whose diffusion is a matrix for each row.
        t: Time.
        y: Flat state, shape ``(size,)``, or one row for each sample.

    Returns:
        The diffusion, shape ``(*state shape, m)``, and a function that takes a direction of the state's shape and
        returns the derivative, in the diffusion's shape; each call costs one backward pass.
    """
    if tape_fails():
        value, pull, *_ = torch.func.vjp(lambda state: field.diffusion(t, state), y)
        _, turned, *_ = torch.func.vjp(lambda probe: pull(probe)[0], torch.zeros_like(value))
        return value, lambda direction: turned(direction)[0]
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        state = y if recording and y.requires_grad else y.detach().requires_grad_()
        diffusion = field.diffusion(t, state)
    return (diffusion if recording else diffusion.detach()), derivative_along(diffusion, state, recording)


def derivative_along(diffusion: Tensor, y: Tensor, recording: bool) -> Callable[[Tensor], Tensor]:
    """Return the function that takes a direction of the state to the derivative of a diffusion along it.

    Args:
        diffusion: The diffusion, on the tape of ``y``.
        y: Flat state that it was evaluated at.
        recording: Whether the derivatives are to be differentiable.
    """
    back: Tensor | None = None
    with torch.enable_grad():
        probe = torch.zeros_like(diffusion, requires_grad=True)
        if diffusion.requires_grad:
            # a product with the Jacobian is the derivative of a product with its transpose
            (back,) = torch.autograd.grad(diffusion, y, probe, create_graph=True, allow_unused=True)

    def along(direction: Tensor) -> Tensor:
        if back is None or not back.requires_grad:
            return torch.zeros_like(probe)
        (found,) = torch.autograd.grad(
            back, probe, direction, create_graph=recording, retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(probe) if found is None else found

    return along
