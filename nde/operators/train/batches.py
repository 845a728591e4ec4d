"""Which samples make up which batch: a function of the seed and the epoch alone, so that each can be had again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

__all__ = ["Share", "check_data", "length_of", "order_of_epoch", "share_of_batch"]


class Share:
    """One process's part of a batch.

    Attributes:
        tensors: The samples.
        weights: What each sample's loss counts in the mean over the whole batch, times the number of processes: the
            average of gradients over processes is then the gradient of that mean.
    """

    def __init__(self, tensors: list[Tensor], weights: Tensor) -> None:
        self.tensors, self.weights = tensors, weights


def order_of_epoch(count: int, seed: int, epoch: int) -> list[int]:
    """Return the order in which an epoch goes through the samples."""
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(count)]


def length_of(data: Any) -> int:
    """Return how many samples there are; `Dataset` itself has no length."""
    return len(data)


def share_of_batch(data: Dataset[Any], batch: list[int], rank: int, processes: int, device: torch.device) -> Share:
    """Return the samples of a batch that a process computes.

    A process for which nothing is left takes one sample with weight zero, since all of them have to take part.
    """
    mine = batch[rank::processes]
    weight = processes / len(batch) if mine else 0.0
    mine = mine or batch[:1]
    if isinstance(data, TensorDataset):
        tensors = [tensor[mine] for tensor in data.tensors]
    else:
        tensors = list(default_collate([data[index] for index in mine]))
    tensors = [tensor.to(device, non_blocking=True) for tensor in tensors]
    return Share(tensors, torch.full((len(mine),), weight, dtype=torch.float64, device=device))


def check_data(data: Any, name: str) -> None:
    """Raise unless ``data`` holds samples, and finite ones as far as this can be seen at once.

    Raises:
        TypeError: It is no data set of torch.
        ValueError: It is empty or holds numbers that are not finite.
    """
    if not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        raise TypeError(
            f"{name} must be a Dataset of torch with a length, but is a {type(data).__name__}. "
            "Try torch.utils.data.TensorDataset(inputs, targets)."
        )
    if len(data) == 0:
        raise ValueError(f"{name} holds no samples.")
    tensors = getattr(data, "tensors", None) or (getattr(data, "trajectories", None),)
    for place, tensor in enumerate(tensors):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ValueError(f"{name} must be finite, but {bad} numbers of its tensor {place} are not.")
