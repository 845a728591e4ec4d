"""The tensor-like object that carries Taylor coefficients through unmodified PyTorch code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.taylor.frame import Frame, Lifted
from nde.taylor.onehot import OneHotCoefficient
from nde.taylor.registry import NonFiniteError, find_rule, in_place_error, name_of

__all__ = ["Jet", "belongs", "dispatch", "plain_of", "series_of"]


def _operator(function: Any, reverse: bool = False) -> Callable[[Any, Any], Any]:
    if reverse:
        return lambda self, other: dispatch(function, (other, self), {})
    return lambda self, other: dispatch(function, (self, other), {})


def _single(function: Any) -> Callable[[Any], Any]:
    return lambda self: dispatch(function, (self,), {})


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(self: Any, *args: Any) -> Any:
        raise in_place_error(f"Tensor.{name}")

    return refuse


class Jet:
    """Taylor coefficients of a function along one or many curves, usable where a tensor is.

    ``nde.taylor.jet`` makes jets and returns one. A jet of shape ``S`` stands for the power series
    ``y_v(t) = sum_k c_(k,v) t^k`` of each direction ``v``. Operations of PyTorch on it (functions, methods, operators,
    modules) return jets; comparisons and ``detach`` return tensors made of the primal.

    Attributes:
        frame: What the jets of one evaluation share.
        lifted: The coefficients as rules see them, with a leading axis; None is zero.
    """

    def __init__(self, frame: Frame, lifted: Sequence[Lifted]) -> None:
        self.frame = frame
        self.lifted = lifted

    # What the evaluation returned -------------------------------------------------------------------------------------

    @property
    def order(self) -> int:
        """Highest order carried."""
        return self.frame.order

    @property
    def primal(self) -> Any:
        """The value ``f(x)``, of shape ``S``."""
        return self.lifted[0].squeeze(0)

    def coefficient(self, order: int) -> Any:
        """Return the Taylor coefficient ``c_order = (d/dt)^order y(0) / order!``.

        Shape ``S`` for a single direction, ``(V, *S)`` for ``V`` directions; the collapsed top coefficient has shape
        ``S``, or ``(G, *S)`` where ``weights`` had shape ``(G, V)``.

        Raises:
            ValueError: ``order`` is not in ``0 .. self.order``.
        """
        if not 0 <= order <= self.frame.order:
            raise ValueError(f"order must be in 0 .. {self.frame.order}, the orders of this jet, but is {order}.")
        if order == 0:
            return self.primal
        return self.frame.lowered(self.lifted[order], order, self.lifted[0])

    def derivative(self, order: int) -> Any:
        """Return ``(d/dt)^order y(0)``, which is ``order!`` times the Taylor coefficient; shapes as there."""
        factorial = 1
        for k in range(2, order + 1):  # the compiler knows no math.factorial
            factorial *= k
        coefficient = self.coefficient(order)
        return coefficient if order < 2 else coefficient * factorial

    @property
    def coefficients(self) -> tuple[Any, ...]:
        """All Taylor coefficients, from the primal to the top."""
        return tuple(self.coefficient(order) for order in range(self.frame.order + 1))

    # What makes it tensor-like ----------------------------------------------------------------------------------------

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return dispatch(func, args, kwargs or {})

    @property
    def shape(self) -> torch.Size:
        """Shape of the primal."""
        return self.lifted[0].shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.lifted[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the coefficients are."""
        return self.lifted[0].device

    @property
    def ndim(self) -> int:
        """Number of axes of the primal."""
        return self.lifted[0].ndim - 1

    def dim(self) -> int:
        """Return the number of axes of the primal."""
        return self.lifted[0].ndim - 1

    def size(self, dim: int | None = None) -> Any:
        """Return the primal's shape, or its size along one axis."""
        return self.shape if dim is None else self.shape[dim]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(torch.Tensor, name, None)
        if method is None:
            raise AttributeError(f"a jet has no attribute {name!r}: neither has torch.Tensor")
        if name in _PROPERTIES:
            return dispatch(_PROPERTIES[name], (self,), {})
        if name == "data":
            return self.primal.detach()
        if not callable(method):  # layout, is_nested and the like: nothing that holds values
            value = getattr(self.lifted[0], name)
            if isinstance(value, (Tensor, Jet)):
                raise AttributeError(f"Tensor.{name} of a jet would drop its derivatives. Use jet.primal.{name}.")
            return value
        return functools.partial(call_method, method, self)

    @property
    def T(self) -> Any:
        """The transposed jet."""
        return dispatch(torch.Tensor.permute, (self, *reversed(range(self.ndim))), {})

    @property
    def mT(self) -> Any:
        """The jet with its last two axes swapped."""
        return dispatch(torch.transpose, (self, -2, -1), {})

    @property
    def requires_grad(self) -> bool:
        """Whether the primal is part of a graph."""
        return bool(self.lifted[0].requires_grad)

    @property
    def is_cuda(self) -> bool:
        """Whether the coefficients are on a CUDA device."""
        return bool(self.lifted[0].is_cuda)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a jet without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unbind(0))

    def __bool__(self) -> bool:
        return bool(self.primal)

    def __float__(self) -> float:
        raise TypeError("float() of a jet would drop its derivatives. Use jet.primal, or torch operations.")

    def __repr__(self) -> str:
        return f"Jet(order={self.order}, directions={self.frame.directions}, shape={tuple(self.shape)}, {self.dtype})"

    # Operators ------------------------------------------------------------------------------------------------

    __add__, __radd__ = _operator(torch.add), _operator(torch.add, reverse=True)
    __iadd__ = _refusal("__iadd__")
    __sub__, __rsub__ = _operator(torch.sub), _operator(torch.sub, reverse=True)
    __isub__ = _refusal("__isub__")
    __mul__, __rmul__ = _operator(torch.mul), _operator(torch.mul, reverse=True)
    __imul__ = _refusal("__imul__")
    __truediv__, __rtruediv__ = _operator(torch.true_divide), _operator(torch.true_divide, reverse=True)
    __itruediv__ = _refusal("__itruediv__")
    __pow__, __rpow__ = _operator(torch.pow), _operator(torch.pow, reverse=True)
    __ipow__ = _refusal("__ipow__")
    __matmul__, __rmatmul__ = _operator(torch.matmul), _operator(torch.matmul, reverse=True)
    __imatmul__ = _refusal("__imatmul__")
    __mod__, __rmod__ = _operator(torch.remainder), _operator(torch.remainder, reverse=True)
    __imod__ = _refusal("__imod__")
    __floordiv__, __rfloordiv__ = _operator(torch.floor_divide), _operator(torch.floor_divide, reverse=True)
    __ifloordiv__ = _refusal("__ifloordiv__")
    __eq__ = _operator(torch.eq)
    __ne__ = _operator(torch.ne)
    __lt__ = _operator(torch.lt)
    __le__ = _operator(torch.le)
    __gt__ = _operator(torch.gt)
    __ge__ = _operator(torch.ge)
    __neg__, __pos__, __abs__ = _single(torch.neg), _single(torch.positive), _single(torch.abs)
    __getitem__ = _operator(torch.Tensor.__getitem__)
    __setitem__ = _refusal("__setitem__")
    __hash__ = object.__hash__


