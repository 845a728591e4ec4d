"""The result of an operator: a value, and where it is estimated, the variance of the value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Estimate"]


class Estimate:
    """An unbiased estimate of an operator at points, made of groups that estimate the same.

    Numbers and tensors of the shape of the value are added and multiplied, so that a residual keeps its variance:
    ``laplacian(f, x, mode="sparse", samples=16, groups=2) + torch.sin(u) - source``.

    Attributes:
        parts: Shape ``(G, *O)``: the estimate of each group.
        primal: The function's value ``f(x)``, which the jets computed anyway; shape ``f(x).shape``.
        fraction: By which part the variance of the mean is smaller than that of independent groups; 1 where the value
            is exact.
    """

    def __init__(self, parts: Tensor, primal: Tensor, fraction: float) -> None:
        self.parts = parts
        self.primal = primal
        self.fraction = fraction

    @property
    def exact(self) -> bool:
        """Whether nothing is random in the value."""
        return self.fraction >= 1

    @property
    def value(self) -> Tensor:
        """The estimate, shape ``O``."""
        return self.parts.squeeze(0) if self.parts.shape[0] == 1 else self.parts.mean(0)

    @property
    def variance(self) -> Tensor:
        """The estimated variance of `value`, shape ``O``: unbiased, zero where it is exact.

        Raises:
            ValueError: There is one group, whose spread nobody knows.
        """
        groups = self.parts.shape[0]
        if self.exact:
            return torch.zeros_like(self.parts[0])
        if groups == 1:
            raise ValueError(
                "the variance needs several groups of directions, but this estimate has one. Ask for groups=2 (or "
                "more: a better estimate of the variance, at one vector for each)."
            )
        return self.parts.var(0) * ((1 - self.fraction) / groups)

    @property
    def square(self) -> Tensor:
        """An unbiased estimate of the square of what is estimated, shape ``O``: ``value^2 - variance``.

        With two independent groups it is the product of their estimates; with disjoint columns it is that product,
        corrected for their dependence. It can be negative where the square is small.
        """
        return self.value.square() - self.variance

    def _operand(self, other: Any) -> Any:
        if isinstance(other, Tensor) and other.ndim and other.shape != self.parts.shape[1:]:
            raise ValueError(
                f"an estimate of the shape {tuple(self.parts.shape[1:])} met a tensor of the shape "
                f"{tuple(other.shape)}. Give both the same shape: .unsqueeze(-1) for a function that returns (batch, "
                "1)."
            )
        return other

    def _with(self, parts: Tensor, other: Estimate | None = None) -> Estimate:
        fraction = self.fraction if other is None or other.exact else other.fraction
        return Estimate(parts, self.primal, fraction)

    def _joined(self, other: Estimate, sign: float) -> Estimate:
        if not (self.exact or other.exact):
            if self.parts.shape[0] != other.parts.shape[0]:
                raise ValueError(
                    f"estimates of {self.parts.shape[0]} and {other.parts.shape[0]} groups cannot be added. Ask for "
                    "equal groups."
                )
            if self.fraction != other.fraction:
                raise ValueError(
                    "estimates from different kinds of draws cannot be added with their variance. Use one mode and "
                    "the same samples for both, or add their values."
                )
        return self._with(self.parts + sign * self._operand_of(other), other)

    def _operand_of(self, other: Estimate) -> Tensor:
        if other.parts.shape[1:] != self.parts.shape[1:]:
            raise ValueError(
                f"estimates of the shapes {tuple(self.parts.shape[1:])} and {tuple(other.parts.shape[1:])} met. Give "
                "both the same."
            )
        return other.parts

    def __add__(self, other: Any) -> Estimate:
        if isinstance(other, Estimate):
            return self._joined(other, 1.0)
        return self._with(self.parts + self._operand(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Estimate:
        if isinstance(other, Estimate):
            return self._joined(other, -1.0)
        return self._with(self.parts - self._operand(other))

    def __rsub__(self, other: Any) -> Estimate:
        return self._with(self._operand(other) - self.parts)

    def __mul__(self, other: Any) -> Estimate:
        if isinstance(other, Estimate):
            raise TypeError(
                "the product of two estimates is biased unless they are independent. Multiply by a value instead."
            )
        return self._with(self.parts * self._operand(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Estimate:
        if isinstance(other, Estimate):
            raise TypeError("the quotient of two estimates is biased. Divide by a value instead.")
        return self._with(self.parts / self._operand(other))

    def __neg__(self) -> Estimate:
        return self._with(-self.parts)

    def __getitem__(self, index: Any) -> Estimate:
        """Return the estimate at some points or of some outputs; ``index`` applies to the value."""
        index = index if isinstance(index, tuple) else (index,)
        return Estimate(self.parts[(slice(None), *index)], self.primal, self.fraction)

    def __repr__(self) -> str:
        kind = "exact" if self.exact else f"{self.parts.shape[0]} groups"
        return f"Estimate(shape={tuple(self.parts.shape[1:])}, {kind})"
