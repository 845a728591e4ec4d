"""Darcy flow in a square: from the permeability to the pressure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from nde.data.checks import check_choice, check_count, check_number, check_positive
from nde.data.five_point import solve_five_point
from nde.data.problem import Array, Box, Problem, Sample
from nde.data.random_fields import SpectralField
from nde.data.resolution import coarsen, refine

__all__ = ["Darcy", "solve_darcy"]


@dataclass(frozen=True)
class Darcy(Problem):
    """``-div(a grad u) = source`` in the unit square, ``u = 0`` on its boundary.

    The defaults are the setting of Li et al. (2021, "Fourier neural operator for parametric partial differential
    equations", Section 5.2): ``a`` is 12 where a random field of law ``N(0, (-Laplace + 9)^-2)`` with Neumann
    conditions is positive, and 3 elsewhere (the script that was published with the article has 4). The numbers are not
    those of the published files: these interpolate the jumps of the coefficient before they solve.

    Fields: ``"coefficient"`` and ``"solution"`` of shape ``(1, outputs, outputs)``, at the centres of cells.

    Args:
        points: Cells along each side on which the equation is solved.
        coefficient: ``"thresholded"`` for two values with jumps between them, ``"lognormal"`` for ``exp(field)``.
        high, low: The two values.
        law: Law of the random field.
        source: Right-hand side.
        coefficient_points: Cells along each side on which the coefficient is constant; None for ``points``. With
            fewer, the same functions can be had at several resolutions: what a test of an operator's resolution needs.
        output_points: Cells along each side of the fields, which are means over the cells of the solver; None for
            ``points``.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range, or numbers of points do not divide ``points``.
    """

    recipe: ClassVar[int] = 2  # since the equations are solved in another order

    points: int = 64
    coefficient: Literal["thresholded", "lognormal"] = "thresholded"
    high: float = 12.0
    low: float = 3.0
    law: SpectralField = field(default_factory=lambda: SpectralField(2.0, 3.0, boundary="neumann"))
    source: float = 1.0
    coefficient_points: int | None = None
    output_points: int | None = None

    def __post_init__(self) -> None:
        check_count(self.points, "points", 2)
        check_choice(self.coefficient, ("thresholded", "lognormal"), "coefficient")
        check_positive(self.high, "high")
        check_positive(self.low, "low")
        check_number(self.source, "source")
        for name in ("coefficient_points", "output_points"):
            value = getattr(self, name)
            if value is not None:
                check_count(value, name, 2, self.points)
                if self.points % value:
                    raise ValueError(f"{name} must divide points={self.points}, but is {value}.")

    @property
    def box(self) -> Box:
        """See `Problem.box`."""
        return {"lengths": 1.0, "periodic": False, "centering": "cells", "origin": 0.0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """See `Problem.sample`."""
        cells = self.coefficient_points or self.points
        drawn = self.law.sample(rng, (cells, cells))
        coefficient = np.exp(drawn) if self.coefficient == "lognormal" else np.where(drawn >= 0, self.high, self.low)
        coefficient = refine(coefficient, self.points // cells)
        solution = solve_darcy(coefficient, np.full_like(coefficient, self.source))
        factor = self.points // (self.output_points or self.points)
        return {"coefficient": coarsen(coefficient, factor)[None], "solution": coarsen(solution, factor)[None]}


def solve_darcy(coefficient: Array, source: Array) -> Array:
    """Return the solution of ``-div(coefficient grad u) = source`` in the unit square, zero on its boundary.

    Finite volumes of second order: the flux between two cells has the harmonic mean of their coefficients, which is
    exact across a jump; the boundary is half a cell away from the outermost centres.

    Args:
        coefficient, source: Values at the centres of cells, shape ``(rows, columns)``.

    Raises:
        ValueError: The shapes differ or are none of a plane's; the coefficient is not positive everywhere.
    """
    if coefficient.ndim != 2 or coefficient.shape != source.shape or min(coefficient.shape) < 2:
        raise ValueError(
            "coefficient and source must have one shape (rows, columns) with two cells along each side, but have "
            f"{coefficient.shape} and {source.shape}."
        )
    if not np.all(coefficient > 0):
        raise ValueError(f"coefficient must be positive everywhere, but its least value is {coefficient.min()}.")
    rows, columns = coefficient.shape
    scaled = rows**2 * coefficient, columns**2 * coefficient
    diagonal = np.zeros_like(coefficient)
    couplings = []
    for axis, values in enumerate(scaled):
        ahead, behind = np.swapaxes(values, 0, axis)[1:], np.swapaxes(values, 0, axis)[:-1]
        flux = 2 * ahead * behind / (ahead + behind)
        into = np.swapaxes(diagonal, 0, axis)  # a view
        into[1:] += flux
        into[:-1] += flux
        into[0] += 2 * np.swapaxes(values, 0, axis)[0]
        into[-1] += 2 * np.swapaxes(values, 0, axis)[-1]
        couplings.append(np.swapaxes(-flux, 0, axis))
    down, right = couplings
    return solve_five_point(diagonal, down, right, source)
