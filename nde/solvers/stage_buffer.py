"""Scratch memory for explicit Runge-Kutta steps that record no gradient.

The stages of a step are the rows of one contiguous buffer, so that every stage sum is one matrix-vector product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from nde.solvers.tableau import ButcherTableau

__all__ = ["StageBuffer"]


class StageBuffer:
    """Stages of one step, shape ``(stages + extra stages, size)``, and the coefficients as tensors.

    Args:
        tableau: Coefficients.
        y: A state vector, for its size, dtype and device.

    Attributes:
        rows: The buffer.
        stages: Its rows.
        nodes: Nodes of the stages and extra stages.
    """

    def __init__(self, tableau: ButcherTableau, y: Tensor) -> None:
        dense = tableau.dense
        self.nodes = (*tableau.c, *(dense.extra_c if dense else ()))
        weights = [(), *tableau.a, *(dense.extra_a if dense else ())]
        self.rows = torch.empty(len(weights), y.numel(), dtype=y.dtype, device=y.device)
        self.stages = self.rows.unbind(0)
        self._weights = [self._tensor(row) for row in weights]
        self._heads = [self.rows[:count].T for count in range(len(weights))]
        self._method_rows = self.rows[: tableau.stages]
        self._b = self._tensor(tableau.b)
        self._error_weights = [self._tensor(row) for row in tableau.errors]
        self._error_terms = [[(index, w) for index, w in enumerate(row) if w] for row in tableau.errors]
        self._errors = torch.empty(len(tableau.errors), y.numel(), dtype=y.dtype, device=y.device)
        self._dense = numpy.array(dense.coefficients if dense else [[]])
        self._cotangents = self.rows.new_empty(0, y.numel())
        self._vectors = self._cotangents

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.rows.nbytes + self._errors.nbytes + self._cotangents.nbytes + self._vectors.nbytes

    def cotangent_rows(self, count: int) -> Tensor:
        """Return scratch memory for the cotangents of a step's sums, shape ``(count, size)``."""
        if self._cotangents.shape[0] < count:
            self._cotangents = self.rows.new_empty(count, self.rows.shape[1])
        return self._cotangents[:count]

    def vectors(self, count: int) -> Tensor:
        """Return further scratch memory, shape ``(count, size)``."""
        if self._vectors.shape[0] < count:
            self._vectors = self.rows.new_empty(count, self.rows.shape[1])
        return self._vectors[:count]

    def _tensor(self, values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=self.rows.dtype, device=self.rows.device)

    def argument(self, index: int, y: Tensor, h: float) -> Tensor:
        """Return the argument of a stage, ``y + h * sum_j a_ij k_j``, as a new tensor."""
        return torch.addmv(y, self._heads[index], self._weights[index], alpha=h)

    def combine(self, y: Tensor, h: float) -> Tensor:
        """Return the state at the end, ``y + h * sum_i b_i k_i``, as a new tensor."""
        return torch.add(y, torch.mv(self._method_rows.T, self._b), alpha=h)

    def error_rows(self, h: float) -> Tensor:
        """Return the embedded differences, shape ``(rows, size)``, in scratch memory."""
        for row, weights in zip(self._errors.unbind(0), self._error_weights, strict=True):
            torch.addmv(row, self._method_rows.T, weights, beta=0, alpha=h, out=row)
        return self._errors

    def error_rows_of(self, stages: Sequence[Tensor], h: float) -> Tensor:
        """Return the embedded differences of stages that lie elsewhere, likewise."""
        for row, weights in zip(self._errors.unbind(0), self._error_terms, strict=True):
            (first, weight), *rest = weights
            torch.mul(stages[first], h * weight, out=row)
            for index, weight in rest:
                row.add_(stages[index], alpha=h * weight)
        return self._errors

    def outputs(self, y: Tensor, h: float, thetas: Sequence[float]) -> Tensor:
        """Return the dense output at fractions of the step, shape ``(len(thetas), size)``, as a new tensor."""
        weights = torch.from_numpy(self.dense_weights(thetas)).to(self.rows)
        return torch.addmm(y.expand(len(thetas), -1), weights, self.rows, alpha=h)

    def slopes(self, thetas: Sequence[float]) -> Tensor:
        """Return the derivative of the dense output by time, shape ``(len(thetas), size)``."""
        degree = self._dense.shape[1]
        powers = numpy.vander(thetas, degree, increasing=True) * numpy.arange(1, degree + 1)
        return torch.from_numpy(powers @ self._dense.T).to(self.rows) @ self.rows

    def dense_weights(self, thetas: Sequence[float]) -> numpy.ndarray:
        """Return ``b_i(theta)``, shape ``(len(thetas), stages + extra stages)``."""
        powers = numpy.vander(thetas, self._dense.shape[1] + 1, increasing=True)
        return powers[:, 1:] @ self._dense.T
