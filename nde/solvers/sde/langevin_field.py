"""The underdamped Langevin equation as a field: what its methods ask for is the gradient of a potential.

Beside `SDEField` it holds the friction and the mass scale, which the methods integrate exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.solvers.field import Wrap, as_it_is, checked_value
from nde.solvers.sde.field import Path, Scalar, SDEField
from nde.solvers.structure import StateStructure
from nde.solvers.transforms import may_move

__all__ = ["LangevinField", "Rates"]


# sizes of steps that change leave the weights of a few steps behind
_MOST_WEIGHTS = 64


class Rates(NamedTuple):
    """The constants of a Langevin equation, each a number or a tensor of the state's dtype, 0-d or ``(size,)``.

    Attributes:
        gamma: The friction.
        u: The factor of the force.
        rho: The diffusion of the velocity, ``sqrt(2 gamma u)``.
    """

    gamma: Any
    u: Any
    rho: Any


class LangevinField(SDEField):
    """``dx = v dt``, ``dv = -gamma v dt - u gradient(t, x, *args) dt + sqrt(2 gamma u) dW``.

    As a callable it is the drift of the flat state: the positions, followed by the velocities.

    Args:
        gradient: The user's callable.
        structure: Structure of the positions, a lone tensor.
        args: Its further arguments.
        path: The Brownian path, of the shape of the positions.
        gamma, u: Numbers, or tensors that broadcast to the positions.
    """

    name = "gradient"

    def __init__(
        self,
        gradient: Callable[..., Any],
        structure: StateStructure,
        args: tuple[Any, ...],
        path: Path,
        gamma: float | Tensor,
        u: float | Tensor,
    ) -> None:
        super().__init__(gradient, gradient, structure, args, "langevin", path, None)
        self.gamma = gamma
        self.u = u
        # what depends on constants alone is computed once for each size of a step
        self._constant = not any(isinstance(value, Tensor) and may_move(value) for value in (gamma, u))
        self._rates: Rates | None = None
        self._weights: dict[tuple[Callable[[Any], Any], float], Any] = {}

    @property
    def functions(self) -> Any:
        """See `VectorField.functions`; the constants are among what gradients are wanted for."""
        return self.function, self.gamma, self.u

    def fresh(self, wrap: Wrap = as_it_is) -> LangevinField:
        """See `VectorField.fresh`."""
        return LangevinField(wrap(self.function, "field"), self.structure, self.args, self.path, self.gamma, self.u)

    def __call__(self, t: Scalar, y: Tensor) -> Tensor:
        """See `VectorField.__call__`."""
        x, v = y.chunk(2)
        gamma, u, _ = self.rates()
        return torch.cat([v, -(gamma * v + u * self.gradient(t, x))])

    def gradient(self, t: Scalar, x: Tensor) -> Tensor:
        """Evaluate the gradient at flat positions; see `VectorField.__call__` for what it may raise."""
        if self._check is not None:
            check, self._check = self._check, None
            return checked_value(check, self.gradient, t, x)
        return super().__call__(t, x)

    def diffusion(self, t: Scalar, y: Tensor) -> Tensor:
        """Return the diffusion, shape ``(size,)``: none of the positions."""
        rho = torch.as_tensor(self.rates().rho, dtype=y.dtype, device=y.device).expand(self.structure.size)
        return torch.cat([torch.zeros_like(rho), rho])

    def rates(self) -> Rates:
        """Return the constants, on the tape of the user's tensors."""
        if self._rates is not None:
            return self._rates
        gamma, u = self._flat(self.gamma), self._flat(self.u)
        product = 2.0 * gamma * u
        root = product.sqrt() if isinstance(product, Tensor) else math.sqrt(product)
        found = Rates(*(self._cast(value) for value in (gamma, u, root)))
        self._rates = found if self._constant else None
        return found

    def weight(self, function: Callable[[Any], Any], h: float) -> Any:
        """Return a function of the friction times a step, computed in double precision.

        Args:
            function: One of `nde.solvers.sde.langevin_weights`.
            h: The step.
        """
        found = self._weights.get((function, h))
        if found is None:
            found = self._cast(function(self._flat(self.gamma) * h))
            if self._constant:
                if len(self._weights) >= _MOST_WEIGHTS:
                    self._weights.clear()
                self._weights[function, h] = found
        return found

    def _flat(self, value: float | Tensor) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.double()
        return value.expand(self.structure.leaves[0].shape).reshape(-1) if value.dim() else value

    def _cast(self, value: Any) -> Any:
        return value.to(self.structure.dtype) if isinstance(value, Tensor) else value
