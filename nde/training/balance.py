"""Samples shared among processes such that their work is even, from what each of them cost last time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sized
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler

__all__ = ["BalancedSampler"]


class BalancedSampler(Sampler[int]):
    """Deals the samples of every batch to the processes by their measured work.

    With ``per_sample=True`` the work of a batch is the sum of its samples' steps, and all processes wait for the
    slowest one at every batch. Batches over all processes are drawn at random as usual; within each, samples go in
    descending order of their cost to the process that has the least so far, `batch_size` to each. Costs are those that
    `update` was told, smoothed over the epochs; a sample without one counts as the mean.

    Every process must call `update` with all processes' costs, or `gathered` must be used, so that all deal alike. The
    last batch is filled up with samples of the first, or left out with ``drop_last``.

    Args:
        data: The data set, for its length.
        batch_size: Samples of a batch of one process; give the ``DataLoader`` the same.
        rank, world_size: This process and how many there are; those of the process group by default.
        shuffle: Whether batches are drawn anew in each epoch, see `set_epoch`.
        drop_last: Whether a batch that is not full is left out.
        smoothing: Share of the old cost in the new one.
        seed: Of the order; the same in all processes.

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
    """

    def __init__(
        self,
        data: Sized,
        batch_size: int,
        *,
        rank: int | None = None,
        world_size: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        smoothing: float = 0.5,
        seed: int = 0,
    ) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.world_size = (dist.get_world_size() if together else 1) if world_size is None else world_size
        self.rank = (dist.get_rank() if together else 0) if rank is None else rank
        for name, value in (("batch_size", batch_size), ("world_size", self.world_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer, 1 or more, but is {value!r}.")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be from 0 to {self.world_size - 1}, but is {self.rank}.")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and less than 1, but is {smoothing}.")
        self.count = len(data)
        if not self.count:
            raise ValueError("data must have at least one sample.")
        whole = batch_size * self.world_size
        if drop_last and self.count < whole:
            raise ValueError(f"data must fill a batch of {whole} with drop_last=True, but has {self.count} samples.")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.smoothing, self.seed, self.epoch = smoothing, seed, 0
        self.costs = torch.full((self.count,), math.nan, dtype=torch.float64)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which the order depends on; before each, in all processes."""
        self.epoch = epoch

    def update(self, indices: Tensor, costs: Tensor) -> None:
        """Take what samples have cost.

        Args:
            indices: Samples, shape ``(n,)``.
            costs: Their costs in any unit, such as accepted and rejected steps, shape ``(n,)``.

        Raises:
            ValueError: The shapes differ, or a cost is negative or not finite.
        """
        indices, costs = indices.cpu().long(), costs.detach().cpu().double()
        if indices.shape != costs.shape or indices.ndim != 1:
            raise ValueError(
                f"indices and costs must have one shape (n,), but have {tuple(indices.shape)} and {tuple(costs.shape)}."
            )
        if not bool((torch.isfinite(costs) & (costs >= 0)).all()):
            raise ValueError("costs must be finite and not negative.")
        before = self.costs[indices]
        smoothed = self.smoothing * before + (1 - self.smoothing) * costs
        self.costs[indices] = torch.where(before.isnan(), costs, smoothed)

    def gathered(self, indices: Tensor, costs: Tensor) -> None:
        """Take what samples of all processes have cost: every process gives its own, and all learn all."""
        if self.world_size == 1 or not (dist.is_available() and dist.is_initialized()):
            self.update(indices, costs)
            return
        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, (indices.cpu(), costs.detach().cpu()))
        for some, theirs in parts:
            self.update(some, theirs)

    def __iter__(self) -> Iterator[int]:
        """Return this process's samples, batch after batch."""
        order = self._order()
        whole = self.batch_size * self.world_size
        for start in range(0, len(order), whole):
            yield from self._dealt(order[start : start + whole])[self.rank]

    def __len__(self) -> int:
        """Number of samples of this process in an epoch."""
        return len(self._order()) // self.world_size

    def state_dict(self) -> dict[str, Any]:
        """Return costs and epoch."""
        return {"costs": self.costs.clone(), "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them.

        Raises:
            ValueError: They are of another number of samples.
        """
        if len(state["costs"]) != self.count:
            raise ValueError(f"the state is of {len(state['costs'])} samples, but data has {self.count}.")
        self.costs, self.epoch = state["costs"].clone(), state["epoch"]

    def _order(self) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist() if self.shuffle else list(range(self.count))
        whole = self.batch_size * self.world_size
        rest = len(order) % whole
        if not rest:
            return order
        if self.drop_last:
            return order[: len(order) - rest]
        missing = whole - rest
        return order + (order * (1 + missing // len(order)))[:missing]

    def _dealt(self, batch: list[int]) -> list[list[int]]:
        """Deal a batch of all processes: the dearest first, each to whom has the least work and room left."""
        costs = self.costs[batch]
        known = costs[~costs.isnan()]
        costs = torch.where(costs.isnan(), known.mean() if len(known) else 1.0, costs)
        hands: list[list[int]] = [[] for _ in range(self.world_size)]
        least = [(0.0, rank) for rank in range(self.world_size)]
        for place in torch.argsort(costs, descending=True, stable=True).tolist():
            work, rank = heapq.heappop(least)
            hands[rank].append(batch[place])
            if len(hands[rank]) < self.batch_size:
                heapq.heappush(least, (work + float(costs[place]), rank))
        return hands
