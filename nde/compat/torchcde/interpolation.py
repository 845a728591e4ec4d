"""torchcde's paths: modules around those of `nde.controls`."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nde.controls import ControlPath, LinearPath, NaturalCubicPath

__all__ = ["CubicSpline", "InterpolationBase", "LinearInterpolation", "NaturalCubicSpline"]


class InterpolationBase(nn.Module, metaclass=abc.ABCMeta):
    """What a control offers."""

    @property
    @abc.abstractmethod
    def grid_points(self) -> Tensor:
        """The knots, shape ``(length,)``."""

    @property
    @abc.abstractmethod
    def interval(self) -> Tensor:
        """The first and the last knot, shape ``(2,)``."""

    @abc.abstractmethod
    def evaluate(self, t: Any) -> Tensor:
        """Return the path at times of any shape: ``(..., *t.shape, channels)``."""

    @abc.abstractmethod
    def derivative(self, t: Any) -> Tensor:
        """Return the derivative at times of any shape: ``(..., *t.shape, channels)``."""


class _Interpolation(InterpolationBase):
    _kind: ClassVar[type[ControlPath]]

    def __init__(self, coeffs: Tensor, t: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        path = self._kind.from_coefficients(coeffs, t)
        # buffers, so that the module moves between devices and dtypes
        self.register_buffer("_t", path.times)
        for index, table in enumerate(path.tables):
            self.register_buffer(f"_table{index}", table)
        self._names = [f"_table{index}" for index in range(len(path.tables))]

    @property
    def _path(self) -> ControlPath:
        buffers: Any = self._buffers
        return self._kind.from_tables([buffers[name] for name in self._names], buffers["_t"])

    @property
    def grid_points(self) -> Tensor:
        """The knots, shape ``(length,)``."""
        return self._path.times

    @property
    def interval(self) -> Tensor:
        """The first and the last knot, shape ``(2,)``."""
        return self._path.interval

    def evaluate(self, t: Any) -> Tensor:
        """Return the path at times of any shape: ``(..., *t.shape, channels)``."""
        return self._at(self._path.evaluate, t)

    def derivative(self, t: Any) -> Tensor:
        """Return the derivative at times of any shape: ``(..., *t.shape, channels)``."""
        return self._at(self._path.derivative, t)

    @staticmethod
    def _at(function: Any, t: Any) -> Tensor:
        if not isinstance(t, Tensor):
            t = torch.as_tensor(t, dtype=torch.float64)
        value: Tensor = function(t if t.dim() < 2 else t.reshape(-1))
        return value if t.dim() < 2 else value.unflatten(-2, t.shape)

    def _interpret_t(self, t: Any) -> tuple[Tensor, Tensor]:
        index, since = self._path.piece(torch.as_tensor(t))
        return since.squeeze(-1), index


class LinearInterpolation(_Interpolation):
    """Straight lines through values.

    Args:
        coeffs: What `linear_interpolation_coeffs` returned.
        t: The times that it was given.
    """

    _kind = LinearPath


class CubicSpline(_Interpolation):
    """A path of cubic pieces.

    Args:
        coeffs: What `natural_cubic_coeffs` or `hermite_cubic_coefficients_with_backward_differences` returned.
        t: The times that it was given.

    Raises:
        ValueError: The width of ``coeffs`` is no multiple of 4.
    """

    # how coefficients were made is of no concern to what reads them
    _kind = NaturalCubicPath


class NaturalCubicSpline(CubicSpline):
    """The same as `CubicSpline`; deprecated in torchcde."""
