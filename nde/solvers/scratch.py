"""Scratch memory that outlives a solve.

On a CPU, memory fresh from the operating system costs more to touch for the first time than a step's own arithmetic, so
what one solve worked in is kept for the next one of the same shape. Each thread has its own; a solve inside the field
of another one gets another piece.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

__all__ = ["borrowed"]

# few shapes alternate in a training loop, and larger states than this take long enough to hide the cost
_MOST_PIECES = 4
_MOST_BYTES = 64 * 2**20


class _Piece(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=_Piece | None)


class _Pool(threading.local):
    def __init__(self) -> None:
        self.pieces: OrderedDict[Hashable, _Piece] = OrderedDict()


_POOL = _Pool()


@contextmanager
def borrowed(key: Hashable, make: Callable[[], T], device: torch.device) -> Iterator[T]:
    """Lend scratch memory for the duration of a ``with`` block.

    Args:
        key: What distinguishes the memory: its owner, shape, dtype and device.
        make: Makes it, where none is left of an earlier block; its ``nbytes`` decides whether it is kept. It may make
            None, where nothing is needed.
        device: Where it is. Accelerators have allocators of their own that keep memory: nothing is kept here.
    """
    # a tensor made in inference mode cannot be written to outside it
    key = (key, torch.is_inference_mode_enabled())
    piece = _POOL.pieces.pop(key) if key in _POOL.pieces else make()
    try:
        yield piece  # type: ignore[misc]  # the key stands for the type
    finally:
        if piece is not None and device.type == "cpu" and piece.nbytes <= _MOST_BYTES:
            _POOL.pieces[key] = piece
            while len(_POOL.pieces) > _MOST_PIECES:
                _POOL.pieces.popitem(last=False)
