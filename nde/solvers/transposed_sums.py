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
        self._rows = buffer.rows.new_empty(0)
        self._weights = self._rows
        self._filled = 0
        self._leading: tuple[bool, int] | None = None
        self._error_rows = 0

    def begin(self, h: float, errors: Tensor | None, cotangents: StepCotangents) -> None:
        """Start a step, given the cotangents of its error rows and of its outputs."""
        outputs = cotangents.outputs
        count = 0 if outputs is None else outputs.shape[0]
        if outputs is not None or self._leading != (errors is not None, 0):
            self._plain = self._matrix(errors is not None, cotangents)
            self._leading = (errors is not None, count)
        self._weights = self._plain * h
        width = self._weights.shape[1]
        if self._rows.shape[0] < width:
            self._rows = self._buffer.rows.new_empty(width, self._buffer.rows.shape[1])
        self._filled = 0
        self._error_rows = 0
        if errors is not None:
            self._error_rows = self._filled = errors.shape[0]
            self._rows[: self._filled].copy_(errors)
        if outputs is not None:
            self._rows[self._filled : self._filled + count].copy_(outputs)
            self._filled += count

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
        if self._filled == 0:
            return None
        return torch.mv(self._rows[: self._filled].T, self._weights[index, : self._filled])

    def state(self) -> Tensor:
        """Return the cotangent of the state at the beginning, which every sum but the error rows contains."""
        return self._rows[self._error_rows : self._filled].sum(0)
