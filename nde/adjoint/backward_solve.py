"""The backward solve of the continuous adjoint: from output to output, with the state taken from the outputs.

The augmented state is ``(y, a, p)``: the state, its cotangent, and what the targets' cotangents have become so far.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nde.adjoint.augmented import AugmentedState, BackwardSettings, augmented_change
from nde.adjoint.augmented_sde import AugmentedSDEField
from nde.adjoint.recorded import RecordedCall
from nde.solvers.controllers import Controller, StepTo
from nde.solvers.field import VectorField
from nde.solvers.problem import Problem
from nde.solvers.record import make_record, make_solution
from nde.solvers.sde import SDEField, SDEMethod
from nde.solvers.solution import Stats
from nde.solvers.status import SolverError
from nde.solvers.structure import StateStructure
from nde.solvers.time_axis import TimeAxis

__all__ = ["BackwardSolve", "BacksolveCall"]


@dataclass
class BacksolveCall(RecordedCall):
    """See `RecordedCall`.

    Attributes:
        settings: Returns how the backward solve of a problem is done.
    """

    settings: Callable[[Problem], BackwardSettings] = field(kw_only=True)

    @property
    def converts(self) -> bool:
        """Whether the equation is one of Ito, which the backward solve turns into one of Stratonovich."""
        method = self.problem.method
        return isinstance(method, SDEMethod) and method.calculus == "ito"


class _Stop(NamedTuple):
    """A time at which the backward solve stops.

    Attributes:
        time: When.
        state: The state there, as the forward solve has it.
        cotangent: What its cotangent grows by; None for nothing.
        output: Index of the output time that it is; None if it is none.
    """

    time: float
    state: Tensor
    cotangent: Tensor | None
    output: int | None


class BackwardSolve:
    """The backward solve of one forward solve.

    Args:
        call: The forward solve.
        y0, ts: Initial state and output times.
        rows: States at the inner output times.
        y1: State that was reached.
        ends: States at the ends of the steps; None if they are no outputs.
        targets: Tensors, other than these, that gradients are wanted for.
    """

    def __init__(
        self,
        call: BacksolveCall,
        y0: Tensor,
        ts: Tensor,
        rows: Tensor,
        y1: Tensor,
        ends: Tensor | None,
        targets: Sequence[Tensor],
    ) -> None:
        self.call = call
        self.problem = problem = call.problem
        self.ts = ts
        self.targets = targets
        self.states = [y0, *rows.unbind(0), y1]
        self.step_states = ends
        self.field = problem.field.fresh()
        # complex parameters travel as pairs of real numbers
        self.sizes = [target.numel() * (2 if target.is_complex() else 1) for target in targets]
        size = problem.structure.size
        self.size, self.total = size, 2 * size + sum(self.sizes)
        example = torch.empty(self.total, dtype=problem.structure.dtype, device=y0.device)
        self.structure = StateStructure(example, "the augmented state")
        self.settings = call.settings(problem)
        self.ends = sorted(step.t1 for step in call.record.steps) if self.settings.same_steps else []

    def run(self, inner: Tensor | None, y1: Tensor | None, at_states: Tensor | None = None) -> list[Tensor | None]:
        """Return the cotangents of y0, ts and the targets, given those of the outputs.

        Args:
            inner: Cotangents of the inner outputs.
            y1: Cotangent of the last state.
            at_states: Cotangents of the states at the ends of the steps.
        """
        problem, last = self.problem, len(self.problem.times) - 1
        cotangent = torch.zeros_like(self.states[-1]) if y1 is None else y1.clone()
        parameters = cotangent.new_zeros(self.total - 2 * self.size)
        reached = problem.times[-1]
        if self.call.record.progress.failure is not None:  # the outputs of a solve that failed end where it failed
            reached = self.call.record.steps[-1].t1 if self.call.record.steps else problem.times[0]
        at_times = torch.zeros(len(problem.times), dtype=torch.float64, device=cotangent.device)
        begin, state = reached, self.states[-1]
        for stop in self._stops(reached, inner, at_states):
            if begin != stop.time:
                state, cotangent, parameters = self._between(begin, stop.time, state, cotangent, parameters)
            begin, state, index = stop.time, stop.state, stop.output
            if self.ts.requires_grad and index is not None:
                own = cotangent if index == last else stop.cotangent
                if index == 0:
                    own = -cotangent
                if own is not None:
                    slope = self.field(stop.time, state)
                    at_times[index] += torch.dot(own, slope).double()
            if stop.cotangent is not None:
                cotangent = cotangent + stop.cotangent
        self.call.stats.n_backward_field_evals += self.field.evaluations
        gradients: list[Tensor | None] = []
        for target, part in zip(self.targets, parameters.split(self.sizes) if self.sizes else (), strict=True):
            value = torch.view_as_complex(part.reshape(*target.shape, 2)) if target.is_complex() else part
            gradients.append(value.reshape(target.shape).to(target.dtype))
        return [cotangent, at_times.to(self.ts.dtype) if self.ts.requires_grad else None, *gradients]

    def _stops(self, reached: float, inner: Tensor | None, at_states: Tensor | None) -> list[_Stop]:
        """Return the times at which cotangents arrive or are read, from the last to the first."""
        times, last = self.problem.times, len(self.problem.times) - 1
        direction = 1.0 if times[-1] > times[0] else -1.0
        stops = []
        if reached == times[-1]:
            stops.append(_Stop(reached, self.states[-1], None, last))
        for index in range(last - 1, -1, -1):
            if (times[index] - reached) * direction <= 0:
                own = inner[index - 1] if index and inner is not None else None
                stops.append(_Stop(times[index], self.states[index], own, index))
        if at_states is not None and self.step_states is not None:
            # most steps were not drawn: a stop at each would only make the backward solve longer
            for index in at_states.count_nonzero(1).nonzero().reshape(-1).tolist():
                step = self.call.record.steps[index]
                stops.append(_Stop(step.t1, self.step_states[index], at_states[index], None))
            stops.sort(key=lambda stop: stop.time * direction, reverse=True)
        return stops

    def _between(
        self, begin: float, end: float, y: Tensor, cotangent: Tensor, parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Solve backwards from one output time to the one before."""
        problem, settings = self.problem, self.settings
        times = (begin, end)
        controller: Controller = settings.controller
        if settings.same_steps:
            low, high = sorted(times)
            controller = StepTo(tuple(self.ends[bisect_right(self.ends, low) : bisect_left(self.ends, high)]))
        augmented = Problem(
            self._augmented(),
            self.structure,
            torch.cat([y, cotangent, parameters]),
            torch.tensor(times, dtype=torch.float64),
            times,
            settings.method,
            controller,
            self._tolerance(settings.rtol, problem.rtol),
            self._tolerance(settings.atol, problem.atol),
            settings.max_steps,
            problem.dt_min,
            problem.dt_max,
            False,
            self._norm if controller.adaptive else None,
            snap=problem.snap if controller.adaptive else None,
            watcher=problem.watcher,
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

    def _augmented(self) -> VectorField:
        """Return the field of the augmented state."""
        if isinstance(self.field, SDEField):
            return AugmentedSDEField(self.field, self.structure, self.targets, self.call.converts)
        return VectorField(self._slope, self.structure)

    def _slope(self, t: Tensor, state: Tensor) -> Tensor:
        with torch.enable_grad():
            y = state[: self.size].detach().requires_grad_()
            value = self.field(t.detach(), y)
        cotangent = state[self.size : 2 * self.size].detach()
        return augmented_change(value, y, self.targets, cotangent, self.call.through)

    def _tolerance(self, own: float | None, forward: float | Tensor) -> float | Tensor:
        if own is not None:
            return float(own)
        if isinstance(forward, float):
            return forward
        # each entry's cotangent by the entry's tolerance, parameters by the strictest of them
        rest = forward.min().expand(self.total - 2 * self.size)
        return torch.cat([forward, forward, rest])

    def _norm(self, scaled: Tensor) -> Tensor:
        norm = self.settings.norm
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
