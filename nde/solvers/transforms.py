"""Function transforms of `torch.func` and forward mode: whether one is at work, and host values under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd import forward_ad

__all__ = [
    "NO_VMAP",
    "as_host",
    "constants",
    "functions_transformed",
    "has_batched",
    "is_batched",
    "may_move",
    "reject_vmap",
    "share_memory",
    "tape_fails",
    "transforms_active",
]

NO_VMAP = (
    "a solve cannot run under torch.func.vmap: its steps are decided on the host, and every entry would need its own. "
    "Give the batch as the first axis of y0 with per_sample=True, and what else belongs to its entries as "
    "nde.PerSample(value) in args."
)


def transforms_active() -> bool:
    """Return whether tensors may carry more than autograd's tape can see, so that a solve must be traced as it is."""
    return forward_ad._current_level >= 0 or functions_transformed()


def functions_transformed() -> bool:
    """Return whether a transform of `torch.func` is at work."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def tape_fails() -> bool:
    """Return whether autograd's tape cannot be used inside a step: derivatives are then those of `torch.func`."""
    return transforms_active() or torch.is_inference_mode_enabled()


@contextmanager
def constants() -> Iterator[None]:
    """Compute constants that outlive their maker: unknown to autograd, inference mode and function transforms."""
    with torch.inference_mode(False), torch.no_grad():
        if functions_transformed():
            with temporarily_clear_interpreter_stack():
                yield
        else:
            yield


def may_move(ts: Tensor) -> bool:
    """Return whether derivatives by times may be wanted, which function transforms and forward mode do not tell."""
    return ts.requires_grad or transforms_active()


def is_batched(tensor: Tensor) -> bool:
    """Return whether ``vmap`` has hidden an axis of the tensor, as batched gradients do in a backward pass."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)


def has_batched(value: Any) -> bool:
    """Return whether ``vmap`` has hidden an axis of a tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return is_batched(value)
    if isinstance(value, dict):
        return any(has_batched(item) for item in value.values())
    return isinstance(value, (tuple, list)) and any(has_batched(item) for item in value)


def as_host(values: Tensor) -> numpy.ndarray:
    """Return a tensor's values on the host, floating-point ones as float64.

    Raises:
        RuntimeError: ``vmap`` has hidden an axis of it.
    """
    values = values.detach()
    if values.is_floating_point():
        values = values.double()
    if not transforms_active():
        host: numpy.ndarray = values.cpu().numpy()
        return host
    reject_vmap(values)
    # wrapped by a function transform, which has no memory to share
    values = _unwrapped(values)
    kind = bool if values.dtype == torch.bool else float if values.is_floating_point() else int
    return numpy.array(forward_ad.unpack_dual(values).primal.tolist(), dtype=kind)


def reject_vmap(value: Tensor) -> None:
    """Raise the error that names the way out, if ``vmap`` has hidden an axis of the tensor.

    Raises:
        RuntimeError: It has.
    """
    if is_batched(_unwrapped(value)):
        raise RuntimeError(NO_VMAP)


def share_memory(left: Tensor, right: Tensor) -> bool:
    """Return whether tensors lie in one memory."""
    try:
        return left.untyped_storage().data_ptr() == right.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # a function transform's tensors have no memory of their own
        return False


def _unwrapped(value: Tensor) -> Tensor:
    functorch = torch._C._functorch
    while functorch.is_gradtrackingtensor(value):
        value = functorch.get_unwrapped(value)
    return value