_PROPERTIES: dict[str, Any] = {"real": torch.real, "imag": torch.imag, "mH": torch.adjoint, "H": torch.adjoint}


def call_method(method: Any, jet: Jet, *args: Any, **kwargs: Any) -> Any:
    """Call a method of ``torch.Tensor`` on a jet."""
    return dispatch(method, (jet, *args), kwargs)


def deepest_frame(values: Any, found: Frame | None = None) -> Frame | None:
    """Return the frame of the innermost evaluation among (nested sequences of) arguments.

    Raises:
        ValueError: Jets of two evaluations that are not nested meet.
    """
    for value in values:
        if isinstance(value, Jet):
            frame = value.frame
            if found is None or frame.level > found.level:
                found = frame
            elif frame is not found and frame.level == found.level:
                raise ValueError(
                    "jets of two evaluations meet in one operation. Evaluate both functions in one call of "
                    "nde.taylor.jet, or combine their coefficients."
                )
        elif isinstance(value, (tuple, list)):
            found = deepest_frame(value, found)
    return found


def dispatch(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Apply a function's rule to arguments among which there is a jet."""
    rule = find_rule(function)
    if "out" in kwargs:
        kwargs = dict(kwargs)
        if kwargs.pop("out") is not None:
            raise in_place_error(f"{name_of(function)} with out=")
    frame = deepest_frame(args)
    if kwargs:
        frame = deepest_frame(kwargs.values(), frame)
    result = rule(frame, *args, **kwargs)
    if frame is not None and frame.check_finite:
        check_finite(result, name_of(function))
    return result


def check_finite(result: Any, source: str) -> None:
    """Raise NonFiniteError where a coefficient of a jet (or of one of several) is not finite.

    Raises:
        NonFiniteError: It names the source, the order and the first index.
    """
    if isinstance(result, (tuple, list)):
        for part in result:
            check_finite(part, source)
    if not isinstance(result, Jet):
        return
    for order, coefficient in enumerate(result.lifted):
        value = coefficient.dense() if isinstance(coefficient, OneHotCoefficient) else coefficient
        if not isinstance(value, Tensor) or bool(torch.isfinite(value).all()):
            continue
        place = tuple(int(i) for i in torch.nonzero(~torch.isfinite(value))[0][1:])
        raise NonFiniteError(
            f"{source} gave a coefficient of order {order} that is not finite, at {place} of shape "
            f"{tuple(result.shape)}. "
            "Move the points away from the singularity, or write the function so that it is smooth there."
        )


def belongs(frame: Frame, value: Any) -> bool:
    """Whether a value is a jet of this frame; everything else is a constant to it."""
    return isinstance(value, Jet) and value.frame is frame


def plain_of(value: Any) -> Any:
    """Return the tensor of values of a jet, out of the graph, where only its order matters; a tensor as it is."""
    while isinstance(value, Jet):
        value = value.primal
    return value.detach()


def series_of(frame: Frame, value: Any) -> Sequence[Lifted]:
    """Return the coefficients of a jet of this frame, or the series of a constant."""
    if belongs(frame, value):
        return value.lifted
    return [value] + [None] * frame.order
