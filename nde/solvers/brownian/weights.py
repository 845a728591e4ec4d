"""The weights of a tree's normal numbers in the increment over a part of its cell.

Times are whole numbers of quanta here, so that the place of a time among the nodes is exact. The same formulas serve
one interval for all rows (numbers, only the levels that matter) and an interval per row (arrays, the levels that matter
for any of them, masks). All is computed on the host, whose operations on small arrays are the cheapest. The trees use
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nde.solvers.brownian.bridge import leaf_weights, mean_weights, part_weights, prefix_weights
from nde.solvers.brownian.chen import join, join_weights

__all__ = ["LEAF_BITS", "RowWeights", "SpanWeights", "levels_of", "row_weights", "span_weights"]

# A leaf is cut into 2 ** LEAF_BITS quanta; times are rounded to them.
LEAF_BITS = 20
_LEAF = 1 << LEAF_BITS

Table = list[list[Any]]


@dataclass(frozen=True, slots=True)
class SpanWeights:
    """Weights of one interval ``[s, t]`` inside a cell of length 1.

    Attributes:
        mean: Of the cell's own (w, h, k), ``[condition][value]``.
        end: Of the normals on the way to ``t``, level by level from the root on, the leaf's last; shape ``(levels,
            normals, values)``, without the levels below those that matter.
        start_from, start: The same on the way to ``s``, for levels from ``start_from`` on; the earlier ones are shared
            with the way to ``t`` and weighed there.
    """

    mean: Table
    end: np.ndarray
    start_from: int
    start: np.ndarray


@dataclass(frozen=True, slots=True)
class RowWeights:
    """Weights of an interval per row: as ``SpanWeights``, with the same levels for both ways, and a last axis of rows.

    ``mean`` holds arrays of shape ``(rows,)``; ``end`` and ``start`` have shape ``(levels, normals, values, rows)``.
    """

    mean: Table
    end: np.ndarray
    start: np.ndarray


def _joined(left: Table | None, right: Table | None, fraction: Any, count: int) -> Table:
    """Return weights in the whole interval from those in its two parts."""
    zero, weights = [0.0] * count, join_weights(fraction, count)
    return [list(join(left[i] if left else zero, right[i] if right else zero, weights)) for i in range(count)]


def _areas(table: Table, scale: Any, ratio: Any, count: int) -> Table:
    """Turn leaf weights of value and integrals into (w, h, k) of an interval; ``ratio`` is leaf by interval length."""
    turned = []
    for orders in table:
        value = orders[0] * scale
        values = [value]
        if count > 1:
            once = orders[1] * scale * ratio
            values.append(once - 0.5 * value)
        if count > 2:
            values.append(orders[2] * scale * (ratio * ratio) - 0.5 * once + value * (1 / 12))
        turned.append(values)
    return turned


def _backwards(table: Table) -> Table:
    """Return leaf weights seen from the leaf's end."""
    return [[value if order == 1 else -value for order, value in enumerate(orders)] for orders in table]


def _between(later: Table, earlier: Table, step: Any) -> Table:
    """Return value and integrals from one time of a leaf to a later one, ``step`` of the leaf on."""
    tables = []
    for late, early in zip(later, earlier, strict=True):
        orders = [late[0] - early[0]]
        if len(late) > 1:
            orders.append(late[1] - early[1] - step * early[0])
        if len(late) > 2:
            orders.append(late[2] - early[2] - step * early[1] - (0.5 * step * step) * early[0])
        tables.append(orders)
    return tables


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1


def _stack(tables: Sequence[tuple[Table, int]], count: int) -> np.ndarray:
    """Return tables of scalars or of arrays, one after the other, as an array ``(levels, normal, value)``."""
    out = np.zeros((sum(levels for _, levels in tables), count, count))
    at = 0
    for table, levels in tables:
        for normal in range(count):
            for value in range(count):
                out[at : at + levels, normal, value] = table[normal][value]
        at += levels
    return out


