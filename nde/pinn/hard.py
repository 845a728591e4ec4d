"""Models that satisfy conditions by construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["HardConstraint"]


class HardConstraint(nn.Module):
    """``u(x) = lift(x) + factor(x) * network(x)``: where the factor vanishes, ``u`` is ``lift`` whatever the network.

    With ``factor=domain.vanishing`` and ``lift`` any function that has the boundary values, the Dirichlet condition
    holds exactly. With ``factor=domain.vanishing_at_start`` and the initial values the initial condition does, with the
    square of that factor also the initial slope of the lift.

    Args:
        network: ``(*S, d) -> (*S,)``, ``(*S, 1)`` or ``(*S, C)``.
        factor: ``(*S, d) -> (*S,)``, of operations that jets can be pushed through.
        lift: The same, also ``(*S, C)`` for several outputs; None: zero.

    Source:
        Lagaris, Likas, Fotiadis, Artificial neural networks for solving ordinary and partial differential equations
        (1998); Sukumar and Srivastava, Exact imposition of boundary conditions with distance functions in
        physics-informed deep neural networks (2022).
    """

    def __init__(
        self,
        network: nn.Module,
        factor: Callable[[Tensor], Tensor],
        lift: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.factor = factor
        self.lift = lift

    def forward(self, x: Any) -> Any:
        """Return ``u(x)``, of the shape that the network returns.

        Raises:
            ValueError: The factor or the lift has another shape than the points or the network's output.
        """
        value = self.network(x)
        result = value * self._shaped("factor", self.factor(x), value, x)
        if self.lift is None:
            return result
        return self._shaped("lift", self.lift(x), value, x) + result

    @staticmethod
    def _shaped(name: str, part: Any, value: Any, x: Any) -> Any:
        if part.shape == value.shape:
            return part
        if part.shape == x.shape[:-1] and value.ndim == part.ndim + 1:
            return part.unsqueeze(-1)
        raise ValueError(
            f"{name} must return the shape {tuple(x.shape[:-1])} for points of the shape {tuple(x.shape)}, or that of "
            f"the network's output, {tuple(value.shape)}, but returned {tuple(part.shape)}."
        )
