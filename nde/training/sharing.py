"""Gradients averaged over processes where no forward pass tells that there will be any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["share_gradients"]


def share_gradients(module: nn.Module) -> Callable[[], None]:
    """Average the gradients of a module over all processes of the group, in every backward pass from now on.

    `DistributedDataParallel` waits for the forward pass of the module that it holds. Where a loss is made of anything
    else, as the residuals of a physics-informed network are made of its derivatives, this takes its place: a gradient
    is averaged as soon as it is complete. Parameters are set to those of the first process.

    Every process must compute gradients of the same parameters, in as many backward passes: one that has none for a
    parameter leaves the others waiting. Optimisers that compare losses, as line searches do, would have to be told the
    losses of all processes: use those that step by the gradient.

    Args:
        module: Its parameters that require gradients are shared. Without a process group nothing is.

    Returns:
        A function that ends it.

    Raises:
        TypeError: ``module`` is no module.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an nn.Module, but is a {type(module).__name__}.")
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return lambda: None
    world, handles = dist.get_world_size(), []

    def average(parameter: Tensor) -> None:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world

    for parameter in module.parameters():
        dist.broadcast(parameter.data, 0)
        if parameter.requires_grad:
            handles.append(parameter.register_post_accumulate_grad_hook(average))

    def end(*_: Any) -> None:
        for handle in handles:
            handle.remove()

    return end
