"""Cotangents through explicit Runge-Kutta steps by the transposed tableau.

Autograd pulls each stage's cotangent back through the field; the linear sums between the stages are done here, each as
one matrix-vector product over a contiguous buffer, in place of hundreds of tape entries. The evaluation at the end of a
step is also the first stage of the next one: it is replayed once, and its cotangents from both steps are added before
they are pulled back, so that a solve replays as many evaluations as its accepted steps made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde.solvers.method import Reversal, StepCotangents, TimeCotangents
from nde.solvers.norms import Quotient, ScratchNorm
from nde.solvers.replay import accumulate
from nde.solvers.stage_buffer import StageBuffer
from nde.solvers.tableau import ButcherTableau
from nde.solvers.tape import Evaluation, StepTape, evaluate
from nde.solvers.transposed_sums import TransposedSums

__all__ = ["ExplicitReverser"]


class ExplicitReverser:
    """Pulls cotangents back through the steps of an explicit tableau; see `nde.solvers.method.StepReverser`."""

    def __init__(self, tableau: ButcherTableau, reversal: Reversal, buffer: StageBuffer) -> None:
        self.tableau = tableau
        self.reversal = reversal
        self.gradients: list[Tensor | None] = [None] * len(reversal.targets)
        self._buffer = buffer
        self._sums = TransposedSums(tableau, buffer)
        self._scratch_norm: ScratchNorm | None = None
        # the evaluation at the beginning of the step pulled last, with its cotangent from that step
        self._pending: tuple[Evaluation, Tensor | None] | None = None

    def pull(
        self, t: float, h: float, y: Tensor, y1: Tensor, carry: Any, cotangents: StepCotangents, tape: StepTape | None
    ) -> tuple[Tensor, TimeCotangents | None]:
        """See `StepReverser.pull`."""
        tableau, buffer, sums = self.tableau, self._buffer, self._sums
        wants_error = cotangents.ratio is not None or cotangents.local_error is not None
        wants_end = wants_error or cotangents.outputs is not None or cotangents.stiffness is not None
        evaluations = self._evaluations(t, h, y, y1, tape, wants_end, cotangents.outputs is not None)
        times = _Times(h, y) if self.reversal.with_times else None
        if tape is not None and times is not None:  # a replay leaves the stages in the buffer
            for row, evaluation in zip(buffer.stages, evaluations, strict=False):
                if evaluation is not None:
                    row.copy_(evaluation.value.detach())

        y1_cotangent, state_extra = cotangents.y1, None
        errors_cotangent: Tensor | None = None
        if wants_error:
            if tape is None or times is not None:
                errors = buffer.error_rows(h)
            else:
                stages = [evaluation.value.detach() for evaluation in evaluations if evaluation is not None]
                errors = buffer.error_rows_of(stages, h)
            weighted = None if times is None else errors.clone()
            errors_cotangent, state_extra, on_y1 = self._pull_error(errors, y, y1, cotangents)
            y1_cotangent = y1_cotangent + on_y1
            if times is not None and weighted is not None:
                times.add_sum(errors_cotangent, weighted)
        sums.begin(h, errors_cotangent, cotangents)
        if times is not None and cotangents.outputs is not None:
            outputs, slopes = buffer.outputs(y, h, cotangents.thetas), buffer.slopes(cotangents.thetas)
            times.add_sum(cotangents.outputs, outputs - y)
            times.thetas = (cotangents.outputs * slopes).sum(1) * h
        if not tableau.fsal:
            at_end, time_part = self._pull_end(None, None)
            if at_end is not None:
                y1_cotangent = y1_cotangent + at_end
            sums.append(y1_cotangent)
            if times is not None:
                times.add_node(time_part, 1.0)
                times.add_sum(y1_cotangent, y1 - y)
        direct = self._pull_stiffness(evaluations, y1, cotangents.stiffness)

        for index in range(len(evaluations) - 1, 0, -1):
            evaluation = evaluations[index]
            on_stage, on_argument = direct.get(index, (None, None))
            stage_cotangent = None if evaluation is None else _add(sums.stage(index), on_stage)
            if tableau.fsal and index == tableau.stages - 1:
                argument_cotangent, time_part = self._pull_end(evaluation, stage_cotangent)
                argument_cotangent = _add(argument_cotangent, y1_cotangent)
            else:
                argument_cotangent, time_part = self._pull(evaluation, stage_cotangent)
            argument_cotangent = _add(argument_cotangent, on_argument)
            sums.append(argument_cotangent)
            if times is not None:
                times.add_node(time_part, buffer.nodes[index])
                if argument_cotangent is not None:
                    argument = y1 if evaluation is None else evaluation.argument.detach()
                    times.add_sum(argument_cotangent, argument - y)
        first = evaluations[0]
        if first is None:
            raise RuntimeError("the first stage of a step is always replayed")
        on_stage, _ = direct.get(0, (None, None))
        self._pending = (first, _add(sums.stage(0), on_stage))
        state_cotangent = _add(sums.state(), state_extra)
        if state_cotangent is None:
            state_cotangent = torch.zeros_like(y)
        return state_cotangent, None if times is None else times.result()

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """See `StepReverser.finish`."""
        return self._pull_end(None, None)

    @torch.enable_grad()
    def _evaluations(
        self, t: float, h: float, y: Tensor, y1: Tensor, tape: StepTape | None, wants_end: bool, inside: bool
    ) -> list[Evaluation | None]:
        """Return the step's evaluations, each with its own tape; None for an end whose value the step does not use."""
        tableau, buffer = self.tableau, self._buffer
        end = tableau.stages - 1 if tableau.fsal else None
        if tape is not None:
            first = tape.first or evaluate(self.reversal.field, t, y, self.reversal.with_times)
            evaluations: list[Evaluation | None] = [first, *tape.stages, *(tape.extra if inside else ())]
            if end is not None and not wants_end:
                evaluations[end] = None
            return evaluations
        evaluations = []
        extra = len(tableau.dense.extra_c) if inside and tableau.dense is not None else 0
        for index in range(tableau.stages + extra):
            evaluation: Evaluation | None = None
            if index == end:
                if wants_end:
                    later = self._pending[0] if self._pending is not None else None
                    evaluation = later or evaluate(self.reversal.field, t + h, y1, self.reversal.with_times)
            else:
                argument = buffer.argument(index, y, h) if index else y
                evaluation = evaluate(
                    self.reversal.field, t + buffer.nodes[index] * h, argument, self.reversal.with_times
                )
            if evaluation is not None:
                buffer.stages[index].copy_(evaluation.value.detach())
            evaluations.append(evaluation)
        return evaluations

    def _pull(self, evaluation: Evaluation | None, cotangent: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the cotangents of the evaluation's argument and time; those of the captured tensors accumulate."""
        if evaluation is None or cotangent is None or not evaluation.value.requires_grad:
            return None, None
        inputs = [evaluation.argument, *self.reversal.targets]
        if evaluation.time is not None:
            inputs.append(evaluation.time)
        keep = self.reversal.through
        grads = torch.autograd.grad(evaluation.value, inputs, cotangent, allow_unused=True, retain_graph=keep)
        count = len(self.reversal.targets)
        accumulate(self.gradients, grads[1 : 1 + count])
        return grads[0], grads[1 + count] if evaluation.time is not None else None

    def _pull_end(self, evaluation: Evaluation | None, cotangent: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Pull back the evaluation at the end of a step, adding what the next step asked of it."""
        if self._pending is not None:
            evaluation, later = self._pending
            cotangent = _add(cotangent, later)
            self._pending = None
        return self._pull(evaluation, cotangent)

    def _pull_error(
        self, errors: Tensor, y: Tensor, y1: Tensor, cotangents: StepCotangents
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cotangents of the embedded differences, which may be overwritten, and of both states."""
        ratio, local_error = cotangents.ratio, cotangents.local_error
        if local_error is None and ratio is not None:
            if self._scratch_norm is None:
                norm, vectors = self.reversal.norm, self._buffer.vectors(4)
                self._scratch_norm = ScratchNorm(norm.structure, norm.rtol, norm.atol, vectors)
            return self._scratch_norm.pull_ratio(errors, y, y1, ratio)
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (errors, y, y1)]
            outputs, given = [self.reversal.norm.local_error(*leaves)], [local_error]
            if ratio is not None:
                outputs.append(self.reversal.norm.ratio(*leaves))
                given.append(torch.full_like(outputs[-1], ratio))
            grads = torch.autograd.grad(outputs, leaves, given, allow_unused=True)
        at_errors, at_y, at_y1 = (
            torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(grads, leaves, strict=True)
        )
        return at_errors, at_y, at_y1

    def _pull_stiffness(
        self, evaluations: Sequence[Evaluation | None], y1: Tensor, cotangent: float | None
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """Return the cotangents of the two stages that the stiffness quotient reads, and of their arguments."""
        pair = self.tableau.stiffness_stages
        if cotangent is None or pair is None:
            return {}
        low, high = (evaluations[index] for index in pair)
        if low is None or high is None:
            raise RuntimeError("the stages of the stiffness estimate are always replayed when it is asked for")
        with torch.enable_grad():
            leaves = [
                tensor.detach().requires_grad_() for tensor in (high.value, low.value, high.argument, low.argument)
            ]
            quotient = self.reversal.norm.quotient(Quotient((leaves[0], leaves[1]), (leaves[2], leaves[3])), y1)
            grads = torch.autograd.grad(quotient, leaves, torch.full_like(quotient, cotangent))
            up, up_low, down, down_low = grads
        return {pair[0]: (up_low, down_low), pair[1]: (up, down)}


class _Times:
    """Sums the cotangents of a step's beginning and size."""

    def __init__(self, h: float, y: Tensor) -> None:
        self.h = h
        self.t_cotangent = torch.zeros((), dtype=torch.float64, device=y.device)
        self.h_cotangent = torch.zeros((), dtype=torch.float64, device=y.device)
        self.thetas: Tensor | None = None

    def add_node(self, cotangent: Tensor | None, c: float) -> None:
        """Add the cotangent of a stage's time ``t + c h``."""
        if cotangent is not None:
            self.t_cotangent += cotangent
            self.h_cotangent += c * cotangent

    def add_sum(self, cotangent: Tensor, weighted: Tensor) -> None:
        """Add the part of ``weighted = h * sum_j w_j k_j``, whose derivative by h is ``weighted / h``."""
        self.h_cotangent += torch.dot(cotangent.reshape(-1), weighted.reshape(-1)) / self.h

    def result(self) -> TimeCotangents:
        return TimeCotangents(self.t_cotangent, self.h_cotangent, self.thetas)


def _add(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right
