"""An equation as the field that nde's methods step, with each function called as its user meant it.

A method asks for the drift, the diffusion and its product with an increment. Where the user gave two of them at once,
what a call found besides is kept until it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from nde.compat.torchsde.equation import Equation
from nde.solvers.field import Check, Wrap, as_it_is
from nde.solvers.sde.blame import find_sources
from nde.solvers.sde.field import Path, SDEField, diffusion_matrix
from nde.solvers.structure import State, StateStructure

__all__ = ["EquationField"]


class _Unevaluated(NamedTuple):
    """A diffusion that is only known by its products."""

    t: Any
    y: Tensor


class EquationField(SDEField):
    """An `Equation` on flat states.

    Args:
        equation: The equation.
        structure: Structure of the state, ``(batch, d)``.
        path: The Brownian path.
        channels: The number of motions that drive each sample; None where the noise is diagonal.
        products: Whether the method asks for products of the diffusion alone.
        together: Whether the method asks for drift and diffusion at the same states.
        targets: Tensors that receive gradients from an adjoint, instead of all that the functions capture.
        selective: Whether others must not, which a tape of the whole solve would reach, too.
    """

    def __init__(
        self,
        equation: Equation,
        structure: StateStructure,
        path: Path,
        channels: int | None,
        products: bool,
        together: bool,
        targets: Sequence[Tensor] = (),
        selective: bool = False,
    ) -> None:
        super().__init__(self._drift, self._diffusion, structure, (), equation.noise_type, path, channels)
        self.equation = equation
        self.products = products
        self.together = together
        self.targets = tuple(targets)
        self.selective = selective
        # beside a product, the drift must come alone: what else came with it would be evaluated in vain
        self._product: Any = equation.g_prod if products and equation.f is not None else None
        self._both = equation.f_and_g if together and self._product is None else None
        self._found: tuple[str, Any, Tensor, Tensor] | None = None
        self._last: tuple[Any, Tensor, bool, tuple[Tensor, State]] | None = None
        shape = tuple(structure.leaves[0].shape)
        self._wanted = shape if channels is None else (*shape, channels)

    @property
    def functions(self) -> Any:
        """See `VectorField.functions`; what adjoints look for tensors in."""
        return self.targets

    @property
    def namesake(self) -> Any:
        """See `VectorField.namesake`."""
        return self.equation.f or self.equation.f_and_g or self.equation.f_and_g_prod

    def watch(self, check: Check) -> None:
        """See `VectorField.watch`; tensors that are no targets receive no gradient on purpose."""

    def fresh(self, wrap: Wrap = as_it_is) -> EquationField:
        """See `VectorField.fresh`."""
        return EquationField(
            self.equation.wrapped(wrap),
            self.structure,
            self.path,
            self.channels,
            self.products,
            self.together,
            self.targets,
            self.selective,
        )

    def source(self, method: Any, t: float, h: float, y: Tensor, carry: Any) -> str | None:
        """See `SDEField.source`; nothing is known of a diffusion that has no values to look at."""
        if self.equation.g is None and self.equation.f_and_g is None:
            return None
        seen = EquationField(self.equation, self.structure, self.path, self.channels, False, self.together)
        return find_sources(seen, None, method, t, h, y, carry)[0]

    def __call__(self, t: Any, y: Tensor) -> Tensor:
        """See `VectorField.__call__`."""
        drift = self._take("drift", t, y)
        if drift is None:
            self._asked = t, y
            return super().__call__(t, y)
        self.evaluations += 1
        return drift.reshape(-1)

    def diffusion(self, t: Any, y: Tensor) -> Tensor:
        """See `SDEField.diffusion`; what it returns may only be good for `product`."""
        if self._product is not None or (self.products and self.equation.f_and_g_prod is not None):
            return cast(Tensor, _Unevaluated(t, y))
        diffusion = self._take("diffusion", t, y)
        if diffusion is None:
            self._asked = t, y
            diffusion = self._diffusion(*self.arguments(t, y))
        self.diffusion_evaluations += 1
        if not isinstance(diffusion, Tensor) or diffusion.shape != self._wanted or diffusion.dtype != self._dtype:
            # the checks in full, for what they say and for half precision
            if self.channels is None:
                return self.structure.flatten(diffusion, "the diffusion")
            return diffusion_matrix(diffusion, self.structure, self.noise, self.channels)
        return diffusion.reshape(-1) if self.channels is None else diffusion

    def arguments(self, t: Any, y: Tensor) -> tuple[Tensor, State]:
        """See `VectorField.arguments`; drift and diffusion at one state share theirs."""
        last, recording = self._last, torch.is_grad_enabled()
        if last is None or last[0] != t or last[1] is not y or last[2] is not recording:
            last = self._last = (t, y, recording, super().arguments(t, y))
        return last[3]

    def product(self, diffusion: Any, noise: Tensor) -> Tensor:
        """See `SDEField.product`."""
        if not isinstance(diffusion, _Unevaluated):
            return super().product(diffusion, noise)
        self.diffusion_evaluations += 1
        t, y = diffusion
        time, state = self.arguments(t, y)
        vector = noise.view(self.structure.leaves[0].shape) if self.channels is None else noise
        if self.equation.f_and_g_prod is not None:
            drift, product = self.equation.f_and_g_prod(time, state, vector)
            self._found = ("drift", t, y, drift)
        else:
            product = self._product(time, state, vector)
        return cast(Tensor, product.reshape(-1))

    def plus_product(self, y: Tensor, diffusion: Any, noise: Tensor, factor: float = 1.0) -> Tensor:
        """See `SDEField.plus_product`."""
        if not isinstance(diffusion, _Unevaluated):
            return super().plus_product(y, diffusion, noise, factor)
        return torch.add(y, self.product(diffusion, noise), alpha=factor)

    def _take(self, what: str, t: Any, y: Tensor) -> Tensor | None:
        """Return what an earlier call found at the same state, once."""
        found, self._found = self._found, None
        if found is not None and found[0] == what and found[1] == t and found[2] is y:
            return found[3]
        return None

    def _drift(self, t: Tensor, y: Tensor) -> Any:
        equation = self.equation
        if self._both is not None:
            drift, diffusion = self._both(t, y)
            self._found = ("diffusion", *self._asked, diffusion)
            return drift
        if equation.f is not None:
            return equation.f(t, y)
        if equation.f_and_g is not None:
            return equation.f_and_g(t, y)[0]
        vector = y.new_zeros((y.shape[0], y.shape[1] if self.channels is None else self.channels))
        return equation.f_and_g_prod(t, y, vector)[0]  # type: ignore[misc]  # one of the three is given

    def _diffusion(self, t: Tensor, y: Tensor) -> Any:
        equation = self.equation
        if self._both is not None:
            drift, diffusion = self._both(t, y)
            self._found = ("drift", *self._asked, drift)
            return diffusion
        if equation.g is not None:
            return equation.g(t, y)
        if equation.f_and_g is not None:
            return equation.f_and_g(t, y)[1]
        if equation.g_prod is not None and self.noise == "additive" and self.channels is not None:
            units = torch.eye(self.channels, dtype=y.dtype, device=y.device)
            return torch.stack([equation.g_prod(t, y, unit.expand(y.shape[0], -1)) for unit in units], -1)
        raise RuntimeError("Method `g` has not been provided, but is required for this method.")
