"""Weighted sums of a tree's normal numbers, in an order that depends on the levels alone.

The order of the additions is the same for all rows, for some and for a row by itself, so that their bits are; a matrix
product would not promise that. The trees use it.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["GROUP", "weighted_sum"]

# Levels are added in pairs inside groups of eight, and the groups one after the other.
GROUP = 8
# elements of a group's products that still fit a core's cache: more are taken group by group
_TOGETHER = 1 << 16


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
    per_level = normals[0].numel() * weights.shape[2]
    step = max(_TOGETHER // (per_level * GROUP), 1) * GROUP
    for start in range(0, levels, step):
        part, weight = normals[start : start + step], weights[start : start + step]
        products = part[:, 0].unsqueeze(1) * weight[:, 0]
        for normal in range(1, count):
            products += part[:, normal].unsqueeze(1) * weight[:, normal]
        whole = products.shape[0] // GROUP
        if whole:
            grouped = products[: whole * GROUP].unflatten(0, (whole, GROUP))
            for half in (4, 2, 1):
                grouped = grouped[:, :half].add_(grouped[:, half : 2 * half])
            for group in grouped[:, 0].unbind(0):
                total = group if total is None else total.add_(group)
        rest = products[whole * GROUP :]
        if rest.shape[0]:
            for half in (4, 2, 1):
                if rest.shape[0] > half:
                    rest[: rest.shape[0] - half].add_(rest[half:])
                    rest = rest[:half]
            total = rest[0] if total is None else total.add_(rest[0])
    assert total is not None
    return total
