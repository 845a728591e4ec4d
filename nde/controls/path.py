"""What all paths share: knots, one tensor of coefficients, and the piece that a time falls into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nde.controls.checks import check_series, check_times

__all__ = ["ControlPath", "CubicPath"]


class ControlPath(ABC):
    """A path through data, a polynomial between each two knots.

    Coefficients are one tensor, so that a data loader can keep and batch them: compute them once, and build the path of
    a batch with `from_coefficients`. Everything is differentiable in the data and in the times.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Missing values are NaN.
        times: Times of the observations, shape ``(length,)``, increasing; None for ``0, 1, ..., length - 1``.

    Attributes:
        times: The knots, shape ``(knots,)``.
        tables: The tensors ``(batch..., rows, width)`` that the path is read from; the first holds the coefficients.

    Raises:
        TypeError: An argument is no tensor of floating point.
        ValueError: The shapes do not fit, or the times do not increase.
    """

    #: whether the derivative jumps at the knots
    derivative_jumps: ClassVar[bool] = False
    #: coefficients of one channel in a row
    _per_channel: ClassVar[int] = 1
    #: knots less rows of coefficients
    _fewer: ClassVar[int] = 0

    def __init__(self, x: Tensor, times: Any = None) -> None:
        x, times = check_series(x, times)
        self._set(self._tables(self._fit(x, times), times), times)

    @classmethod
    def from_coefficients(cls, coefficients: Tensor, times: Any = None) -> Self:
        """Return the path with given coefficients.

        Args:
            coefficients: What `coefficients` of a path of this kind holds, or a batch or a part of it.
            times: Its knots; None for ``0, 1, ...``.

        Raises:
            TypeError: The coefficients are no tensor of floating point.
            ValueError: The shapes do not fit, or the times do not increase.
        """
        if not isinstance(coefficients, Tensor) or not coefficients.is_floating_point():
            raise TypeError(f"coefficients must be a tensor of floating point, but is a {type(coefficients).__name__}.")
        shape = tuple(coefficients.shape)
        if len(shape) < 2 or shape[-1] % cls._per_channel or shape[-2] + cls._fewer < 2:
            raise ValueError(
                f"coefficients of a {cls.__name__} must have the shape (batch..., rows, {cls._per_channel} * channels) "
                f"with two knots at least, but have {shape}."
            )
        times = check_times(times, shape[-2] + cls._fewer, coefficients)
        return cls.from_tables(cls._tables(coefficients, times), times)

    @classmethod
    def from_tables(cls, tables: Sequence[Tensor], times: Tensor) -> Self:
        """Return the path of given `tables`, such as some rows of those of another path, and knots, without checks."""
        path = cls.__new__(cls)
        path._set(tuple(tables), times)
        return path

    def _set(self, tables: tuple[Tensor, ...], times: Tensor) -> None:
        self.tables = tables
        self.times = times
        self._inner = times.detach()[1:-1]

    @classmethod
    @abstractmethod
    def _fit(cls, x: Tensor, times: Tensor) -> Tensor:
        """Return the coefficients of checked data."""

    @classmethod
    def _tables(cls, coefficients: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        """Return the coefficients, and what is computed from them once."""
        return (coefficients,)

    @property
    def coefficients(self) -> Tensor:
        """Shape ``(batch..., rows, width)``; what they are depends on the kind of path."""
        return self.tables[0]

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch, in front of length and channels."""
        return self.coefficients.shape[:-2]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.coefficients.shape[-1] // self._per_channel

    @property
    def interval(self) -> Tensor:
        """The first and the last knot, shape ``(2,)``."""
        return self.times[:: len(self.times) - 1]

    @property
    def jump_ts(self) -> list[float]:
        """The inner knots at which the derivative jumps."""
        knots: list[float] = self._inner.tolist()
        return knots if self.derivative_jumps else []

    @abstractmethod
    def evaluate(self, t: Any) -> Tensor:
        """Return the path at times.

        Args:
            t: A number or a 0-d tensor: the value has the shape ``(batch..., channels)``. Shape ``(T,)``:
                ``(batch..., T, channels)``. A time for each row, of more than one axis and a shape that broadcasts with
                ``(batch..., 1)``: ``(batch..., channels)``. Beyond the first and last knot the outermost pieces go on.
        """

    @abstractmethod
    def derivative(self, t: Any) -> Tensor:
        """Return the derivative by time; where it jumps, that from the left (at the first knot from the right).

        Args:
            t: As for `evaluate`, and with the same shapes.
        """

    def piece(self, t: Any) -> tuple[Tensor, Tensor]:
        """Return the indices of the pieces that times fall into, and the times since these began."""
        if not isinstance(t, Tensor) or t.dtype != self.times.dtype or t.device != self.times.device:
            t = torch.as_tensor(t, dtype=self.times.dtype, device=self.times.device)
        # the piece before a knot owns it; the ends of the list are left out, so that the outermost pieces go on
        index = torch.bucketize(t.detach().contiguous(), self._inner)
        since = t - self.times.index_select(0, index.reshape(-1)).reshape(index.shape)
        since = since.to(self.coefficients.dtype)
        return index, since if t.dim() > 1 else since.unsqueeze(-1)

    def _rows(self, table: Tensor, index: Tensor) -> Tensor:
        """Return rows of a table ``(batch..., rows, width)``, with the shape that `evaluate` describes."""
        if index.dim() < 2:
            rows = table.index_select(-2, index.reshape(-1))
            return rows.squeeze(-2) if index.dim() == 0 else rows
        batch = torch.broadcast_shapes(table.shape[:-2], index.shape[:-1])
        index = index.unsqueeze(-1).expand(*batch, 1, table.shape[-1])
        return table.expand(*batch, *table.shape[-2:]).gather(-2, index).squeeze(-2)


class CubicPath(ControlPath):
    """A path of cubic pieces ``a + b s + c s^2 / 2 + d s^3 / 3``, where ``s`` is the time since the piece's first knot.

    A row of coefficients holds ``a``, ``b``, ``c`` and ``d`` of all channels, in this order: those of the derivative
    ``b + c s + d s^2`` lie together, unscaled, because it is what equations ask for.
    """

    _per_channel: ClassVar[int] = 4
    _fewer: ClassVar[int] = 1

    def evaluate(self, t: Any) -> Tensor:
        """See `ControlPath.evaluate`."""
        index, s = self.piece(t)
        a, b, c, d = self._rows(self.coefficients, index).chunk(4, -1)
        return a + s * (b + s * (c / 2 + s * (d / 3)))

    def derivative(self, t: Any) -> Tensor:
        """See `ControlPath.derivative`."""
        index, s = self.piece(t)
        b, c, d = self._rows(self.coefficients[..., self.channels :], index).chunk(3, -1)
        return torch.addcmul(b, s, torch.addcmul(c, s, d))
