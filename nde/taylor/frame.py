"""What the jets of one evaluation share: order, directions, weights, and how the top coefficient is collapsed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nde.taylor.onehot import OneHotCoefficient

__all__ = ["Frame", "Lifted"]

# A coefficient with a leading axis, or None for zero. The primal leads with 1; a coefficient with the number of
# directions, or with 1 where all directions share it; a collapsed top coefficient with the number of groups of weights.
# The other axes may have size 1 where the coefficient does not vary along them; the primal always has its full shape.
# Coefficients are tensors, lazy one-hot directions or, in nested evaluations, jets of the outer evaluation.
Lifted = Any


class Frame:
    """Order, directions and weights of one evaluation.

    Attributes:
        order: Highest order carried.
        directions: Number of directions carried together; 1 where there is a single one without an axis.
        batched: Whether the coefficients that the user sees have an axis of directions.
        collapse: Whether the coefficient of the highest order is the (weighted) sum over the directions.
        weights: Shape ``(G, V)``, or None where every direction counts once.
        grouped: Whether the collapsed coefficient that the user sees has an axis of groups.
        level: Depth of nesting; an operation on jets of several levels belongs to the deepest.
        check_finite: Whether every operation's result is searched for values that are not finite.
        kept: The orders that are carried, where powers of several variables are coded as orders (see
            `nde.taylor.lower_sets`); None: all.
        degree: How many coefficients above the primal a product that is carried has at most.
    """

    def __init__(
        self,
        order: int,
        directions: int | None,
        collapse: bool = False,
        weights: Tensor | None = None,
        level: int = 0,
        check_finite: bool = False,
        kept: frozenset[int] | None = None,
        degree: int | None = None,
    ) -> None:
        self.order = order
        self.batched = directions is not None
        self.directions = 1 if directions is None else directions
        self.collapse = collapse
        self.grouped = weights is not None and weights.ndim == 2
        self.weights = None if weights is None else weights.reshape(-1, self.directions)
        self.level = level
        self.check_finite = check_finite
        self.kept = kept
        self.degree = order if degree is None else degree

    def reduced(self, order: int) -> Frame:
        """Return the frame of the same directions up to a lower order, where nothing is collapsed."""
        directions = self.directions if self.batched else None
        return Frame(
            *(order, directions),
            level=self.level,
            check_finite=self.check_finite,
            kept=self.kept,
            degree=min(order, self.degree),
        )

    def keeps(self, order: int) -> bool:
        """Whether the coefficient of an order is carried."""
        return self.kept is None or order in self.kept

    def summed(self, product: Lifted, order: int) -> Lifted:
        """Sum a product of lower coefficients over the directions where its order is the collapsed one."""
        if not self.collapse or order < self.order:
            return product
        if product.shape[0] == 1 and self.directions > 1:  # shared by all directions
            if self.weights is None:
                return product * self.directions
            weights = self.weights.sum(1)
            return weights.reshape(-1, *[1] * (product.ndim - 1)) * product
        if self.weights is None:
            return product.sum(0, keepdim=True)
        if isinstance(product, (Tensor, OneHotCoefficient)):
            return torch.tensordot(self.weights.to(product.dtype), product, dims=1)
        weights = self.weights.reshape(*self.weights.shape, *[1] * (product.ndim - 1))
        return (weights * product.unsqueeze(0)).sum(1)

    def lowered(self, coefficient: Lifted, order: int, primal: Lifted) -> Any:
        """Return a coefficient as the user sees it: full shape, without the leading axis where it has no meaning."""
        shape = primal.shape[1:]
        top = self.collapse and order == self.order
        if top:
            lead = 1 if self.weights is None else self.weights.shape[0]
        else:
            lead = self.directions
        if coefficient is None:
            full = primal.new_zeros((lead, *shape))
        else:
            full = coefficient.expand(lead, *shape)
        return full if (self.grouped if top else self.batched) else full.squeeze(0)
