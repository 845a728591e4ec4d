"""Keys: 64-bit numbers that name the nodes of a path's trees, as a pure function of the seed and of the node's place.

Plain Python and torch's int64 arithmetic only, so that every device gives the same bits; the host's and the tensors'
version agree exactly. The normal numbers and the trees are built on these.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["GAMMA", "cell_key", "cell_keys", "mix_", "mix_host", "node_keys", "seed_key", "signed"]

# Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators" (SplitMix64): the golden ratio as a 64-bit
# step, and the finaliser's two multipliers (Stafford's variant 13).
GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
# Steps of their own for cells and nodes, so that no sum of small multiples names two things alike.
_CELL_STEP = 0xD1342543DE82EF95
_NODE_STEP = 0xF1357AEA2E62A9C5
_WORD = (1 << 64) - 1


def signed(word: int) -> int:
    """Return the 64-bit word as the number that torch's int64 takes it for."""
    word &= _WORD
    return word - (1 << 64) if word >> 63 else word


def _constant(value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int64, device="cpu")


# Torch wraps a Python number into such a tensor at every call, which costs as much as the arithmetic on a small path.
_ROUNDS = tuple(
    (_constant(shift), _constant((1 << (64 - shift)) - 1), None if factor is None else _constant(signed(factor)))
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, None))
)


def mix_host(word: int) -> int:
    """Return SplitMix64's finaliser of a 64-bit word: every input bit turns half of the output bits."""
    word &= _WORD
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)


def mix_(words: Tensor, scratch: Tensor) -> Tensor:
    """Apply the finaliser in place to int64 ``words``; ``scratch`` has their shape and is overwritten."""
    for shift, mask, factor in _ROUNDS:
        # torch shifts the sign in; the mask takes it out again
        torch.bitwise_right_shift(words, shift, out=scratch)
        words.bitwise_xor_(scratch.bitwise_and_(mask))
        if factor is not None:
            words.mul_(factor)
    return words


def seed_key(seed: int) -> int:
    """Return the key of a whole path; seeds of any size and sign are told apart by their 64-bit pieces."""
    key = mix_host(GAMMA ^ (seed < 0))
    seed = abs(seed)
    while True:
        key = mix_host(key + seed)
        seed >>= 64
        if not seed:
            return key


def cell_keys(key: int, cells: Tensor) -> Tensor:
    """Return the keys of cells, given as int64 numbers of any shape."""
    words = cells * signed(_CELL_STEP)
    words += signed(key)
    return mix_(words, torch.empty_like(words))


def cell_key(key: int, cell: int) -> int:
    """Return the key of one cell, as the number that int64 takes it for."""
    return signed(mix_host(key + cell * _CELL_STEP))


def node_keys(cell_keys: Tensor | int, places: Tensor) -> Tensor:
    """Return the keys of normal numbers of cells and of the nodes of their trees.

    Args:
        cell_keys: Keys of their cells, int64.
        places: Each number's place, int64, of a shape that broadcasts: ``4 * (2 ** level + index) + component`` for a
            node of the cell's tree, and the component alone for the cell itself.
    """
    words = places * signed(_NODE_STEP)
    words = words + cell_keys
    return mix_(words, torch.empty_like(words))
