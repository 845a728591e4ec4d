"""The continuous adjoint: gradients by solving an equation of their own backwards in time.

Memory is that of the outputs, however many steps the solve takes. The gradients are those of the equation and not of
the numbers that the forward solve computed: they are as accurate as the backward solve.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nde.adjoint.adjoint import Adjoint
from nde.adjoint.augmented import AugmentedState, BackwardSettings, check_backward
from nde.adjoint.backsolve_rows import solve_rows_continuously
from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.adjoint.checked import checked
from nde.adjoint.direct import DirectAdjoint
from nde.adjoint.recorded import reject_carry
from nde.solvers.controllers import Controller, IController
from nde.solvers.field import VectorField
from nde.solvers.method import Method
from nde.solvers.problem import Problem
from nde.solvers.record import Record, SolveOutputs, make_record, make_solution
from nde.solvers.registry import find_method
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.solution import Solution, Stats
from nde.solvers.status import SolverError
from nde.solvers.structure import StateStructure
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import transforms_active

__all__ = ["BacksolveAdjoint"]


@dataclass
class BacksolveAdjoint(Adjoint):
    """Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations, appendix B.

    What is left as None is as in the forward solve. All settings are read when the backward solve begins. The state is
    taken from the stored outputs at every output time.

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
        if self.method is not None:
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
        captured = captured_tensors(problem.field.functions, problem.field.args)
        targets, through = gradient_targets(captured)
        guarded = dataclasses.replace(problem, field=checked(problem.field, targets, "backsolve"))
        if not (targets or problem.y0.requires_grad or problem.ts.requires_grad):
            with torch.no_grad():
                return DirectAdjoint().solve(guarded)
        call = _Call(self, guarded, len(targets), through)
        passed = [tensor for tensor in captured if through and tensor.grad_fn is not None]
        outputs = SolveOutputs(*_JoinBacksolve.apply(call, problem.y0, problem.ts, *targets, *passed))
        return make_solution(problem, outputs, call.record, call.stats)

    def solve_rows(self, problem: RowProblem, dense: bool) -> RowSolution:
        """See `Adjoint.solve_rows`; parameters' cotangents are quadratures along the backward solves."""
        if not torch.is_grad_enabled():
            return DirectAdjoint().solve_rows(problem, dense)
        _check(problem)
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
        method = problem.method if self.method is None else find_method(self.method)
        controller = problem.controller if self.controller is None else self.controller
        if controller.adaptive and method.error_order is None:
            raise ValueError(
                f"method={method.name!r} of the backward solve has no error estimate. Give BacksolveAdjoint a "
                "controller such as nde.FixedStep(0.01)."
            )
        if not controller.adaptive and self.method is not None and self.controller is None:
            controller = controller if method.error_order is None else IController()
        max_steps = problem.max_steps if self.max_steps is None else self.max_steps
        return BackwardSettings(method, controller, self.rtol, self.atol, self.norm, max_steps)


def _check(problem: Problem | RowProblem) -> None:
    if transforms_active():
        raise RuntimeError('adjoint="backsolve" works under no function transform. Use adjoint="direct" there.')
    if problem.keep_local_errors:
        raise ValueError('local_errors=True needs an adjoint that replays steps: adjoint="discrete" or "direct".')


@dataclass
class _Call:
    """What the forward and the backward pass of one solve share."""

    adjoint: BacksolveAdjoint
    problem: Problem
    n_targets: int
    through: bool
    record: Record = field(default_factory=Record)
    stats: Stats = field(default_factory=lambda: Stats(0, 0, 0))


class _JoinBacksolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, y0: Tensor, ts: Tensor, *captured: Tensor) -> tuple[Tensor | None, ...]:
        problem = call.problem
        outputs, call.record = make_record(problem, TimeAxis(problem.times, None), on_tape=False, keep_states=False)
        call.stats = Stats(problem.field.evaluations, call.record.progress.accepted, call.record.progress.rejected)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, ts, outputs.inner, outputs.y1, *captured[: call.n_targets])
        ctx.passed = len(captured) - call.n_targets
        device = y0.device.type
        ctx.autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        return outputs.all()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        inner, y1, error, stiffness, _ = cotangents
        check_backward(error, stiffness)
        call: _Call = ctx.call
        y0, ts, rows, end, *targets = ctx.saved_tensors
        with ctx.autocast:
            grads = _Backsolve(call, y0, ts, rows, end, targets).run(inner, y1)
        return (None, *grads, *[None] * ctx.passed)


