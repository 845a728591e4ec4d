"""`cdeint`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nde.compat import torchdiffeq, torchsde

__all__ = ["cdeint"]

_SOLVERS: dict[tuple[str, bool], Callable[..., Any]] = {
    ("torchdiffeq", False): torchdiffeq.odeint,
    ("torchdiffeq", True): torchdiffeq.odeint_adjoint,
    ("torchsde", False): torchsde.sdeint,
    ("torchsde", True): torchsde.sdeint_adjoint,
}


def cdeint(
    X: Any,
    func: Any,
    z0: Any,
    t: Tensor,
    adjoint: bool = True,
    backend: str = "torchdiffeq",
    **kwargs: Any,
) -> Any:
    """Integrate ``dz = func(t, z) dX`` and return the states at ``t``.

    Args:
        X: The control, with a method ``derivative(t)`` that returns ``(..., channels)``, such as `CubicSpline`.
        func: Callable ``(t, z)`` that returns ``(..., hidden, channels)``; or an object with a method
            ``prod(t, z, dXdt)`` that returns the product, ``(..., hidden)``.
        z0: Initial state, shape ``(..., hidden)``; or a tuple of states, where ``X`` and ``func`` return tuples too.
        t: Output times, shape ``(T,)``; the first one is the initial time.
        adjoint: Whether gradients come from the continuous adjoint.
        backend: "torchdiffeq", or "torchsde" for its methods without noise.
        kwargs: Further arguments of `odeint`, `odeint_adjoint`, `sdeint` or `sdeint_adjoint`. By default ``rtol=1e-4``
            and ``atol=1e-6``, and the same for the adjoint.

    Returns:
        Shape ``(..., T, hidden)``, or a tuple of such tensors.

    Raises:
        ValueError: The shapes do not fit, or there is no such backend.
    """
    if (backend, bool(adjoint)) not in _SOLVERS:
        raise ValueError(f"Unrecognised backend={backend}")
    kwargs = {"atol": 1e-6, "rtol": 1e-4, **kwargs}
    if adjoint:
        kwargs = {"adjoint_atol": kwargs["atol"], "adjoint_rtol": kwargs["rtol"], **kwargs}
        if "adjoint_params" not in kwargs and isinstance(X, nn.Module) and any(b.requires_grad for b in X.buffers()):
            warnings.warn(
                "One of the inputs to the control path X requires gradients but kwargs['adjoint_params'] has not been "
                "passed, so that it gets none from the adjoint method. Pass every parameter that needs a gradient: "
                "adjoint_params = tuple(func.parameters()) + (coeffs,)",
                UserWarning,
                stacklevel=2,
            )
    _check(X, func, z0, t)
    state = tuple(z0) if isinstance(z0, (tuple, list)) else z0
    found = _SOLVERS[backend, bool(adjoint)](_Driven(X, func), state, t, **kwargs)
    # times come last but one, behind the batch
    return tuple(part.movedim(0, -2) for part in found) if isinstance(found, tuple) else found.movedim(0, -2)


class _Driven(nn.Module):
    """The field of the ordinary equation, as both backends want it."""

    def __init__(self, control: Any, func: Any) -> None:
        super().__init__()
        self.control = control
        self.func = func
        self.sde_type = getattr(func, "sde_type", "stratonovich")
        self.noise_type = getattr(func, "noise_type", "additive")

    def forward(self, t: Tensor, z: Any) -> Any:
        slope = self.control.derivative(t)
        if hasattr(self.func, "prod"):
            return self.func.prod(t, z, slope)
        matrix = self.func(t, z)
        if isinstance(z, Tensor):
            return _product(matrix, slope)
        return tuple(_product(*pair) for pair in zip(matrix, slope, strict=True))

    f = forward

    def g(self, t: Tensor, z: Tensor) -> Tensor:
        """Return a diffusion of zero, shape ``(batch, d, 1)``."""
        return torch.zeros_like(z).unsqueeze(-1)


def _product(matrix: Tensor, slope: Tensor) -> Tensor:
    return torch.linalg.vecdot(slope.to(matrix.dtype).unsqueeze(-2), matrix)


def _check(control: Any, func: Any, z0: Any, t: Tensor) -> None:
    """Raise ValueError unless control, field and state fit at the first time."""
    if not hasattr(control, "derivative"):
        raise ValueError("X must have a 'derivative' method.")
    if not isinstance(z0, (Tensor, tuple, list)):
        raise ValueError("z0 must be either a tensor or a tuple/list of tensors.")
    slope = control.derivative(t[0].detach())
    by_product = hasattr(func, "prod")
    name = "func.prod" if by_product else "func"
    value = func.prod(t[0], z0, slope) if by_product else func(t[0], z0)
    if isinstance(z0, Tensor):
        if not isinstance(slope, Tensor) or not isinstance(value, Tensor):
            raise ValueError(f"z0 is a tensor and so X.derivative and {name} must return tensors as well.")
        parts = [(z0, slope, value)]
    else:
        if not all(isinstance(found, (tuple, list)) and len(found) == len(z0) for found in (slope, value)):
            raise ValueError(
                f"z0 is a tuple/list and so X.derivative and {name} must return tuples of the same length, {len(z0)}."
            )
        parts = list(zip(z0, slope, value, strict=True))
    for state, own_slope, own_value in parts:
        if not all(isinstance(item, Tensor) for item in (state, own_slope, own_value)):
            raise ValueError(f"z0, X.derivative and {name} must be tensors or tuples of tensors.")
        if own_slope.shape[:-1] != state.shape[:-1]:
            raise ValueError(
                f"X.derivative must have the batch dimensions of z0, of shape {tuple(state.shape)}, but returned shape "
                f"{tuple(own_slope.shape)}."
            )
        expected = (*state.shape,) if by_product else (*state.shape, own_slope.shape[-1])
        if own_value.shape != expected:
            raise ValueError(f"{name} must return shape {expected}, but returned {tuple(own_value.shape)}.")
