"""Zeros appended to a state, so that a flow has room for maps that no flow in the state's own space can be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["augment_with_zeros", "check_augmentation"]


def augment_with_zeros(y: Tensor, channels: int, axis: int = -1) -> Tensor:
    """Return a state with zeros appended.

    Dupont, Doucet, Teh (2019), Augmented neural ODEs, section 5.

    Args:
        y: Shape ``(*shape)``.
        channels: How many zeros; 0 returns the state itself.
        axis: Along which axis: the last one of vectors, 1 for images of shape ``(batch, channels, height, width)``.

    Returns:
        The shape of ``y``, with ``channels`` more entries along the axis.

    Raises:
        TypeError: The state is no tensor.
        ValueError: The state has no such axis.
    """
    if channels == 0:
        return y
    if not isinstance(y, Tensor):
        raise TypeError(f"A state that zeros are appended to must be a tensor, but is a {type(y).__name__}.")
    if not -y.ndim <= axis < y.ndim:
        raise ValueError(f"augment_axis must be an axis of the state, which has shape {tuple(y.shape)}, but is {axis}.")
    shape = list(y.shape)
    shape[axis] = channels
    return torch.cat([y, y.new_zeros(shape)], axis)


def check_augmentation(channels: Any, axis: Any) -> None:
    """Raise unless the number of zeros and their axis are integers, and the number is not negative."""
    for value, name in ((channels, "augment"), (axis, "augment_axis")):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, but is {value!r}.")
    if channels < 0:
        raise ValueError(f"augment must be zero or positive, but is {channels}.")
