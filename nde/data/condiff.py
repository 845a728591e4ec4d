"""ConDiff: diffusion with random coefficients of high contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import sparse

from nde.data.checks import check_choice, check_count, check_number, check_positive
from nde.data.covariances import Covariance, StationaryField
from nde.data.five_point import solve_five_point
from nde.data.problem import Array, Box, Problem, Sample

__all__ = ["ConDiff", "condiff_matrix", "contrast"]

# the published data keep to samples whose contrast is in a range that belongs to the variance
PUBLISHED_RANGES = {0.1: (5.0, 15.0), 0.4: (50.0, 250.0), 1.0: (600.0, 1000.0), 2.0: (80_000.0, 100_000.0)}
_LENGTH_SCALE = 0.05
_MOST_DRAWS = 100_000


@dataclass(frozen=True)
class ConDiff(Problem):
    """``-div(k grad u) = f`` in the unit square, ``u = 0`` on its boundary, ``k = exp(Gaussian field)``, ``f`` noise.

    The problems of ConDiff (Trifonov, Rudikov, Iliev, Oseledets, Muravleva, 2024, arXiv:2406.04709), drawn anew: the
    same matrix, law of the field, ranges of contrast and law of the right-hand side; other random numbers. ``f`` has
    independent normal numbers at each unknown, so that problems on two grids are different problems.

    Fields: ``"coefficient"`` of shape ``(1, points + 1, points + 1)``, at the corners of cells; ``"source"`` and
    ``"solution"`` of shape ``(1, points, points)``, at ``(i, j) / (points + 1)`` from 1 to ``points``.

    Args:
        points: Unknowns along each side; 64 and 128 are published.
        covariance: Model of the field; ``"constant"`` for ``k = 1``, the Poisson problems.
        variance: Of the field; 0.1, 0.4, 1 and 2 are published.
        contrast_range: Samples outside are thrown away; None for the published range of the variance.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range; there is no published range for the variance, and none is given.
    """

    recipe: ClassVar[int] = 2  # since the equations are solved in another order

    points: int = 64
    covariance: Covariance | Literal["constant"] = "cubic"
    variance: float = 0.1
    contrast_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_count(self.points, "points", 2)
        check_choice(self.covariance, ("cubic", "exponential", "gaussian", "constant"), "covariance")
        check_positive(self.variance, "variance")
        if self.contrast_range is not None:
            lowest, highest = self.contrast_range
            check_number(lowest, "contrast_range[0]", 1.0)
            check_number(highest, "contrast_range[1]", lowest)
        elif self.covariance != "constant" and self.variance not in PUBLISHED_RANGES:
            raise ValueError(
                f"variance={self.variance} has no published range of contrast. Give contrast_range=(lowest, highest), "
                f"or choose one of: {', '.join(map(str, PUBLISHED_RANGES))}."
            )

    @property
    def box(self) -> Box:
        """See `Problem.box`: the box of source and solution, which have a cell around each unknown."""
        spacing = 1 / (self.points + 1)
        return {
            "lengths": self.points * spacing,
            "periodic": False,
            "centering": "cells",
            "origin": 0.5 * spacing,
        }

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        coefficient = self._coefficient(rng)
        source = rng.standard_normal((self.points, self.points))
        solution = solve_five_point(*_entries(coefficient), source)
        return {"coefficient": coefficient[None], "source": source[None], "solution": solution[None]}

    def _coefficient(self, rng: np.random.Generator) -> Array:
        corners = self.points + 1
        if self.covariance == "constant":
            return np.ones((corners, corners))
        law = StationaryField(self.covariance, self.variance, _LENGTH_SCALE)
        lowest, highest = self.contrast_range or PUBLISHED_RANGES[self.variance]
        for _ in range(_MOST_DRAWS // 2):
            for field in law.sample_pair(rng, corners):
                if lowest <= np.exp(field.max() - field.min()) <= highest:
                    return np.asarray(np.exp(field))
        raise RuntimeError(
            f"none of {_MOST_DRAWS} fields has a contrast between {lowest:g} and {highest:g}. Widen contrast_range."
        )


def contrast(coefficient: Array) -> Array:
    """Return the largest over the smallest value of each coefficient, over the last two axes.

    Raises:
        ValueError: There are fewer than two axes, or a value is not positive.
    """
    if coefficient.ndim < 2 or not np.all(coefficient > 0):
        raise ValueError("coefficient must be positive, with two axes of space.")
    return np.asarray(coefficient.max(axis=(-2, -1)) / coefficient.min(axis=(-2, -1)))


def condiff_matrix(coefficient: Array) -> Any:
    """Return the matrix of ConDiff, bit for bit, in compressed sparse columns.

    Unknown ``(i, j)`` is number ``i + j n``. Its diagonal entry is the sum of the coefficients at the four corners of
    its cell; with a neighbour it shares the mean of the two corners between them; all is scaled by ``(n + 1)^2``.

    Args:
        coefficient: At the corners of cells, shape ``(n + 1, n + 1)``.

    Raises:
        ValueError: It has another shape.
    """
    if coefficient.ndim != 2 or coefficient.shape[0] != coefficient.shape[1] or len(coefficient) < 3:
        raise ValueError(f"coefficient must have the shape (n + 1, n + 1), but has {coefficient.shape}.")
    n = len(coefficient) - 1
    diagonal, down, right = (entries.ravel(order="F") for entries in _entries(coefficient))
    below = np.zeros((n, n))
    below[:-1] = down.reshape(n - 1, n, order="F")
    beside = below.ravel(order="F")[:-1]
    matrix = sparse.diags_array([diagonal, beside, beside, right, right], offsets=[0, 1, -1, n, -n], format="csc")
    matrix.eliminate_zeros()  # between the last of a column of unknowns and the first of the next
    return sparse.csc_matrix(matrix)


def _entries(coefficient: Array) -> tuple[Array, Array, Array]:
    """Return the matrix's diagonal and the entries between an unknown and the next along each axis."""
    # the order of the operations is that of the published code: the last bit depends on it
    scale = len(coefficient) ** 2
    diagonal = coefficient[:-1, :-1] + coefficient[:-1, 1:] + coefficient[1:, :-1] + coefficient[1:, 1:]
    down = 0.5 * (coefficient[1:-1, :-1] + coefficient[1:-1, 1:])
    right = 0.5 * (coefficient[:-1, 1:-1] + coefficient[1:, 1:-1])
    return diagonal * scale, -down * scale, -right * scale