class _Backsolve:
    """The backward solve of one forward solve."""

    def __init__(
        self, call: _Call, y0: Tensor, ts: Tensor, rows: Tensor, y1: Tensor, targets: Sequence[Tensor]
    ) -> None:
        self.call = call
        self.problem = problem = call.problem
        self.ts = ts
        self.targets = targets
        self.states = [y0, *rows.unbind(0), y1]
        self.field = problem.field.fresh()
        # complex parameters travel as pairs of real numbers
        self.sizes = [target.numel() * (2 if target.is_complex() else 1) for target in targets]
        size = problem.structure.size
        self.size, self.total = size, 2 * size + sum(self.sizes)
        example = torch.empty(self.total, dtype=problem.structure.dtype, device=y0.device)
        self.structure = StateStructure(example, "the augmented state")

    def run(self, inner: Tensor | None, y1: Tensor | None) -> list[Tensor | None]:
        problem, last = self.problem, len(self.problem.times) - 1
        cotangent = torch.zeros_like(self.states[-1]) if y1 is None else y1.clone()
        parameters = cotangent.new_zeros(self.total - 2 * self.size)
        reached = problem.times[-1]
        if self.call.record.progress.failure is not None:  # the outputs of a solve that failed end where it failed
            reached = self.call.record.steps[-1].t1 if self.call.record.steps else problem.times[0]
        direction = 1.0 if problem.times[-1] > problem.times[0] else -1.0
        at_times = torch.zeros(len(problem.times), dtype=torch.float64, device=cotangent.device)
        begin, state = reached, self.states[-1]
        for index in range(last, -1, -1):
            if index < last and (problem.times[index] - reached) * direction > 0:
                continue
            if index < last:
                end = problem.times[index]
                if begin != end:
                    state, cotangent, parameters = self._between(begin, end, state, cotangent, parameters)
                begin, state = end, self.states[index]
            if self.ts.requires_grad:
                own = cotangent if index == last else None
                if 0 < index < last and inner is not None:
                    own = inner[index - 1]
                if index == 0:
                    own = -cotangent
                if own is not None:
                    slope = self.field(problem.times[index], state)
                    at_times[index] += torch.dot(own, slope).double()
            if 0 < index < last and inner is not None:
                cotangent = cotangent + inner[index - 1]
        self.call.stats.n_backward_field_evals += self.field.evaluations
        gradients: list[Tensor | None] = []
        for target, part in zip(self.targets, parameters.split(self.sizes) if self.sizes else (), strict=True):
            value = torch.view_as_complex(part.reshape(*target.shape, 2)) if target.is_complex() else part
            gradients.append(value.reshape(target.shape).to(target.dtype))
        return [cotangent, at_times.to(self.ts.dtype) if self.ts.requires_grad else None, *gradients]

    def _between(
        self, begin: float, end: float, y: Tensor, cotangent: Tensor, parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Solve backwards from one output time to the one before."""
        problem = self.problem
        settings = self.call.adjoint.settings(problem)
        times = (begin, end)
        augmented = Problem(
            VectorField(self._slope, self.structure),
            self.structure,
            torch.cat([y, cotangent, parameters]),
            torch.tensor(times, dtype=torch.float64),
            times,
            settings.method,
            settings.controller,
            self._tolerance(settings.rtol, problem.rtol),
            self._tolerance(settings.atol, problem.atol),
            settings.max_steps,
            problem.dt_min,
            problem.dt_max,
            False,
            self._norm,
        )
        with torch.no_grad():
            outputs, record = make_record(augmented, TimeAxis(times, None), on_tape=False, keep_states=False)
        failure, status = record.progress.failure, record.progress.status
        if failure is not None:
            solution = make_solution(augmented, outputs, record, Stats(self.field.evaluations, 0, 0))
            message = f"the backward solve of adjoint='backsolve' failed: {failure.message(status)}"
            raise SolverError(message, solution, status, failure)
        one, two = self.size, 2 * self.size
        return outputs.y1[:one], outputs.y1[one:two], outputs.y1[two:]

    def _slope(self, t: Tensor, state: Tensor) -> Tensor:
        """Return the slope of ``(y, a, p)``: ``(f, -a df/dy, -a df/dparameters)``."""
        with torch.enable_grad():
            y = state[: self.size].detach().requires_grad_()
            cotangent = state[self.size : 2 * self.size].detach()
            value = self.field(t.detach(), y)
            inputs = [y, *self.targets]
            grads: Sequence[Tensor | None] = [None] * len(inputs)
            if value.requires_grad:
                grads = torch.autograd.grad(
                    value, inputs, -cotangent, allow_unused=True, retain_graph=self.call.through
                )
        parts = [value.detach()]
        for target, grad in zip(inputs, grads, strict=True):
            part = torch.zeros_like(target) if grad is None else grad
            part = torch.view_as_real(part.resolve_conj()) if part.is_complex() else part
            parts.append(part.reshape(-1).to(state.dtype))
        return torch.cat(parts)

    def _tolerance(self, own: float | None, forward: float | Tensor) -> float | Tensor:
        if own is not None:
            return float(own)
        if isinstance(forward, float):
            return forward
        # each entry's cotangent by the entry's tolerance, parameters by the strictest of them
        rest = forward.min().expand(self.total - 2 * self.size)
        return torch.cat([forward, forward, rest])

    def _norm(self, scaled: Tensor) -> Tensor:
        norm = self.call.adjoint.norm
        y, cotangent, parameters = scaled.split([self.size, self.size, self.total - 2 * self.size])
        if callable(norm):
            structure = self.problem.structure
            shaped = []
            for target, part in zip(self.targets, parameters.split(self.sizes) if self.sizes else (), strict=True):
                pairs = torch.view_as_complex(part.reshape(*target.shape, 2)) if target.is_complex() else part
                shaped.append(pairs.reshape(target.shape))
            zero = scaled.new_zeros(())
            return norm(AugmentedState(zero, structure.unflatten(y), structure.unflatten(cotangent), tuple(shaped)))
        parts = [y, cotangent] if norm == "seminorm" or not self.sizes else [y, cotangent, parameters]
        return torch.stack([part.square().mean() for part in parts]).max().sqrt()
