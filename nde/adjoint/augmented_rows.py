"""State and cotangent of rows, solved backwards together, with the parameters' cotangents as quadratures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from nde.adjoint.augmented import AugmentedState, BackwardSettings
from nde.solvers.method import StepResult
from nde.solvers.replay import accumulate
from nde.solvers.rows.field import RowField, RowLayout
from nde.solvers.rows.loop import solve_rows
from nde.solvers.rows.problem import RowProblem, as_column
from nde.solvers.rows.solution import make_row_solution
from nde.solvers.rows.steps import RowStep
from nde.solvers.status import SolverError
from nde.solvers.structure import StateStructure

__all__ = ["AugmentedRows"]

Vector = numpy.ndarray


class AugmentedRows:
    """Backward solves of some rows of a problem.

    Args:
        problem: The forward problem.
        settings: How to solve.
        targets: Tensors that the field depends on.
        through: Whether graphs from before the solve lie between the field and the targets.
    """

    def __init__(
        self, problem: RowProblem, settings: BackwardSettings, targets: Sequence[Tensor], through: bool
    ) -> None:
        self.problem, self.settings, self.targets, self.through = problem, settings, targets, through
        self.size = problem.y0.shape[1]
        # as many Gauss points as integrate what the method follows exactly
        points, weights = numpy.polynomial.legendre.leggauss(settings.method.order // 2 + 1)
        self._points, self._weights = ((1 + points) / 2).tolist(), (weights / 2).tolist()

    def between(
        self, rows: Vector, begin: Vector, end: Vector, y: Tensor, cotangent: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """Solve backwards from one time of each row to an earlier one.

        Args:
            rows: The samples.
            begin: Where they are, on the host.
            end: Where they go.
            y: Their states, shape ``(rows, row size)``.
            cotangent: The cotangents of these.

        Returns:
            States and cotangents there, and the cotangents of the targets.

        Raises:
            SolverError: A row did not come to its end.
        """
        problem, settings = self.problem, self.settings
        start = torch.cat([y, cotangent], 1)
        layout = self._layout(start)
        field = _AugmentedField(problem.field.of(rows), layout, rows, self.through)
        parameters: list[Tensor | None] = [None] * len(self.targets)

        def integrate(own: RowField, step: RowStep, y: Tensor, result: StepResult) -> None:
            accumulate(parameters, self._quadrature(augmented, own, step, y, result))

        times = numpy.stack([begin, end], 1)
        augmented = RowProblem(
            field,
            start,
            torch.from_numpy(times),
            times,
            numpy.full(len(rows), 2),
            settings.method,
            settings.controller,
            self._tolerance(settings.rtol, problem.rtol, rows),
            self._tolerance(settings.atol, problem.atol, rows),
            settings.max_steps,
            problem.dt_min,
            problem.dt_max,
            False,
            (),
            problem.step_ts,
            problem.jump_ts,
            None if layout.samples is not None else self._norm,
            on_accept=integrate if self.targets else None,
            watcher=problem.watcher,
        )
        outputs, record = solve_rows(augmented, None, on_tape=False, keep_states=False, dense=False)
        if record.failures:
            place, failure = next(iter(sorted(record.failures.items())))
            status = record.statuses[place]
            if failure.sample is not None:
                failure = dataclasses.replace(failure, sample=int(rows[place]), samples=problem.layout.count)
            message = f"the backward solve of adjoint='backsolve' failed: {failure.message(status)}"
            raise SolverError(message, make_row_solution(augmented, outputs, record), status, failure)
        return outputs.y1[:, : self.size], outputs.y1[:, self.size :], parameters

    def _layout(self, start: Tensor) -> RowLayout:
        if self.problem.layout.samples is None:
            structure = StateStructure(start[0], "the augmented state")
            return RowLayout(structure, None, structure)
        row = StateStructure(start[0], "the augmented state")
        return RowLayout(StateStructure(start, "the augmented state"), len(start), row)

    def _tolerance(self, own: float | None, forward: float | Tensor, rows: Vector) -> float | Tensor:
        """Return a tolerance: each entry's cotangent has that of the entry."""
        if own is not None:
            return float(own)
        if isinstance(forward, float):
            return forward
        if self.problem.layout.samples is not None:
            forward = forward.index_select(0, torch.from_numpy(rows).to(forward.device))
        return torch.cat([forward, forward], 1)

    def _norm(self, scaled: Tensor) -> Tensor:
        """Return the norm of the errors of a whole state."""
        y, cotangent = scaled.split(self.size)
        if callable(self.settings.norm):
            row = self.problem.layout.row
            state = AugmentedState(scaled.new_zeros(()), row.unflatten(y), row.unflatten(cotangent), ())
            return self.settings.norm(state)
        return torch.maximum(y.square().mean(), cotangent.square().mean()).sqrt()

    def _quadrature(
        self, problem: RowProblem, field: RowField, step: RowStep, y: Tensor, result: StepResult
    ) -> list[Tensor | None]:
        """Return the integrals of ``-a df/dparameters`` along accepted steps, by Gauss's rule on their dense output."""
        if not isinstance(field, _AugmentedField):
            raise RuntimeError("the field of a backward solve is augmented")
        stepper = problem.stepper()
        t, h = as_column(step.t, y.device), as_column(step.h, y.device)
        times, states = [], []
        for point in self._points:
            theta = torch.full_like(t, point)
            times.append(t + theta * h)
            states.append(stepper.interpolate(field, t, h, y, result, theta))
        weighted = [
            -weight * h.to(y.dtype) * state[:, self.size :] for weight, state in zip(self._weights, states, strict=True)
        ]
        own = [state[:, : self.size] for state in states]
        total: list[Tensor | None] = [None] * len(self.targets)
        if field.layout.samples is None:
            for time, state, cotangent in zip(times, own, weighted, strict=True):
                accumulate(total, self._pull(field.own, time, state, cotangent))
            return total
        with torch.enable_grad():  # arguments of each sample are picked here
            every = field.own.of(numpy.tile(field.samples, len(times)))
        return self._pull(every, torch.cat(times), torch.cat(own), torch.cat(weighted))

    def _pull(self, field: RowField, t: Tensor, y: Tensor, cotangent: Tensor) -> list[Tensor | None]:
        with torch.enable_grad():
            value = field(t, y)
        if not value.requires_grad:
            return [None] * len(self.targets)
        return list(torch.autograd.grad(value, self.targets, cotangent, allow_unused=True, retain_graph=self.through))


