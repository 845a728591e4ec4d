"""`sdeint_adjoint`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nde.adjoint import Adjoint, BacksolveAdjoint, DiscreteAdjoint, ReversibleAdjoint
from nde.compat.torchsde.checks import Contract, check_contract, check_no_grad, warn_of_unused
from nde.compat.torchsde.settings import METHOD_OPTIONS, METHODS, NOISE_TYPES, SDE_TYPES
from nde.compat.torchsde.solver import Settings, integrate, parse_return
from nde.compat.torchsde.stepping import AdaptiveSteps
from nde.solvers.sde.doubling import StepDoubling

__all__ = ["sdeint_adjoint"]

# methods of the continuous adjoint: of Stratonovich, with no more of a diffusion than its products
_CONTINUOUS = (METHODS.euler_heun, METHODS.heun, METHODS.midpoint)


def sdeint_adjoint(
    sde: Any,
    y0: Tensor,
    ts: Any,
    bm: Any = None,
    method: str | None = None,
    adjoint_method: str | None = None,
    dt: Any = 1e-3,
    adaptive: bool = False,
    adjoint_adaptive: bool = False,
    rtol: Any = 1e-5,
    adjoint_rtol: Any = 1e-5,
    atol: Any = 1e-4,
    adjoint_atol: Any = 1e-4,
    dt_min: Any = 1e-5,
    options: Mapping[str, Any] | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
    names: Mapping[str, str] | None = None,
    logqp: bool = False,
    extra: bool = False,
    extra_solver_state: Sequence[Tensor] | None = None,
    **unused_kwargs: Any,
) -> Any:
    """Integrate as `sdeint` does, with gradients that need no tape of the whole solve.

    By default the steps are taken again in the backward pass, or undone where the method is "reversible_heun" (Kidger,
    Foster, Li, Lyons 2021): the gradients are exactly those of the numbers that the solve computed. torchsde's default
    is the continuous adjoint (Li, Wong, Chen, Duvenaud 2020), which is less good at what gradients are for: its error
    is that of the discretisation, 1e-5 to 2e-2 of the gradient at 50 to 200 steps of small networks, and for an Ito
    equation with diagonal noise whose entries mix it does not vanish with the step; and it takes two to five times as
    long. What it has for itself is a memory that does not grow with the steps, where taking them again needs the state
    of each (51 kB for 100 steps of 32 samples of 4 entries in float32, besides tapes of at most 96 MB). For such a
    memory, choose "reversible_heun"; or name "midpoint", "heun" or "euler_heun" as ``adjoint_method`` of a
    Stratonovich equation, and have the continuous adjoint, solved on the steps of the forward solve.

    Gradients reach ``y0``, ``extra_solver_state`` (with "reversible_heun") and ``adjoint_params``, and nothing else
    that the functions of ``sde`` depend on. Parameters that the states do not depend on get zeros. Second derivatives
    work with all but the continuous adjoint.

    Args:
        sde, y0, ts, bm, method, dt, adaptive, rtol, atol, dt_min, options, names, logqp, extra, extra_solver_state:
            See `sdeint`; ``sde`` must be an ``nn.Module`` unless ``adjoint_params`` is given.
        adjoint_method: Method of the continuous adjoint of a Stratonovich equation, as above. "milstein" and, for an
            Ito equation, "euler" are taken, and give the exact gradients of the default.
        adjoint_adaptive, adjoint_rtol, adjoint_atol: Whether the continuous adjoint adapts its steps, and tolerances.
        adjoint_options: Options of ``adjoint_method``; none of them has a meaning here.
        adjoint_params: Tensors that receive gradients; by default the parameters of ``sde``.
        unused_kwargs: Warned of.

    Returns:
        See `sdeint`.

    Raises:
        ValueError: ``sde`` is no module and ``adjoint_params`` is None, or ``adjoint_method`` does not solve the
            adjoint equation.
        AttributeError, RuntimeError, TypeError, LegacySolverError: See `sdeint`.
    """
    warn_of_unused(unused_kwargs, "sdeint_adjoint")
    if adjoint_params is None and not isinstance(sde, nn.Module):
        raise ValueError(
            "`sde` must be an instance of nn.Module to specify the adjoint parameters; alternatively they can be "
            "specified explicitly via the `adjoint_params` argument. If there are no parameters then it is allowable "
            "to set `adjoint_params=()`."
        )
    contract = check_contract(sde, y0, ts, bm, method, adaptive, options, names, logqp)
    check_no_grad(
        ts=ts, dt=dt, rtol=rtol, adjoint_rtol=adjoint_rtol, atol=atol, adjoint_atol=adjoint_atol, dt_min=dt_min
    )
    given = sde.parameters() if adjoint_params is None else adjoint_params
    targets = tuple(tensor for tensor in given if tensor.requires_grad)
    name = _backward_method(contract, adjoint_method, adjoint_options)
    if contract.name == METHODS.reversible_heun:
        _warn_of_reversal(contract, dt, name, adaptive or adjoint_adaptive)
    adjoint: Adjoint = DiscreteAdjoint()
    if name == METHODS.adjoint_reversible_heun and not adaptive:
        adjoint = ReversibleAdjoint()
    elif adjoint_method in _CONTINUOUS and extra_solver_state is None:
        adjoint = _continuous(adjoint_method, adjoint_adaptive, dt, dt_min, adjoint_rtol, adjoint_atol)
    settings, selective = Settings(dt, adaptive, rtol, atol, dt_min), adjoint_params is not None
    ys, extras = integrate(contract, settings, extra_solver_state, adjoint, targets, selective)
    if targets and ys.requires_grad:
        ys = _WithZeros.apply(ys, *targets)
    return parse_return(ys, extras, extra, logqp)


def _backward_method(contract: Contract, given: str | None, options: Mapping[str, Any] | None) -> str | None:
    """Return the method of the backward solve; None where none is named and none is needed.

    Raises:
        ValueError: It does not solve the adjoint equation.
    """
    if given is None:
        return METHODS.adjoint_reversible_heun if contract.name == METHODS.reversible_heun else None
    if given not in METHODS:
        raise ValueError(f"Expected adjoint_method in {METHODS}, but found {given}.")
    equation = contract.equation
    fitting = [METHODS.euler] if equation.sde_type == SDE_TYPES.ito else [*_CONTINUOUS]
    if equation.noise_type == NOISE_TYPES.diagonal:
        fitting.append(METHODS.milstein)
    if contract.name == METHODS.reversible_heun:
        fitting.append(METHODS.adjoint_reversible_heun)
    if given not in fitting or (given == METHODS.milstein and (options or {}).get(METHOD_OPTIONS.grad_free)):
        raise ValueError(
            f"adjoint_method={given!r} does not solve the adjoint of this equation, whose diffusion is only known by "
            f"its products. Choose one of {', '.join(fitting)}, or leave adjoint_method=None."
        )
    return given


def _continuous(method: str, adaptive: bool, dt: Any, dt_min: Any, rtol: Any, atol: Any) -> BacksolveAdjoint:
    """Return the continuous adjoint."""
    if not adaptive:
        return BacksolveAdjoint(method)
    return BacksolveAdjoint(
        StepDoubling(method), float(rtol), float(atol), controller=AdaptiveSteps(float(dt), float(dt_min))
    )


def _warn_of_reversal(contract: Contract, dt: Any, backward_method: str | None, adaptive: bool) -> None:
    """Warn where steps of the reversible Heun method cannot be undone exactly, in torchsde's words."""
    name = METHODS.reversible_heun
    backward = METHODS.adjoint_reversible_heun
    if backward_method != backward:
        warnings.warn(f"method={name!r}, but adjoint_method!={backward!r}.", UserWarning, stacklevel=3)
    if adaptive:
        warnings.warn(
            f"A limitation of the adjoint of method={name!r} is that it undoes fixed steps alone: with `adaptive`, the "
            "states of all steps are kept instead, and `adjoint_adaptive` is not used.",
            UserWarning,
            stacklevel=3,
        )
        return
    steps = (contract.ts - contract.ts[0]) / dt
    if not torch.allclose(steps, steps.round()):
        warnings.warn(
            "The spacing between time points `ts` is not an integer multiple of the time step `dt`. torchsde's "
            "gradients are not exact then; these are.",
            UserWarning,
            stacklevel=3,
        )


class _WithZeros(torch.autograd.Function):
    """The identity, which gives tensors that the states do not depend on a gradient of zeros, as torchsde does."""

    @staticmethod
    def forward(ctx: Any, ys: Tensor, *targets: Tensor) -> Tensor:
        ctx.likes = [(target.shape, target.dtype, target.device) for target in targets]
        return ys.view_as(ys)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, ...]:
        zeros = [torch.zeros((), dtype=dtype, device=device).expand(shape) for shape, dtype, device in ctx.likes]
        return cotangents[0], *zeros
