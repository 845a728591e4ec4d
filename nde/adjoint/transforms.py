"""Whether a function transform of `torch.func`, or forward-mode differentiation, is at work."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["is_batched", "transforms_active"]


def transforms_active() -> bool:
    """Return whether tensors may carry more than autograd's tape can see, so that a solve must be traced as it is."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def is_batched(tensor: Tensor) -> bool:
    """Return whether ``vmap`` has hidden an axis of the tensor, as batched gradients do in a backward pass."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)
