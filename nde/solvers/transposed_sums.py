"""The sums of a Runge-Kutta step, transposed: from cotangents of arguments to cotangents of stages."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepCotangents
from nde.solvers.stage_buffer import StageBuffer
from nde.solvers.tableau import ButcherTableau

__all__ = ["TransposedSums"]


class TransposedSums:
    """Collects cotangents of a step's weighted sums as rows of one buffer and hands out the stages' cotangents.

    The forward sums are ``y + h sum_j w_j k_j`` with weights ``a_i`` (arguments), ``b`` (the state at the end), the
    error rows (without ``y``) and ``b(theta)`` (outputs). The cotangent of stage ``j`` is the sum over the rows of
    ``h w_row,j cotangent_row``.

    Rows are appended in the order in which a reverse sweep learns them: errors and outputs, the state at the end where
    that is not an argument itself, then the arguments from the last stage to the second.
    """

    def __init__(self, tableau: ButcherTableau, buffer: StageBuffer) -> None:
        self._tableau = tableau
        self._buffer = buffer
        self._rows: tuple[Tensor, ...] = ()
        self._heads: list[Tensor] = []
        self._weights: tuple[Tensor, ...] = ()
        self._without_outputs: dict[bool, tuple[Tensor, ...]] = {}
        self._h = 0.0
        self._filled = 0
        self._error_rows = 0

    def begin(self, h: float, errors: Tensor | None, cotangents: StepCotangents) -> None:
        """Start a step, given the cotangents of its error rows and of its outputs."""
        with_errors, outputs = errors is not None, cotangents.outputs
        if outputs is not None:
            self._weights = self._matrix(with_errors, cotangents).unbind(0)
        else:
            if with_errors not in self._without_outputs:
                self._without_outputs[with_errors] = self._matrix(with_errors, cotangents).unbind(0)
            self._weights = self._without_outputs[with_errors]
        width = self._weights[0].shape[0]
        if len(self._rows) < width:
            block = self._buffer.cotangent_rows(width)
            self._rows = block.unbind(0)
            self._heads = [block[:count].T for count in range(width + 1)]
        self._h = h
        self._filled = 0
        for row in errors if errors is not None else ():
            self.append(row)
        self._error_rows = self._filled
        for row in outputs if outputs is not None else ():
            self.append(row)

    def _matrix(self, with_errors: bool, cotangents: StepCotangents) -> Tensor:
        """Return the weights, one row per stage and one column per appended row."""
        tableau = self._tableau
        inside = cotangents.outputs is not None
        extra = tableau.dense.extra_a if inside and tableau.dense is not None else ()
        stages = tableau.stages + len(extra)
        forward: list[numpy.ndarray] = []
        if with_errors:
            forward.extend(numpy.asarray(row) for row in tableau.errors)
        if inside:
            forward.extend(self._buffer.dense_weights(cotangents.thetas))
        if not tableau.fsal:
            forward.append(numpy.asarray(tableau.b))
        forward.extend(numpy.asarray(row) for row in reversed((*tableau.a, *extra)))
        matrix = numpy.zeros((stages, len(forward)))
        for column, row in enumerate(forward):
            matrix[: len(row), column] = row
        rows = self._buffer.rows
        return torch.tensor(matrix, dtype=rows.dtype, device=rows.device)

    def append(self, cotangent: Tensor | None) -> None:
        """Add the next row; None is zero."""
        row = self._rows[self._filled]
        if cotangent is None:
            row.zero_()
        else:
            row.copy_(cotangent)
        self._filled += 1

    def stage(self, index: int) -> Tensor | None:
        """Return the cotangent of a stage from all rows so far, or None if there are none."""
        filled = self._filled
        if filled == 0:
            return None
        weights = self._weights[index].narrow(0, 0, filled)
        return torch.addmv(self._rows[0], self._heads[filled], weights, beta=0, alpha=self._h)

    def state(self) -> Tensor:
        """Return the cotangent of the state at the beginning, which every sum but the error rows contains."""
        return self._heads[self._filled].narrow(1, self._error_rows, self._filled - self._error_rows).sum(1)
