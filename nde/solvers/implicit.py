"""Implicit Runge-Kutta methods of fixed step size.

The stages are solved off the tape, and two corrections with the exact matrix are then recorded: each is one Newton step
from the solution, which changes no value beyond rounding. The first makes first derivatives exact and the second makes
second derivatives exact, whatever the iteration did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde.solvers.explicit import dense_weights
from nde.solvers.field import VectorField
from nde.solvers.implicit_tableau import ImplicitTableau
from nde.solvers.jacobian import RowsView, row_jacobian
from nde.solvers.method import Method, Scalar, StepResult
from nde.solvers.newton import Effort, Factors, StageBlock, combine, factorize, solve_block
from nde.solvers.transforms import transforms_active

__all__ = ["ImplicitRungeKutta"]


class ImplicitRungeKutta(Method):
    """An implicit Runge-Kutta method.

    Equations are solved to the rounding of the state's dtype, because a fixed step has no tolerance. The Jacobian is
    taken per sample where samples do not interact, which is checked, and of the whole state otherwise. A step that
    cannot be solved gives NaN in the samples concerned, and ends the solve as `Status.NEWTON_FAILED`. Differentiable
    twice by reverse mode, and by forward mode; not under ``vmap``, where convergence cannot be judged.

    Args:
        name: Name of the method.
        tableau: Its coefficients.
    """

    rows = True

    def __init__(self, name: str, tableau: ImplicitTableau) -> None:
        self.name = name
        self.tableau = tableau
        self.order = tableau.order
        self.interpolation_order = tableau.dense.order
        self.source = tableau.source

    def __repr__(self) -> str:
        return f"ImplicitRungeKutta({self.name!r}, order={self.order})"

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> None:
        """Return nothing: every step stands on its own."""
        return None

    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        """See `Method.step`; rows whose equations could not be solved are NaN.

        Raises:
            RuntimeError: The solve runs under ``torch.func.vmap``.
        """
        effort = Effort()
        with torch.no_grad():
            slopes, converged, newton_failed = self._solve(field, _constant(t), _constant(h), y.detach(), effort)
        if torch.is_grad_enabled() or transforms_active():
            slopes = self._record(field, t, h, y, slopes)
        y1 = combine(y, h, self.tableau.b, slopes)
        if converged is not None:
            y1 = torch.where(converged, y1, torch.nan)
        return StepResult(y1, None, None, None, slopes, newton_failed, iterations=effort.iterations)

    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        """See `Method.interpolate`; evaluates nothing."""
        outputs = []
        for theta in thetas:
            if isinstance(theta, Tensor) and theta.dim():
                theta = theta.to(y.dtype)
            outputs.append(combine(y, h, dense_weights(self.tableau.dense.coefficients, theta), result.interior))
        return torch.stack(outputs)

    def _solve(
        self, field: VectorField, t: Any, h: Any, y: Tensor, effort: Effort
    ) -> tuple[list[Tensor], Tensor | None, bool]:
        """Return the slopes, a mask of converged entries (None if all are), and whether it was Newton that failed."""
        view = RowsView(field, y)
        jacobian = row_jacobian(view, t, view.to_rows(y))
        if jacobian is not None:
            slopes, converged = self._solve_rows(view, jacobian, t, h, y, effort)
            if bool(converged.all()):
                return slopes, None, False
            whole = None if view.independent else self._checked_whole(field, slopes, t, h, y)
            if whole is None:
                finite = _finite(view, jacobian, t, y, ~converged)
                mask = view.from_rows(converged.unsqueeze(1).expand(view.shape))
                return slopes, mask, finite
            view, jacobian = whole
        else:
            view = RowsView(field, y, together=True)
            jacobian = row_jacobian(view, t, view.to_rows(y))
        if jacobian is None:
            raise RuntimeError("a state that is one row cannot have interacting rows")
        slopes, converged = self._solve_rows(view, jacobian, t, h, y, effort)
        if bool(converged.all()):
            return slopes, None, False
        return slopes, converged.expand(y.shape), _finite(view, jacobian, t, y, ~converged)

    def _checked_whole(
        self, field: VectorField, slopes: list[Tensor], t: Any, h: Any, y: Tensor
    ) -> tuple[RowsView, Tensor] | None:
        """Return the view and Jacobian of the whole state, if samples turn out to interact away from the beginning."""
        view = RowsView(field, y)
        for c, row in zip(self.tableau.c, self.tableau.a, strict=True):
            point = view.to_rows(combine(y, h, row, slopes))
            if row_jacobian(view, t + c * h, point) is None:
                whole = RowsView(field, y, together=True)
                jacobian = row_jacobian(whole, t, whole.to_rows(y))
                return None if jacobian is None else (whole, jacobian)
        return None

    def _solve_rows(
        self, view: RowsView, jacobian: Tensor, t: Any, h: Any, y: Tensor, effort: Effort
    ) -> tuple[list[Tensor], Tensor]:
        eps = _rounding(view.field, y)
        rows = view.to_rows(y)
        slopes: list[Tensor] = []
        converged = torch.ones(rows.shape[0], dtype=torch.bool, device=y.device)
        known: dict[Any, Factors] = {}
        for first, end in self.tableau.blocks:
            block = self._block(view, t, h, rows, slopes, first, end)
            block.effort = effort
            if _is_explicit(block):
                slopes.append(view(block.times[0], block.bases[0]))
                continue
            key = tuple(block.a)
            found, good, known[key] = solve_block(block, jacobian, known.get(key), rows, eps)
            slopes.extend(found.unbind(0))
            converged &= good
        return [view.from_rows(slope) for slope in slopes], converged

    def _block(
        self, view: RowsView, t: Any, h: Any, rows: Tensor, slopes: Sequence[Tensor], first: int, end: int
    ) -> StageBlock:
        tableau = self.tableau
        return StageBlock(
            view,
            [t + c * h for c in tableau.c[first:end]],
            h,
            [combine(rows, h, row[:first], slopes) for row in tableau.a[first:end]],
            [row[first:end] for row in tableau.a[first:end]],
        )

    def _record(self, field: VectorField, t: Any, h: Any, y: Tensor, solved: list[Tensor]) -> list[Tensor]:
        """Return the slopes on the tape: see the head of this module."""
        view = RowsView(field, y)
        recorded = self._corrected(view, t, h, y, solved)
        if recorded is None:
            recorded = self._corrected(RowsView(field, y, together=True), t, h, y, solved)
        if recorded is None:
            raise RuntimeError("a state that is one row cannot have interacting rows")
        return recorded

    def _corrected(self, view: RowsView, t: Any, h: Any, y: Tensor, solved: list[Tensor]) -> list[Tensor] | None:
        rows = view.to_rows(y)
        slopes: list[Tensor] = []
        for first, end in self.tableau.blocks:
            block = self._block(view, t, h, rows, slopes, first, end)
            if _is_explicit(block):
                slopes.append(view(block.times[0], block.bases[0]))
                continue
            unknown = torch.stack([view.to_rows(slope) for slope in solved[first:end]])
            residual = block.residual(unknown.unbind(0))
            if not residual.requires_grad and not transforms_active():  # nothing to differentiate
                slopes.extend(unknown.unbind(0))
                continue
            with torch.no_grad():
                constant = StageBlock(view, [_constant(s) for s in block.times], _constant(h), block.bases, block.a)
                jacobians = constant.jacobians(unknown.unbind(0))
                if jacobians is None:
                    return None
                factors = factorize(_constant(h), block.a, jacobians)
            unknown = unknown - factors.solve(residual)
            unknown = unknown - factors.solve(block.residual(unknown.unbind(0)))
            slopes.extend(unknown.unbind(0))
        return [view.from_rows(slope) for slope in slopes]


def _is_explicit(block: StageBlock) -> bool:
    return len(block.a) == 1 and block.a[0][0] == 0.0


def _finite(view: RowsView, jacobian: Tensor, t: Any, y: Tensor, failed: Tensor) -> bool:
    """Return whether the field was finite where a step that failed began: Newton's method is to blame."""
    value = view(t, view.to_rows(y))
    return bool(value[failed].isfinite().all()) and bool(jacobian[failed].isfinite().all())


def _constant(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _rounding(field: Any, y: Tensor) -> float:
    """Return the coarsest rounding unit of what the field computes."""
    eps = max(field.structure.eps, torch.finfo(y.dtype).eps)
    if torch.is_autocast_enabled(y.device.type):
        eps = max(eps, torch.finfo(torch.get_autocast_dtype(y.device.type)).eps)
    return float(eps)
