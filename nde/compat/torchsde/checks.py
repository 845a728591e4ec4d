"""What an equation, its state and its Brownian motion must agree on, before any step is taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from nde.compat.torchsde.equation import Equation, read_equation, with_divergence
from nde.compat.torchsde.methods import LegacyMethod, default_method, find_legacy_method
from nde.compat.torchsde.settings import METHODS, NOISE_TYPES, SDE_TYPES

__all__ = ["Contract", "check_contract", "check_no_grad", "warn_of_unused"]


@dataclass(frozen=True)
class Contract:
    """What is to be solved, after the checks.

    Attributes:
        equation: The equation.
        y0: Initial state, shape ``(batch, d)``.
        ts: Output times.
        bm: The Brownian motion; None for a new one.
        name: Name of the method.
        method: What it asks for.
        options: Its options.
        motions: Number of Brownian motions of each sample.
    """

    equation: Equation
    y0: Tensor
    ts: Tensor
    bm: Any
    name: str
    method: LegacyMethod
    options: Mapping[str, Any]
    motions: int


class _Sizes:
    """Sizes that several things have, which must be the same."""

    def __init__(self) -> None:
        self.found: dict[str, list[int]] = {"Batch": [], "State": [], "Noise": []}

    def note(self, **sizes: int) -> None:
        for name, size in sizes.items():
            self.found[name].append(size)

    def state(self, name: str, value: Any) -> None:
        """Note the sizes of a drift, or of a product of the diffusion."""
        shape = _shape(name, value)
        if len(shape) != 2:
            raise ValueError(f"{name} must be of shape (batch, state_channels), but got {shape}.")
        self.note(Batch=shape[0], State=shape[1])

    def diffusion(self, value: Any, diagonal: bool) -> None:
        """Note the sizes of a diffusion."""
        if diagonal:
            self.state("Diffusion", value)
            self.note(Noise=value.shape[1])
            return
        shape = _shape("Diffusion", value)
        if len(shape) != 3:
            raise ValueError(f"Diffusion must be of shape (batch, state_channels, noise_channels), but got {shape}.")
        self.note(Batch=shape[0], State=shape[1], Noise=shape[2])

    def check(self) -> None:
        """Raise ValueError unless each size is one."""
        for name, sizes in self.found.items():
            if len(set(sizes)) > 1:
                raise ValueError(f"{name} sizes not consistent: found {', '.join(map(str, dict.fromkeys(sizes)))}.")


def _shape(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, but is a {type(value).__name__}.")
    return tuple(value.shape)


def check_contract(
    sde: Any,
    y0: Any,
    ts: Any,
    bm: Any,
    method: str | None,
    adaptive: bool,
    options: Mapping[str, Any] | None,
    names: Mapping[str, str] | None,
    logqp: bool,
) -> Contract:
    """Return what is to be solved; the arguments are those of `sdeint`.

    Raises:
        AttributeError: ``logqp`` is set without a drift, a diffusion and a prior drift.
        TypeError: The drift or the diffusion returns no tensor.
        ValueError: Anything else is not as `sdeint` says.
    """
    equation = read_equation(sde, names)
    if equation.noise_type not in NOISE_TYPES:
        raise ValueError(f"Expected noise type in {NOISE_TYPES}, but found {equation.noise_type}.")
    if equation.sde_type not in SDE_TYPES:
        raise ValueError(f"Expected sde type in {SDE_TYPES}, but found {equation.sde_type}.")
    if not isinstance(y0, Tensor):
        raise ValueError(f"`y0` must be a torch.Tensor, but is a {type(y0).__name__}.")
    if y0.dim() != 2:
        raise ValueError(
            f"`y0` must be a 2-dimensional tensor of shape (batch, channels), but has shape {tuple(y0.shape)}."
        )
    if logqp:
        equation = with_divergence(equation)
        y0 = torch.cat((y0, y0.new_zeros((y0.shape[0], 1))), 1)
    name = default_method(equation.sde_type, equation.noise_type) if method is None else method
    if name not in METHODS:
        raise ValueError(f"Expected method in {METHODS}, but found {name}.")
    times = _check_times(ts, y0)
    motions = _check_sizes(equation, y0, times, bm)
    if adaptive and name == METHODS.euler and equation.noise_type != NOISE_TYPES.additive:
        warnings.warn(
            "Numerical solution is not guaranteed to converge to the correct solution when using adaptive "
            "time-stepping with the Euler--Maruyama method with non-additive noise.",
            UserWarning,
            stacklevel=3,
        )
    legacy = find_legacy_method(name, equation.sde_type, equation.noise_type)
    if bm is not None and getattr(bm, "levy_area_approximation", legacy.area) not in legacy.areas:
        raise ValueError(
            f"method={name!r} requires one of {sorted(legacy.areas)} set as the `levy_area_approximation` on the "
            f"Brownian motion, but it is {bm.levy_area_approximation!r}."
        )
    return Contract(equation, y0, times, bm, name, legacy, dict(options or {}), motions)


def _check_times(ts: Any, y0: Tensor) -> Tensor:
    if not isinstance(ts, Tensor):
        if not isinstance(ts, (tuple, list)) or not all(isinstance(t, (float, int)) for t in ts):
            raise ValueError("Evaluation times `ts` must be a 1-D Tensor or list/tuple of floats.")
        ts = torch.tensor(ts, dtype=y0.dtype, device=y0.device)
    if ts.dim() != 1 or not len(ts):
        raise ValueError(f"Evaluation times `ts` must be of shape (T,), T >= 1, but have shape {tuple(ts.shape)}.")
    if not all(before < after for before, after in pairwise(ts.tolist())):
        raise ValueError("Evaluation times `ts` must be strictly increasing.")
    return ts


def _check_sizes(equation: Equation, y0: Tensor, ts: Tensor, bm: Any) -> int:
    """Return the number of Brownian motions of each sample, by one look at every function."""
    sizes = _Sizes()
    sizes.note(Batch=y0.shape[0], State=y0.shape[1])
    if bm is not None:
        if len(bm.shape) != 2:
            raise ValueError(f"`bm` must be of shape (batch, noise_channels), but has shape {tuple(bm.shape)}.")
        sizes.note(Batch=bm.shape[0], Noise=bm.shape[1])
    diagonal = equation.noise_type == NOISE_TYPES.diagonal
    t0 = ts[0]
    if equation.f is not None:
        sizes.state("Drift", equation.f(t0, y0))
    if equation.g is not None:
        sizes.diffusion(equation.g(t0, y0), diagonal)
    if equation.f_and_g is not None:
        drift, diffusion = equation.f_and_g(t0, y0)
        sizes.state("Drift", drift)
        sizes.diffusion(diffusion, diagonal)
    if equation.g_prod is not None:
        sizes.state("Diffusion-vector product", equation.g_prod(t0, y0, _vector(sizes, y0)))
    if equation.f_and_g_prod is not None:
        drift, product = equation.f_and_g_prod(t0, y0, _vector(sizes, y0))
        sizes.state("Drift", drift)
        sizes.state("Diffusion-vector product", product)
    _require("f", "`f`, `f_and_g`, or `f_and_g_prod`", equation.f, equation.f_and_g, equation.f_and_g_prod)
    _require(
        "g",
        "`g`, `f_and_g`, `g_prod` or `f_and_g_prod`",
        equation.g,
        equation.f_and_g,
        equation.g_prod,
        equation.f_and_g_prod,
    )
    sizes.check()
    motions = sizes.found["Noise"][0]
    if equation.noise_type == NOISE_TYPES.scalar and motions != 1:
        raise ValueError(f"Scalar noise must have only one channel; the diffusion has {motions} noise channels.")
    return motions


def _vector(sizes: _Sizes, y0: Tensor) -> Tensor:
    """Return a vector to look at a product with."""
    if not sizes.found["Noise"]:
        raise ValueError(
            "Cannot infer noise size (i.e. number of Brownian motion channels). Either pass `bm` explicitly, or "
            "specify one of the `g`, `f_and_g` functions."
        )
    return y0.new_zeros((y0.shape[0], sizes.found["Noise"][0]))


def _require(name: str, known: str, *functions: Callable[..., Any] | None) -> None:
    if not any(functions):
        raise ValueError(
            f"sde must define at least one of {known} (and perhaps more, depending on the method): it has no {name}."
        )


def check_no_grad(**values: Any) -> None:
    """Raise ValueError if an argument that is not differentiated requires a gradient."""
    for name, value in values.items():
        if isinstance(value, Tensor) and value.requires_grad:
            raise ValueError(f"Argument {name} must not require gradient.")


def warn_of_unused(unused: Iterable[Any], caller: str) -> None:
    """Warn of arguments that nothing reads."""
    if unused:
        warnings.warn(f"`{caller}`: Unexpected arguments {unused}", UserWarning, stacklevel=3)
