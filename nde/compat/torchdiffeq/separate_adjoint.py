"""The continuous adjoint where one of its two solves is SciPy's, so that they share the states alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.compat.torchdiffeq.odeint import odeint
from nde.solvers.structure import State, StateStructure

__all__ = ["Backward", "solve_separately"]


@dataclass(frozen=True)
class Backward:
    """Method, tolerances and options of the backward solve."""

    method: str | None
    rtol: Any
    atol: Any
    options: dict[str, Any]


def solve_separately(
    func: Callable[..., State],
    y0: State,
    t: Tensor,
    rtol: Any,
    atol: Any,
    method: str | None,
    options: Mapping[str, Any] | None,
    backward: Backward,
    parameters: Sequence[Tensor],
) -> State:
    """Return the states at ``t``, whose gradients a solve of their own computes; see `odeint_adjoint`.

    Args:
        func, y0, t, rtol, atol, method, options: See `odeint`.
        backward: Settings of the backward solve.
        parameters: Tensors that receive gradients, beside what ``func`` captures, and before these in a norm.
    """
    found = {id(tensor): tensor for tensor in (*parameters, *captured_tensors(func, ()))}
    targets, _ = gradient_targets(found.values())
    structure = StateStructure(y0)

    def forward() -> State:
        return odeint(func, y0, t, rtol=rtol, atol=atol, method=method, options=options)

    flat = structure.flatten(y0, "y0")
    states = _JoinSolves.apply(_Call(forward, func, structure, backward), flat, t, *targets)
    return structure.unflatten(states)


@dataclass
class _Call:
    forward: Callable[[], State]
    func: Callable[..., State]
    structure: StateStructure
    backward: Backward

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        time = t.to(self.structure.time_dtype)
        value = self.func(time, self.structure.unflatten(y))
        return self.structure.flatten(value, "the value of func(t, y)")


class _JoinSolves(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, y0: Tensor, t: Tensor, *targets: Tensor) -> Tensor:
        states = call.structure.flatten(call.forward(), "the states", (len(t),))
        ctx.call, ctx.adjoint_options = call, call.backward.options
        ctx.save_for_backward(t, states, *targets)
        return states

    @staticmethod
    @once_differentiable  # a second derivative would lack the backward solve, silently
    def backward(ctx: Any, at_states: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        t, states, *targets = ctx.saved_tensors
        backward, at_times = call.backward, torch.zeros_like(t)
        shapes = [target.shape for target in targets]

        def augmented(time: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            """Return the slopes of time's cotangent (a quadrature that is not needed), state, cotangent, parameters."""
            with torch.enable_grad():
                # a copy, because pairs of real numbers that are viewed as complex ones must begin at an even place
                y = parts[1].detach().clone().requires_grad_()
                value = call.slope(time.detach(), y)
                inputs = [y, *targets]
                grads: Sequence[Tensor | None] = [None] * len(inputs)
                if value.requires_grad:
                    grads = torch.autograd.grad(value, inputs, -parts[2].detach(), allow_unused=True, retain_graph=True)
            slopes = [torch.zeros_like(one) if grad is None else grad for one, grad in zip(inputs, grads, strict=True)]
            return (torch.zeros_like(parts[0]), value.detach(), *slopes)

        cotangent = at_states[-1].clone()
        quadratures = [torch.zeros_like(target) for target in targets]
        with torch.no_grad():
            for index in range(len(t) - 1, 0, -1):
                if t.requires_grad:
                    at_times[index] = torch.dot(at_states[index], call.slope(t[index], states[index]))
                begin = (states.new_zeros(()), states[index], cotangent, *quadratures)
                ends = odeint(
                    augmented,
                    begin,
                    t[index - 1 : index + 1].detach().flip(0),
                    rtol=backward.rtol,
                    atol=backward.atol,
                    method=backward.method,
                    options=backward.options,
                )
                _, _, cotangent, *quadratures = (part[1] for part in ends)
                if index == 1 and t.requires_grad:
                    at_times[0] = -torch.dot(cotangent, call.slope(t[0], states[0]))
                cotangent = cotangent + at_states[index - 1]
        parameters = [part.reshape(shape) for part, shape in zip(quadratures, shapes, strict=True)]
        return (None, cotangent, at_times if t.requires_grad else None, *parameters)
