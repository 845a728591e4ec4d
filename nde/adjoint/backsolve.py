"""The continuous adjoint: gradients by solving an equation of their own backwards in time.

Memory is that of the outputs, however many steps the solve takes. The gradients are those of the equation and not of
the numbers that the forward solve computed: they are as accurate as the backward solve.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.adjoint.adjoint import Adjoint
from nde.adjoint.augmented import AugmentedState, BackwardSettings, check_backward
from nde.adjoint.augmented_sde import check_noise
from nde.adjoint.backsolve_rows import solve_rows_continuously
from nde.adjoint.backward_solve import BacksolveCall, BackwardSolve
from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.adjoint.checked import checked
from nde.adjoint.direct import DirectAdjoint
from nde.adjoint.recorded import autocast_of, reject_carry
from nde.solvers.controllers import Controller, IController, PIController, StepTo
from nde.solvers.method import Method
from nde.solvers.problem import Problem
from nde.solvers.record import SolveOutputs, make_record, make_solution
from nde.solvers.registry import find_method
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.sde import SDEField, SDEMethod, find_sde_method, sde_method_names
from nde.solvers.sde.areas import serves
from nde.solvers.solution import Solution, Stats
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import transforms_active

__all__ = ["BacksolveAdjoint"]


@dataclass
class BacksolveAdjoint(Adjoint):
    """Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations, appendix B.

    What is left as None is as in the forward solve. All settings are read when the backward solve begins. The state is
    taken from the stored outputs at every output time.

    The adjoint of a stochastic equation is solved in the sense of Stratonovich on the same Brownian path run backwards
    (Li, Wong, Chen, Duvenaud 2020, Scalable gradients for stochastic differential equations); the drift of an Ito
    equation is converted. Steps are those of the forward solve, reversed, unless a tolerance or a controller is given;
    the method is the forward one if it solves Stratonovich equations of general noise, and ``"midpoint"`` otherwise.
    The gradients converge to those of the path with the strong order of the methods, as steps get shorter.

    With a step per sample, events, dense output, saving or forced times, the parameters' cotangents are no part of the
    backward solve but quadratures along its steps, as accurate as its dense output: it is then always judged by the
    seminorm, and each sample by the root mean square over its state and cotangent. Cotangents pass through an event by
    the implicit function theorem, and through its jump.

    Args:
        method: Method of the backward solve.
        rtol: Its relative tolerance, a number.
        atol: Its absolute tolerance, a number.
        controller: Its controller.
        norm: Norm of its scaled errors: None for the largest of the root mean squares of state, cotangent and all
            parameters together; ``"seminorm"`` to leave the parameters out, which are quadratures that no other part
            depends on (Kidger, Chen, Lyons 2021, "Hey, that's not an ODE"); or a callable of an `AugmentedState`.
        max_steps: Its limit on steps between two output times.

    Raises:
        ValueError: The norm is no known name, or a tolerance is negative.
    """

    method: str | Method | None = None
    rtol: float | None = None
    atol: float | None = None
    controller: Controller | None = None
    norm: str | Callable[[AugmentedState], Tensor] | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in sde_method_names():
            find_method(self.method)
        if isinstance(self.norm, str) and self.norm != "seminorm":
            raise ValueError(f'norm must be None, "seminorm" or callable, but is {self.norm!r}.')
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be zero or positive, and finite, but is {value!r}. Try 1e-6.")

    def solve(self, problem: Problem) -> Solution:
        """Solve without a tape; the outputs are joined to the user's tape by one node."""
        if not torch.is_grad_enabled():
            return DirectAdjoint().solve(problem)
        _check(problem)
        reject_carry(problem, "backsolve")
        self.settings(problem)
        captured = captured_tensors(problem.field.functions, problem.field.args)
        targets, through = gradient_targets(captured)
        guarded = dataclasses.replace(problem, field=checked(problem.field, targets, "backsolve"))
        if not (targets or problem.y0.requires_grad or problem.ts.requires_grad):
            with torch.no_grad():
                return DirectAdjoint().solve(guarded)
        call = BacksolveCall(guarded, len(targets), through, settings=self.settings)
        passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
        outputs = SolveOutputs(*_JoinBacksolve.apply(call, problem.y0, problem.ts, *targets, *passed))
        if isinstance(problem.field, SDEField) and call.converts:
            check_noise(problem.field, problem.times[-1], outputs.y1)
        return make_solution(problem, outputs, call.record, call.stats)

    def solve_rows(self, problem: RowProblem, dense: bool) -> RowSolution:
        """See `Adjoint.solve_rows`; parameters' cotangents are quadratures along the backward solves."""
        if not torch.is_grad_enabled():
            return DirectAdjoint().solve_rows(problem, dense)
        _check(problem)
        if isinstance(problem.method, SDEMethod):
            raise ValueError(
                'adjoint="backsolve" of a stochastic equation works with none of per_sample=True, events, dense=True, '
                'step_ts and jump_ts. Choose adjoint="discrete" or adjoint="direct".'
            )
        if callable(self.norm) and problem.layout.samples is not None:
            raise ValueError(
                "norm cannot be a callable with per_sample=True: each sample is judged by its root mean square."
            )
        return solve_rows_continuously(problem, dense, self.settings)

    def settings(self, problem: Problem | RowProblem) -> BackwardSettings:
        """Return how the backward solve of a problem is done.

        Raises:
            ValueError: The method has no error estimate that the controller could work with.
        """
        max_steps = problem.max_steps if self.max_steps is None else self.max_steps
        if isinstance(problem.method, SDEMethod):
            return self._stochastic(problem.method, problem.field, max_steps)
        method = problem.method if self.method is None else find_method(self.method)
        if isinstance(method, SDEMethod):
            raise ValueError(
                f"method={method.name!r} of the backward solve is one for stochastic equations, but the equation is an "
                "ordinary one. Give BacksolveAdjoint a method for these, such as 'tsit5'."
            )
        controller = problem.controller if self.controller is None else self.controller
        if controller.adaptive and method.error_order is None:
            raise ValueError(_NO_ESTIMATE.format(method.name))
        if not controller.adaptive and self.method is not None and self.controller is None:
            controller = controller if method.error_order is None else IController()
        return BackwardSettings(method, controller, self.rtol, self.atol, self.norm, max_steps)

    def _stochastic(self, forward: SDEMethod, field: Any, max_steps: int) -> BackwardSettings:
        if forward.strong_orders[field.noise] is None:
            raise ValueError(
                f'adjoint="backsolve" follows the path back, but the solution by method={forward.name!r} is near to '
                'that of the path in law alone. Choose a method with a strong order, or adjoint="discrete".'
            )
        fits = forward.calculus == "stratonovich" and "general" in forward.strong_orders and forward.by_products
        name = self.method or (forward if fits else "midpoint")
        try:
            method = find_sde_method(name, "stratonovich", "general")  # type: ignore[arg-type]  # checked there
            if not method.by_products:
                raise ValueError(f"method={method.name!r} needs more of a diffusion than its products with increments.")
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"the backward solve of a stochastic equation is one of Stratonovich with general noise: {error}"
            ) from None
        area = method.area("general")
        has = getattr(field.path, "levy_area", area)
        if not serves(has, area):
            raise ValueError(
                f"path must have levy_area={area!r} for method={method.name!r} of the backward solve, but has {has!r}."
            )
        controller = self.controller
        if controller is None and not (self.rtol is None and self.atol is None):
            controller = PIController()
        if controller is not None and controller.adaptive and method.error_order is None:
            raise ValueError(_NO_ESTIMATE.format(method.name))
        same_steps = controller is None
        return BackwardSettings(method, controller or StepTo(), self.rtol, self.atol, self.norm, max_steps, same_steps)


