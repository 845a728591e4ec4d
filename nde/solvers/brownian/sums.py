"""Weighted sums of a tree's normal numbers, in an order that depends on the levels alone.

The order of the additions is the same for all rows, for some and for a row by itself, so that their bits are; a matrix
product would not promise that. The trees use it.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["GROUP", "weighted_sum"]

# Levels are added in pairs inside groups of eight, and the groups one after the other.
GROUP = 8
# elements of a level from which on groups are taken one by one, so that their products stay in a core's cache
_LARGE = 1 << 12


def weighted_sum(normals: Tensor, weights: Tensor) -> Tensor:
    """Return the sum over levels and normals of ``weights * normals``, one per value.

    Args:
        normals: Shape ``(levels, count, rows, columns)``; level 0 begins a group.
        weights: Shape ``(levels, count, values, 1 or rows, 1)``, dtype of the normals. Levels without weights have
            zeros.

    Returns:
        Shape ``(values, rows, columns)``.
    """
    levels, count = normals.shape[:2]
    total: Tensor | None = None
    step = GROUP if normals[0].numel() * weights.shape[2] > _LARGE else levels
    for start in range(0, levels, step):
        part, weight = normals[start : start + step], weights[start : start + step]
        if count == 1:
            products = part * weight[:, 0]
        else:
            products = part[:, :1] * weight[:, 0]
            for normal in range(1, count):
                products += part[:, normal : normal + 1] * weight[:, normal]
        for group in products.split(GROUP):
            held = group.shape[0]
            for half in (4, 2, 1):
                if held > half:
                    group[: held - half].add_(group[half:held])
                    held = half
            total = group[0] if total is None else total.add_(group[0])
    assert total is not None
    return total
