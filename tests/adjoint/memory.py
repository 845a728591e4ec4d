"""Memory that a piece of code holds at its peak, counted tensor by tensor."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.sizes = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage):
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._release, key)

    def _release(self, key):
        self.now -= self.sizes.pop(key)


def peak_bytes(work) -> int:
    """Return the most bytes that tensors made by ``work()`` take at one time, in its forward and backward passes."""
    with _Live() as live:
        work()
    return live.peak
