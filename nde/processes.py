"""Work in several processes: who this one is, sums and gatherings over all of them, and workers without a master."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Processes", "end_with_parent", "summed"]


def end_with_parent() -> None:
    """End this worker when the process that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def summed(values: Tensor) -> Tensor:
    """Return the sum of host numbers over the processes of the group, as they are where there is none."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    on_device = values.to(torch.device("cuda", torch.cuda.current_device())) if dist.get_backend() == "nccl" else values
    dist.all_reduce(on_device)
    return on_device.to(values.device)


class Processes:
    """The processes that train together: those of a process group, those that torchrun started, or this one alone.

    Attributes:
        rank, count: Number of this process, and how many there are.
        device: Where this process should compute, by default.
    """

    def __init__(self) -> None:
        available = dist.is_available()
        started_by_torchrun = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
        if available and not dist.is_initialized() and started_by_torchrun:
            if cuda:
                torch.cuda.set_device(self.device)
            dist.init_process_group("nccl" if cuda else "gloo")
        together = available and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.count = dist.get_world_size() if together else 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows things."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in their order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            dist.barrier()