class _AugmentedField(RowField):
    """The slope of ``(y, a)``, which is ``(f, -a df/dy)``.

    Args:
        own: The user's field of these rows.
        layout: Layout of the augmented state of all rows of the backward solve.
        samples: Samples that the rows are.
        through: See `AugmentedRows`.
    """

    def __init__(self, own: RowField, layout: RowLayout, samples: Vector, through: bool) -> None:
        super().__init__(self._flat_slope, layout, ())
        self.own, self.samples, self._through = own, samples, through

    def of(self, rows: Vector) -> RowField:
        """Return the field of some of these rows."""
        if self.layout.samples is None:
            return self
        picked = self.samples[rows]
        return _AugmentedField(self.own.of(picked), self.layout, picked, self._through)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """See `RowField.__call__`."""
        size = y.shape[1] // 2
        with torch.enable_grad():
            state = y[:, :size].detach().requires_grad_()
            value = self.own(t.detach(), state)
            grad = None
            if value.requires_grad:
                (grad,) = torch.autograd.grad(
                    value, [state], -y[:, size:].detach(), allow_unused=True, retain_graph=self._through
                )
        return torch.cat([value.detach(), torch.zeros_like(state) if grad is None else grad], 1)

    def _flat_slope(self, t: Tensor, y: Tensor) -> Tensor:
        return self(t.reshape(1, 1), y.unsqueeze(0)).squeeze(0)
