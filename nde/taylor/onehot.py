"""Lazy coordinate directions: coefficients with one entry per direction along the last axis.

The first layer of a network gathers columns of its weight instead of multiplying by a matrix of zeros. What has no
lazy form is done on the dense tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["OneHotCoefficient"]


class OneHotCoefficient:
    """The tensor with ``values[v]`` at ``indices[v]`` of the last axis and zero elsewhere.

    Attributes:
        indices: Shape ``(V,)``.
        values: Shape ``(V, *lead)``, where ``lead`` is broadcast over the axes before the last.
        width: Size of the last axis.
    """

    def __init__(self, indices: Tensor, values: Any, width: int) -> None:
        self.indices = indices
        self.values = values
        self.width = width

    @property
    def shape(self) -> torch.Size:
        """Shape of the dense tensor."""
        return torch.Size((*self.values.shape, self.width))

    @property
    def ndim(self) -> int:
        """Number of axes of the dense tensor."""
        return self.values.ndim + 1

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.values.dtype

    def _axis_of_directions(self, rows: Any, columns: int) -> Any:
        """Reshape ``(V, columns)`` so that it is broadcast with the values."""
        return rows.reshape(rows.shape[0], *[1] * (self.values.ndim - 1), columns)

    def dense(self) -> Tensor:
        """Return the tensor."""
        positions = torch.arange(self.width, device=self.indices.device)
        hits = self._axis_of_directions(self.indices[:, None] == positions, self.width)
        return self.values.unsqueeze(-1) * hits.to(self.values.dtype)

    def with_values(self, values: Any) -> OneHotCoefficient:
        """Return other values at the same places."""
        return OneHotCoefficient(self.indices, values, self.width)

    def times(self, other: Any) -> OneHotCoefficient:
        """Return the elementwise product with a number, a tensor or one-hot directions of the same indices."""
        if isinstance(other, OneHotCoefficient):
            if other.indices is not self.indices:
                return self.times(other.dense())
            return self.with_values(self.values * other.values)
        if not hasattr(other, "ndim") or other.ndim == 0:
            return self.with_values(self.values * other)
        picked = self._picked(other)
        return self.with_values(self.values * picked)

    def _picked(self, other: Any) -> Any:
        """Return ``other[v, ..., indices[v]]`` of a tensor that is broadcast with this one."""
        for _ in range(self.ndim - other.ndim):
            other = other.unsqueeze(0)
        if other.shape[-1] == 1:
            return other.squeeze(-1)
        picked = other.index_select(-1, self.indices)
        if other.shape[0] == 1:
            return picked.squeeze(0).movedim(-1, 0)
        return picked.diagonal(dim1=0, dim2=-1).movedim(-1, 0)

    def linear(self, weight: Tensor) -> Any:
        """Return the product with the transposed weight ``(out, width)``: a gather of its columns."""
        if weight.ndim == 1:
            return self.values * weight[self.indices].reshape(-1, *[1] * (self.values.ndim - 1))
        # contiguous, or every product with the primal would inherit the transposed strides and be copied later
        rows = weight.index_select(1, self.indices).mT.contiguous()
        return self.values.unsqueeze(-1) * self._axis_of_directions(rows, weight.shape[0])

    def sum(self, dim: Any, keepdim: bool = False) -> Any:
        """Return the sum over the directions (0) or over one other axis."""
        dim = dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim
        if dim in (-1, self.ndim - 1):
            return self.values.unsqueeze(-1) if keepdim else self.values
        if dim == 0 and keepdim:
            return self._scattered(self.values)
        return self.dense().sum(dim, keepdim=keepdim)

    def _scattered(self, values: Any) -> Tensor:
        """Add the values of all directions up at their places."""
        last = values.movedim(0, -1)
        zeros = last.new_zeros((*last.shape[:-1], self.width))
        return zeros.index_add(-1, self.indices, last).unsqueeze(0)

    def _weighted(self, weights: Tensor) -> Tensor:
        shape = (-1, *[1] * (self.values.ndim - 1))
        return torch.cat([self._scattered(self.values * group.reshape(shape)) for group in weights])

    def __mul__(self, other: Any) -> OneHotCoefficient:
        return self.times(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> OneHotCoefficient:
        return self.times(1 / other)

    def __neg__(self) -> OneHotCoefficient:
        return self.with_values(-self.values)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, OneHotCoefficient):
            if other.indices is self.indices:
                return self.with_values(self.values + other.values)
            other = other.dense()
        return self.dense() + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return other + (-self)

    def __matmul__(self, other: Any) -> Any:
        product = _matmul(self, other)
        return self.dense() @ other if product is NotImplemented else product

    def __getitem__(self, index: Any) -> Any:
        return self.picked(index if isinstance(index, tuple) else (index,))

    def picked(self, index: tuple[Any, ...]) -> Any:
        """Return the part that an index picks: lazily for a number or a slice of the last axis alone."""
        if not self.picks_lazily(index):
            return self.dense()[index]
        last = index[-1]
        if isinstance(last, int):
            hit = self.indices == last % self.width
            return self.values * hit.reshape(-1, *[1] * (self.values.ndim - 1)).to(self.values.dtype)
        positions = torch.arange(self.width, device=self.indices.device)[last]
        hits = self._axis_of_directions(self.indices[:, None] == positions, positions.shape[0])
        return self.values.unsqueeze(-1) * hits.to(self.values.dtype)

    def picks_lazily(self, index: tuple[Any, ...]) -> bool:
        """Whether an index is a number or a slice of the last axis alone."""
        *front, last = index
        whole = all(isinstance(item, slice) and item == slice(None) for item in front)
        return len(index) == self.ndim and whole and isinstance(last, (int, slice))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("indices", "values", "width"):
            raise AttributeError(name)
        return getattr(self.dense(), name)  # what has no lazy form

    def unsqueeze(self, dim: int) -> Any:
        """Insert an axis, lazily unless it comes last."""
        dim = dim if dim >= 0 else dim + self.ndim + 1
        if 0 < dim < self.ndim:
            return self.with_values(self.values.unsqueeze(dim))
        return self.dense().unsqueeze(dim)

    def expand(self, *shape: int) -> Tensor:
        """Return the dense tensor, expanded."""
        return self.dense().expand(*shape)

    def reshape(self, *shape: int) -> Tensor:
        """Return the dense tensor, reshaped."""
        return self.dense().reshape(*shape)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "out" or value is not None}
        lazy = _LAZY.get(func)
        if lazy is not None:
            result = lazy(*args, **kwargs)
            if result is not NotImplemented:
                return result
        dense = [[_dense(item) for item in arg] if isinstance(arg, (tuple, list)) else _dense(arg) for arg in args]
        return func(*dense, **{name: _dense(value) for name, value in kwargs.items()})


def _dense(value: Any) -> Any:
    return value.dense() if isinstance(value, OneHotCoefficient) else value


def _product(a: Any, b: Any) -> Any:
    return a.times(b) if isinstance(a, OneHotCoefficient) else b.times(a)


def _linear(input: Any, weight: Any, bias: Any = None) -> Any:
    if not isinstance(input, OneHotCoefficient) or bias is not None:
        return NotImplemented
    return input.linear(weight)


def _matmul(a: Any, b: Any) -> Any:
    if not isinstance(a, OneHotCoefficient) or isinstance(b, OneHotCoefficient) or b.ndim != 2:
        return NotImplemented
    return a.linear(b.mT)


def _tensordot(weights: Any, product: Any, dims: Any = 1) -> Any:
    return product._weighted(weights) if isinstance(product, OneHotCoefficient) else NotImplemented


_LAZY: dict[Any, Callable[..., Any]] = {
    torch.mul: _product,
    torch.Tensor.mul: _product,
    torch.Tensor.__mul__: _product,
    torch.Tensor.__rmul__: _product,
    torch.Tensor.__add__: lambda a, b: b + a if isinstance(b, OneHotCoefficient) else a + b,
    torch.Tensor.__sub__: lambda a, b: a + (-b) if isinstance(b, OneHotCoefficient) else a - b,
    torch.neg: lambda a: -a,
    torch.nn.functional.linear: _linear,
    torch.matmul: _matmul,
    torch.Tensor.__matmul__: _matmul,
    torch.tensordot: _tensordot,
}
