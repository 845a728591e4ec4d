"""`odeint_adjoint`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nde.adjoint import AugmentedState, BacksolveAdjoint
from nde.compat.torchdiffeq.callbacks import find_callbacks, observed
from nde.compat.torchdiffeq.methods import find_legacy_method
from nde.compat.torchdiffeq.odeint import check_inputs, run
from nde.compat.torchdiffeq.options import solver_arguments
from nde.solvers.registry import find_method
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
    extra = tuple(adjoint_params or ())

    def field(time: Tensor, state: State, *_: Any) -> State:
        return func(time, state)

    args = (extra,) if extra else ()
    if event_fn is not None:
        return run(func if not args else field, y0, t, rtol, atol, method, options, event_fn, "discrete", args, func)
    times = check_inputs(y0, t, method, options)
    given = options or {}
    if given.get("perturb") or any(given.get(name) is not None for name in _FORCED):
        # steps that are told where to end are replayed: their gradient is exact, at one state per step in memory
        return run(field if args else func, y0, t, rtol, atol, method, options, None, "discrete", args, func)
    own = {key: value for key, value in (options or {}).items() if key != "norm"}
    own = own if adjoint_options is None else dict(adjoint_options)
    norm = own.pop("norm", None)
    legacy = find_legacy_method(adjoint_method or method)
    adjoint = BacksolveAdjoint(
        method=legacy.name,
        rtol=adjoint_rtol,
        atol=adjoint_atol,
        norm=_legacy_norm(norm) if callable(norm) else norm,
    )
    solution = run(field if args else func, y0, t, rtol, atol, method, options, None, adjoint, args, func)
    # the adjoint reads its settings when the backward solve begins; a grid is asked for after that of the forward solve
    backward = solver_arguments(legacy, own, func, y0, times.flip(0), event=False)
    adjoint.controller, adjoint.max_steps = backward["controller"], backward["max_steps"]
    callbacks = find_callbacks(func, legacy.adaptive, legacy.solver, "_adjoint")
    if callbacks is not None:
        adjoint.method, adjoint.controller = observed(find_method(legacy.name), adjoint.controller, callbacks)
    return solution


def _legacy_norm(norm: Callable[[Any], Tensor]) -> Callable[[AugmentedState], Tensor]:
    """Return torchdiffeq's norm of ``(t, y, adj_y, *params)`` as one of an augmented state."""

    def augmented(state: AugmentedState) -> Tensor:
        y = state.y if isinstance(state.y, tuple) else (state.y,)
        cotangent = state.cotangent if isinstance(state.cotangent, tuple) else (state.cotangent,)
        return norm((state.t, *y, *cotangent, *state.parameters))

    return augmented
