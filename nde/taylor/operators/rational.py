"""Linear algebra over the rationals, for the planner of partial derivatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

__all__ = ["catalecticant_rank", "dependent_rank", "rank", "solve"]

Column = list[Fraction]


def solve(columns: Sequence[Column], sides: Sequence[Column]) -> list[tuple[Fraction, ...]] | None:
    """Return for each right side the weights of the columns that sum to it, or None where one is not in their span.

    Where the columns are dependent, later ones get the weight 0.
    """
    rows = [[*(column[k] for column in columns), *(side[k] for side in sides)] for k in range(len(sides[0]))]
    pivots = _reduce(rows, len(columns))
    if any(value for row in rows[len(pivots) :] for value in row[len(columns) :]):
        return None
    weights = [[Fraction(0)] * len(columns) for _ in sides]
    for row, pivot in enumerate(pivots):
        for side in range(len(sides)):
            weights[side][pivot] = rows[row][len(columns) + side]
    return [tuple(row) for row in weights]


def rank(rows: Sequence[Sequence[Fraction]]) -> int:
    """Return the rank of a matrix given by its rows."""
    copied = [list(row) for row in rows]
    return len(_reduce(copied, len(copied[0]))) if copied else 0


def dependent_rank(columns: Sequence[Column], sides: Sequence[Column]) -> int:
    """Return by how much the right sides raise the rank of the columns: no fewer further columns can do."""
    return rank([*columns, *sides]) - rank(columns)


def catalecticant_rank(terms: Sequence[tuple[tuple[int, ...], Fraction]], order: int) -> int:
    """Return the rank of the middle catalecticant matrix of a form: it needs at least as many powers.

    Iarrobino and Kanev, Power Sums, Gorenstein Algebras, and Determinantal Loci (1999), chapter 1.
    """
    scaled = {index: value * math.prod(map(math.factorial, index)) for index, value in terms}
    variables = len(terms[0][0])

    def indices(degree: int) -> list[tuple[int, ...]]:
        return [index for index in itertools.product(range(degree + 1), repeat=variables) if sum(index) == degree]

    support = [v for v in range(variables) if any(index[v] for index, _ in terms)]
    variables = len(support)
    restricted = {tuple(index[v] for v in support): value for index, value in scaled.items()}
    rows = indices(order // 2)
    columns = indices(order - order // 2)
    return rank(
        [[restricted.get(tuple(a + b for a, b in zip(r, c, strict=True)), Fraction(0)) for c in columns] for r in rows]
    )


def _reduce(rows: list[list[Fraction]], width: int) -> list[int]:
    """Bring the first ``width`` columns to reduced row echelon form in place and return the columns of the pivots."""
    pivots: list[int] = []
    for column in range(width):
        row = len(pivots)
        found = next((k for k in range(row, len(rows)) if rows[k][column]), None)
        if found is None:
            continue
        rows[row], rows[found] = rows[found], rows[row]
        pivot = rows[row][column]
        rows[row] = [value / pivot for value in rows[row]]
        for k, other in enumerate(rows):
            if k != row and other[column]:
                factor = other[column]
                rows[k] = [value - factor * lead for value, lead in zip(other, rows[row], strict=True)]
        pivots.append(column)
    return pivots