def span_weights(start: int, end: int, depth: int, count: int, scales: np.ndarray, sizes: np.ndarray) -> SpanWeights:
    """Return the weights of one interval.

    Args:
        start, end: The interval in quanta of its cell, ``start < end``.
        depth: Levels of the tree.
        count: Normals of a node: 1, 2 or 3 for (w), (w, h), (w, h, k).
        scales: ``2 ** (-level / 2)``, shape ``(depth + 1,)``: the scale of a node's normals.
        sizes: int64, quanta of a node of each level, shape ``(depth + 1,)``.
    """
    whole = 1 << (depth + LEAF_BITS)
    mean = mean_weights(start / whole, (end - start) / whole, count)
    shared = depth - ((start >> LEAF_BITS) ^ ((end - 1) >> LEAF_BITS)).bit_length()  # the last node with both in it
    tables: list[tuple[Table, int]] = []
    if shared > 0:
        size = sizes[:shared]
        offset = start & (size - 1)
        right = (2 * offset >= size) * 1.0
        table = part_weights(1.0 - 2.0 * right, 2.0 * offset / size - right, 2.0 * (end - start) / size, count)
        tables.append((_scaled(table, scales[:shared]), shared))
    start_leaf, end_leaf = start & (_LEAF - 1), end & (_LEAF - 1)
    if shared == depth:
        scale = float(scales[depth])
        table = _between(
            _leaf(end_leaf, count), _leaf(start_leaf, count), (end - start) / _LEAF
        )  # zero at the leaf's ends
        tables.append((_areas(table, scale, _LEAF / (end - start), count), 1))
        return SpanWeights(mean, _stack(tables, count), depth + 1, np.zeros((0, count, count)))
    size_shared = int(sizes[shared])
    middle = ((end - 1) // (size_shared // 2)) * (size_shared // 2)
    left, right_length = middle - start, end - middle
    fraction = left / (end - start)
    if not (2 * left == size_shared == 2 * right_length):
        half = size_shared / 2
        before = part_weights(1.0, 1.0 - left / half, left / half, count)
        after = part_weights(-1.0, 0.0, right_length / half, count)
        tables.append((_scaled(_joined(before, after, fraction, count), scales[shared]), 1))
    # below the node that divides the two: one way to each end, as far down as the end is not a node's own
    below = shared + 1
    stop = min(depth, depth + LEAF_BITS - _trailing_zeros(end))
    if stop > below:
        size = sizes[below:stop]
        offset = ((end - 1) & (size - 1)) + 1
        table = _prefix(offset, size, right_length, count, False)
        tables.append((_scaled(_joined(None, table, fraction, count), scales[below:stop]), stop - below))
    if end_leaf:
        table = _areas(_leaf(end_leaf, count), scales[depth], _LEAF / right_length, count)
        tables.append((_joined(None, table, fraction, count), 1))
    started: list[tuple[Table, int]] = []
    stop = min(depth, depth + LEAF_BITS - _trailing_zeros(start)) if start else 0
    if stop > below:
        size = sizes[below:stop]
        offset = size - (start & (size - 1))
        table = _prefix(offset, size, left, count, True)
        started.append((_scaled(_joined(table, None, fraction, count), scales[below:stop]), stop - below))
    if start_leaf:
        table = _turned(_areas(_backwards(_leaf(start_leaf, count)), scales[depth], _LEAF / left, count))
        started.append((_joined(table, None, fraction, count), 1))
    return SpanWeights(mean, _stack(tables, count), below, _stack(started, count))


def _turned(table: Table) -> Table:
    """Turn (w, h, k) seen from the end, backwards, forwards: the path is then minus its own mirror image."""
    return [[-value if order == 1 else value for order, value in enumerate(values)] for values in table]


def _scaled(table: Table, scale: Any) -> Table:
    return [[value * scale for value in values] for values in table]


def _leaf(offset: Any, count: int) -> Table:
    """Return the weights at a time of a leaf, in quanta from its start."""
    if offset == 0:
        return [[0.0] * count for _ in range(count)]
    near = min(offset, _LEAF - offset) / _LEAF
    return leaf_weights(near, 1.0 if 2 * offset <= _LEAF else -1.0, count)


def _prefix(offset: Any, size: Any, length: Any, count: int, turned: bool) -> Table:
    """Return the weights below a dividing node; ``offset`` is counted from the side that the interval comes from."""
    right = (2 * offset > size) * 1.0
    return prefix_weights(right, 2.0 * offset / size - right, size / length, count, turned)


@np.errstate(all="ignore")  # what the formulas give where they do not hold is not used
def row_weights(
    start: np.ndarray, end: np.ndarray, depth: int, count: int, scales: np.ndarray, sizes: np.ndarray, levels: int
) -> RowWeights:
    """Return the weights of an interval per row; each row's are bit for bit those that ``span_weights`` gives for it.

    Args:
        start, end: int64, shape ``(rows,)``, ``start < end``.
        depth, count, scales, sizes: As in ``span_weights``.
        levels: How many levels there are weights for, from the root on; those below must have none. One more than
            ``depth`` for all of them.
    """
    whole = 1 << (depth + LEAF_BITS)
    length = (end - start).astype(float)
    mean = mean_weights(start / whole, length / whole, count)
    # the number of bits of where the leaves differ says which nodes have both in them
    shared = depth - np.frexp(((start >> LEAF_BITS) ^ ((end - 1) >> LEAF_BITS)).astype(float))[1].astype(np.int64)
    half_bits = depth + LEAF_BITS - 1 - shared
    middle = ((end - 1) >> half_bits) << half_bits
    # in one leaf there is no dividing node
    left, right_length = (middle - start).astype(float), (end - middle).astype(float)
    fraction, half = left / length, sizes[shared] / 2.0
    ends = np.zeros((levels, count, count, start.shape[0]))
    starts = np.zeros_like(ends)
    inner = min(levels, depth)
    if inner:
        level, scale = np.arange(inner)[:, None], scales[:inner, None]
        whole_size = sizes[:inner, None]
        size = whole_size.astype(float)
        offset = (start & (whole_size - 1)).astype(float)
        right = (2.0 * offset >= size) * 1.0
        above = part_weights(1.0 - 2.0 * right, 2.0 * offset / size - right, 2.0 * length / size, count)
        before = part_weights(1.0, 1.0 - left / half, left / half, count)
        after = part_weights(-1.0, 0.0, right_length / half, count)
        divided = _scaled(_joined(before, after, fraction, count), scales[shared])
        divides = (level == shared) & ~((left == half) & (right_length == half))
        end_offset = (((end - 1) & (whole_size - 1)) + 1).astype(float)
        end_below = _joined(None, _prefix(end_offset, size, right_length, count, False), fraction, count)
        start_below = _joined(_prefix(size - offset, size, left, count, True), None, fraction, count)
        below = level > shared
        end_used, start_used = below & (end_offset < size), below & (offset > 0)
        over = level < shared
        for normal in range(count):
            for value in range(count):
                cell = np.where(end_used, end_below[normal][value] * scale, 0.0)
                cell = np.where(divides, divided[normal][value], cell)
                ends[:inner, normal, value] = np.where(over, above[normal][value] * scale, cell)
                starts[:inner, normal, value] = np.where(start_used, start_below[normal][value] * scale, 0.0)
    if levels > depth:
        tables = _row_leaf_weights(
            start, end, shared == depth, (length, left, right_length, fraction), scales[depth], count
        )
        ends[depth], starts[depth] = tables
    return RowWeights(mean, ends, starts)


def _row_leaf_weights(
    start: np.ndarray, end: np.ndarray, one_leaf: np.ndarray, lengths: tuple[np.ndarray, ...], scale: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the leaves that the two ends lie in, shape ``(normals, values, rows)`` each."""
    length, left, right_length, fraction = lengths
    end_leaf, start_leaf = _row_leaf(end, count), _row_leaf(start, count)
    inside = _areas(_between(end_leaf, start_leaf, length / _LEAF), scale, _LEAF / length, count)
    end_leaf = _joined(None, _areas(end_leaf, scale, _LEAF / right_length, count), fraction, count)
    start_leaf = _turned(_areas(_backwards(start_leaf), scale, _LEAF / left, count))
    start_leaf = _joined(start_leaf, None, fraction, count)
    ends, starts = np.zeros((2, count, count, start.shape[0]))
    at_start, at_end = (start & (_LEAF - 1)) > 0, (end & (_LEAF - 1)) > 0
    for normal in range(count):
        for value in range(count):
            leaf = np.where(at_end, end_leaf[normal][value], 0.0)
            ends[normal, value] = np.where(one_leaf, inside[normal][value], leaf)
            starts[normal, value] = np.where(at_start & ~one_leaf, start_leaf[normal][value], 0.0)
    return ends, starts


def _row_leaf(time: np.ndarray, count: int) -> Table:
    offset = time & (_LEAF - 1)
    near = np.minimum(offset, _LEAF - offset) / _LEAF
    inside = offset > 0
    side = np.where(2 * offset <= _LEAF, 1.0, -1.0)
    table = leaf_weights(np.where(inside, near, 0.5), side, count)
    return [[np.where(inside, value, 0.0) for value in orders] for orders in table]


def levels_of(start: np.ndarray, end: np.ndarray, depth: int) -> int:
    """Return how many levels, from the root on, have weights for any of many intervals; see ``row_weights``."""
    zeros = _trailing_zeros(int(np.bitwise_or.reduce(start | end)))
    return depth + 1 if zeros < LEAF_BITS else depth + LEAF_BITS - zeros
