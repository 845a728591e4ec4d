"""Rooted trees and elementary weights, the language in which Runge-Kutta order conditions are written.

A tree is the sorted tuple of the subtrees below its root, so that equal trees are equal tuples and the single vertex is
``()``. Standard library only; the order-condition tests use it.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache

Tree = tuple["Tree", ...]


@cache
def trees_of_order(order: int) -> tuple[Tree, ...]:
    """Return all rooted trees with ``order`` vertices, each once, in a fixed order."""
    if order == 1:
        return ((),)
    return tuple(sorted({grown for tree in trees_of_order(order - 1) for grown in _with_one_more_leaf(tree)}))


def _with_one_more_leaf(tree: Tree) -> Iterator[Tree]:
    yield tuple(sorted((*tree, ())))
    for i, child in enumerate(tree):
        for grown in _with_one_more_leaf(child):
            yield tuple(sorted((*tree[:i], grown, *tree[i + 1 :])))


def order_of(tree: Tree) -> int:
    """Return the number of vertices."""
    return 1 + sum(order_of(child) for child in tree)


def density(tree: Tree) -> int:
    """Return gamma: the product, over all vertices, of the order of the subtree below the vertex."""
    return order_of(tree) * math.prod(density(child) for child in tree)


def elementary_weights(tree: Tree, a: Sequence[Sequence[float]]) -> list[float]:
    """Return Phi of every stage: the method has order ``p`` iff ``sum_i b_i Phi_i = 1 / gamma`` up to order ``p``.

    Args:
        tree: The tree of the order condition.
        a: Rows of the stages; entries missing at the end of a row are zero, so that an explicit method passes ``()``
            for its first stage and the strictly lower triangular rows for the others.
    """
    factors = [elementary_weights(child, a) for child in tree]
    sums = [[math.fsum(x * y for x, y in zip(row, factor, strict=False)) for row in a] for factor in factors]
    return [math.prod(column) for column in zip(*sums, strict=True)] if sums else [1.0] * len(a)
