"""The Brownian motions of torchsde that begin at a value of their own, the reversed one, and a shorthand."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nde.compat.torchsde.brownian import arguments
from nde.compat.torchsde.brownian.base import BaseBrownian
from nde.compat.torchsde.brownian.interval import BrownianInterval
from nde.compat.torchsde.brownian.unbounded import UnboundedPath
from nde.compat.torchsde.settings import LEVY_AREA_APPROXIMATIONS

__all__ = ["BrownianPath", "BrownianTree", "ReverseBrownian", "brownian_interval_like"]


class _Wrapped(BaseBrownian):
    """A Brownian motion that takes all but its answers from another one."""

    def __init__(self, wrapped: BaseBrownian) -> None:
        self._wrapped = wrapped

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of an increment."""
        return self._wrapped.dtype

    @property
    def device(self) -> torch.device:
        """Where the increments are."""
        return self._wrapped.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an increment."""
        return self._wrapped.shape

    @property
    def levy_area_approximation(self) -> str:
        """The kind of Levy area."""
        return self._wrapped.levy_area_approximation


class ReverseBrownian(_Wrapped):
    """A Brownian motion asked for with times of the opposite sign: ``(ta, tb)`` is ``(-tb, -ta)`` of the other one.

    As in torchsde, the increments keep their signs: the equation that is solved backwards turns its own.

    Args:
        base_brownian: The other one.
    """

    def __init__(self, base_brownian: BaseBrownian) -> None:
        super().__init__(base_brownian)
        self.base_brownian = base_brownian

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        """Return what the other one does from ``-tb`` to ``-ta``; see ``BaseBrownian``.

        Raises:
            TypeError: ``tb`` is None.
        """
        if tb is None:
            raise TypeError("tb must be given: a reversed Brownian motion has no start to count from.")
        return self.base_brownian(-tb, -ta, return_U=return_U, return_A=return_A)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_brownian={self.base_brownian})"


class BrownianTree(_Wrapped):
    """A Brownian motion on ``[t0, t1]`` that begins at ``w0`` and, if it is given, ends at ``w1``.

    Args:
        t0: Start of the span.
        w0: Value at the start; says shape, dtype and device.
        t1: End of the span; default ``t0 + 1``.
        w1: Value at the end; default random.
        entropy: As ``BrownianInterval``'s.
        tol: Length of time that the motion is resolved to, positive.
        pool_size: As ``BrownianInterval``'s.
        cache_depth, safety: Taken for torchsde's sake.

    Raises:
        TypeError, ValueError: An argument is none of these.
    """

    def __init__(
        self,
        t0: Any,
        w0: Tensor,
        t1: Any = None,
        w1: Tensor | None = None,
        entropy: Any = None,
        tol: Any = 1e-6,
        pool_size: int = 24,
        cache_depth: int = 9,
        safety: float | None = None,
    ) -> None:
        _check_start(w0)
        self._w0 = w0
        self._interval = BrownianInterval(
            t0=t0,
            t1=arguments.check_time(t0, "t0") + 1.0 if t1 is None else t1,
            size=w0.shape,
            dtype=w0.dtype,
            device=w0.device,
            entropy=entropy,
            tol=tol,
            pool_size=pool_size,
            halfway_tree=True,
            W=None if w1 is None else w1 - w0,
        )
        super().__init__(self._interval)

    def __call__(self, t: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        """Return the value at ``t`` or, with ``tb``, the increment from ``t`` to it; see ``BrownianInterval``."""
        found = self._interval(t, tb, return_U=return_U, return_A=return_A)
        return found + self._w0 if tb is None and not (return_U or return_A) else found

    def __repr__(self) -> str:
        return f"{type(self).__name__}(interval={self._interval})"


class BrownianPath(BaseBrownian):
    """A Brownian motion that begins at ``w0`` and has no end.

    Where torchsde's stops one unit of time after ``t0``, this one goes on, before ``t0`` too. Memory grows with the
    logarithm of the largest time asked for.

    Args:
        t0: Time of ``w0``.
        w0: Value there; says shape, dtype and device.
        window_size: Taken for torchsde's sake.

    Raises:
        TypeError, ValueError: An argument is none of these.
    """

    def __init__(self, t0: Any, w0: Tensor, window_size: int = 8) -> None:
        _check_start(w0)
        self._w0 = w0
        self._t0 = arguments.check_time(t0, "t0")
        self._entropy = arguments.new_entropy()
        half = w0.dtype not in (torch.float32, torch.float64)
        dtype = torch.float32 if half else w0.dtype
        self._path = UnboundedPath(self._t0, tuple(w0.shape), self._entropy, dtype, w0.device)

    def __call__(self, t: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        """Return the value at ``t`` or, with ``tb``, the increment from ``t`` to it.

        Args:
            t, tb: Numbers or tensors of one element, ``t <= tb``.
            return_U, return_A: Also return None for each, as nothing but the increment is known.

        Raises:
            ValueError: A time is not finite.
            RuntimeError: ``t > tb``.
        """
        if tb is None:
            arguments.warn_of_point(self)
            start, end = self._t0, arguments.check_time(t, "t")
        else:
            start, end = arguments.check_time(t, "t"), arguments.check_time(tb, "tb")
            if start > end:
                raise RuntimeError(f"t must not be after tb, but t = {start:.10g} and tb = {end:.10g}.")
        if start == end or math.prod(self.shape) == 0:
            w = torch.zeros_like(self._w0, requires_grad=False)
        else:
            w = self._path(start, end) if start < end else -self._path(end, start)
            w = w.to(self.dtype)
        if return_U or return_A:
            return (w, None, None) if return_U and return_A else (w, None)
        return w + self._w0 if tb is None else w

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(t0={self._t0:.3f}, size={self.shape}, dtype={self.dtype}, "
            f"device={self.device!r}, entropy={self._entropy})"
        )

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of an increment."""
        return self._w0.dtype

    @property
    def device(self) -> torch.device:
        """Where the increments are."""
        return self._w0.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an increment."""
        return tuple(self._w0.shape)

    @property
    def levy_area_approximation(self) -> str:
        """The kind of Levy area: none."""
        return LEVY_AREA_APPROXIMATIONS.none


def _check_start(w0: Any) -> None:
    if not isinstance(w0, Tensor):
        raise TypeError(f"w0 must be a tensor, whose shape is that of an increment, but is {w0!r}.")
    if not w0.is_floating_point():
        raise ValueError(f"w0 must be a floating-point tensor, but has dtype {w0.dtype}.")


def brownian_interval_like(
    y: Tensor,
    t0: Any = 0.0,
    t1: Any = 1.0,
    size: Any = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> BrownianInterval:
    """Return a ``BrownianInterval`` whose increments have the shape, dtype and device of a tensor.

    Args:
        y: The tensor.
        t0, t1: The span.
        size, dtype, device: In place of the tensor's.
        kwargs: More arguments of ``BrownianInterval``.
    """
    return BrownianInterval(
        t0=t0,
        t1=t1,
        size=y.shape if size is None else size,
        dtype=y.dtype if dtype is None else dtype,
        device=y.device if device is None else device,
        **kwargs,
    )
