"""`odeint_adjoint`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nde.adjoint import BacksolveAdjoint
from nde.adjoint.captured import captured_tensors, gradient_targets
from nde.compat.torchdiffeq.adjoint_norms import adjoint_norm, augmented_norm
from nde.compat.torchdiffeq.callbacks import find_callbacks, observed
from nde.compat.torchdiffeq.methods import find_legacy_method
from nde.compat.torchdiffeq.odeint import SCIPY, run
from nde.compat.torchdiffeq.options import solver_arguments
from nde.compat.torchdiffeq.separate_adjoint import Backward, solve_separately
from nde.solvers.structure import State

__all__ = ["odeint_adjoint"]

_FORCED = ("step_t", "jump_t")


def odeint_adjoint(
    func: Callable[..., State],
    y0: State,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Tensor] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
) -> Any:
    """Solve as `odeint` does, with gradients by the continuous adjoint, whose memory does not grow with the steps.

    Up to an event (``event_fn``), and with ``step_t``, ``jump_t`` or ``perturb``, the gradient is that of the recorded
    steps instead, at one state per step in memory.

    Args:
        func: Callable ``(t, y) -> dy/dt``, an ``nn.Module`` unless ``adjoint_params`` is given.
        y0, t, rtol, atol, method, options, event_fn: See `odeint`.
        adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options: Those of the backward solve; as in the forward
            solve by default. ``adjoint_options={"norm": "seminorm"}`` leaves the parameters out of the error control.
            ``grad_fn.adjoint_options`` of the states is what the backward solve reads.
        adjoint_params: Further tensors that receive gradients. The parameters of ``func`` and what it closes over
            receive theirs in any case.

    Raises:
        ValueError: ``func`` is no module and ``adjoint_params`` is None, or options contradict each other.
    """
    if adjoint_params is None and not isinstance(func, nn.Module):
        raise ValueError(
            "func must be an instance of nn.Module to specify the adjoint parameters; alternatively they "
            "can be specified explicitly via the `adjoint_params` argument. If there are no parameters "
            "then it is allowable to set `adjoint_params=()`."
        )
    if adjoint_options is None and options is not None and adjoint_method not in (None, method):
        raise ValueError(
            "If `adjoint_method != method` then we cannot infer `adjoint_options` from `options`. So as "
            "`options` has been passed then `adjoint_options` must be passed as well."
        )
    given = options or {}
    own = {key: value for key, value in given.items() if key != "norm"}
    own = own if adjoint_options is None else dict(adjoint_options)
    parameters = _parameters(func, adjoint_params, callable(own.get("norm")))
    extra = () if adjoint_params is None else parameters

    def field(time: Tensor, state: State, *_: Any) -> State:
        return func(time, state)

    function, args = (field, (extra,)) if extra else (func, ())
    forced = any(
        settings.get("perturb") or any(settings.get(name) is not None for name in _FORCED) for settings in (given, own)
    )
    backward_method = adjoint_method or method
    if event_fn is not None or (forced and SCIPY not in (method, backward_method)):
        # steps that are told where to end are replayed: their gradient is exact, at one state per step in memory
        return run(function, y0, t, rtol, atol, method, options, event_fn, "discrete", args, func)
    own["norm"] = adjoint_norm(own.get("norm"), given, y0)
    if SCIPY in (method, backward_method):
        backward = Backward(
            backward_method,
            rtol if adjoint_rtol is None else adjoint_rtol,
            atol if adjoint_atol is None else adjoint_atol,
            own,
        )
        return solve_separately(func, y0, t, rtol, atol, method, options, backward, parameters)
    legacy = find_legacy_method(backward_method)
    adjoint = BacksolveAdjoint(method=legacy.method, rtol=adjoint_rtol, atol=adjoint_atol)
    solution = run(function, y0, t, rtol, atol, method, options, None, adjoint, args, func)

    def order() -> list[int | Tensor]:
        targets = {
            id(target): place for place, target in enumerate(gradient_targets(captured_tensors(function, args))[0])
        }
        return [targets[id(one)] if id(one) in targets else torch.zeros_like(one) for one in parameters]

    def prepare() -> None:
        # the options may have been exchanged since the forward solve
        settings = dict(own)
        adjoint.norm = augmented_norm(settings.pop("norm"), order)
        if settings.get("grid_constructor") is not None:
            settings["grid_constructor"] = _between_outputs(settings["grid_constructor"])
        backward = solver_arguments(legacy, settings, func, y0, t.detach().flip(0), event=False)
        adjoint.controller, adjoint.max_steps = backward["controller"], backward["max_steps"]
        adjoint.method = backward["method"]
        callbacks = find_callbacks(func, legacy.adaptive, legacy.solver, "_adjoint")
        if callbacks is not None:
            adjoint.method, adjoint.controller = observed(backward["method"], adjoint.controller, callbacks)

    return _with_options(solution, own, prepare) if t.shape[0] > 1 else solution


def _parameters(func: Any, given: Sequence[Tensor] | None, custom_norm: bool) -> tuple[Tensor, ...]:
    """Return torchdiffeq's adjoint parameters: those that require gradients."""
    everything = tuple(func.parameters() if given is None else given)
    chosen = tuple(parameter for parameter in everything if parameter.requires_grad)
    if custom_norm and len(chosen) < len(everything):
        warnings.warn(
            "An adjoint parameter was passed without requiring gradient. For efficiency this will be "
            "excluded from the adjoint pass, and will not appear as a tensor in the adjoint norm.",
            UserWarning,
            stacklevel=3,
        )
    return chosen


def _between_outputs(make_grid: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a constructor of the grid of a whole span from one that is asked between every two output times."""

    def whole(func: Any, y0: State, t: Tensor) -> Tensor:
        grids = [make_grid(func, y0, t[index : index + 2]) for index in range(len(t) - 1)]
        return torch.cat([*(grid[:-1] for grid in grids), grids[-1][-1:]])

    return whole


class _Options(torch.autograd.Function):
    """The identity, whose node holds the options of the backward solve, where torchdiffeq's users look for them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, options: dict[str, Any], prepare: Callable[[], None]) -> Tensor:
        ctx.adjoint_options = options
        ctx.prepare = prepare
        return states.detach()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None]:
        ctx.prepare()
        return cotangent, None, None


def _with_options(states: State, options: dict[str, Any], prepare: Callable[[], None]) -> State:
    if not isinstance(states, tuple):
        return _Options.apply(states, options, prepare) if states.requires_grad else states
    if not any(part.requires_grad for part in states):
        return states
    shapes = [part.shape for part in states]
    flat = torch.cat([part.reshape(part.shape[0], -1) for part in states], 1)
    pieces = _Options.apply(flat, options, prepare).split([shape[1:].numel() for shape in shapes], 1)
    return tuple(piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