_NO_ESTIMATE = (
    "method={!r} of the backward solve has no error estimate. Give BacksolveAdjoint a controller such as "
    "nde.FixedStep(0.01)."
)


def _check(problem: Problem | RowProblem) -> None:
    if transforms_active():
        raise RuntimeError('adjoint="backsolve" works under no function transform. Use adjoint="direct" there.')
    if problem.keep_local_errors:
        raise ValueError('local_errors=True needs an adjoint that replays steps: adjoint="discrete" or "direct".')


class _JoinBacksolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: BacksolveCall, y0: Tensor, ts: Tensor, *captured: Tensor) -> tuple[Tensor | None, ...]:
        problem = call.problem
        outputs, call.record = make_record(problem, TimeAxis(problem.times, None), on_tape=False, keep_states=False)
        call.stats = Stats(problem.field.evaluations, call.record.progress.accepted, call.record.progress.rejected)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, ts, outputs.inner, outputs.y1, *captured[: call.n_targets])
        ctx.passed = len(captured) - call.n_targets
        ctx.autocast = autocast_of(y0)
        return outputs.all()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        inner, y1, error, stiffness, _ = cotangents
        check_backward(error, stiffness)
        call: BacksolveCall = ctx.call
        y0, ts, rows, end, *targets = ctx.saved_tensors
        with ctx.autocast:
            grads = BackwardSolve(call, y0, ts, rows, end, targets).run(inner, y1)
        return (None, *grads, *[None] * ctx.passed)
