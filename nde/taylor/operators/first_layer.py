"""Networks that begin with a linear map: an operator of second order only sees the map's Gram matrix.

For ``f = rest o W`` with ``W`` of shape ``(h, d)``, ``sum_i D^2 f[a_i, a_i] = sum_j D^2 rest[l_j, l_j]`` with any
``L L^T = W A A^T W^T``: ``h`` directions instead of ``d``, exact, whatever ``d`` is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nde.taylor.operators.frames import CoordinateFrame

__all__ = ["Compressed", "SharedLinear", "compress", "first_width", "split_first_layer"]


class SharedLinear(nn.Module):
    """A linear map of very many inputs with weights shared by blocks: ``z = W (K x) + b``.

    ``K`` is a convolution with one filter of ``block`` entries and the same stride, so that ``d / block * h + block``
    weights do the work of ``d * h``.

    Args:
        inputs: ``d``.
        outputs: ``h``.
        block: Length of the blocks, a divisor of ``d``.

    Raises:
        ValueError: The block does not divide the inputs.

    Source:
        Shi, Hu, Lin, Kawaguchi, Stochastic Taylor Derivative Estimator (2024), appendix on weight sharing, without its
        activation between the two maps.
    """

    def __init__(self, inputs: int, outputs: int, block: int) -> None:
        super().__init__()
        if block < 1 or inputs % block:
            raise ValueError(f"block must divide inputs={inputs}, but is {block}.")
        self.block = block
        self.filter = nn.Parameter(torch.full((block,), block**-0.5))
        self.linear = nn.Linear(inputs // block, outputs)

    def forward(self, x: Any) -> Any:
        """Return ``W (K x) + b``."""
        blocks = x.reshape(*x.shape[:-1], x.shape[-1] // self.block, self.block)
        return self.linear(torch.matmul(blocks, self.filter))

    def gram(self) -> Tensor:
        """Return the Gram matrix ``W K K^T W^T``, shape ``(h, h)``."""
        return self.linear.weight @ self.linear.weight.T * self.filter.square().sum()


class Compressed(NamedTuple):
    """A function in the space behind its first linear map.

    Attributes:
        rest: What follows the map.
        z: The images of the points.
        matrix: Shape ``(h, r)``: the columns that are left.
        push: Maps vectors ``(..., d)`` by the linear part of the map.
    """

    rest: Callable[[Any], Any]
    z: Tensor
    matrix: Tensor
    push: Callable[[Tensor], Tensor]


def split_first_layer(f: Any) -> tuple[nn.Module, Callable[[Any], Any]] | None:
    """Return the first linear map of a network and what follows, where the network shows them.

    It does if it is an ``nn.Sequential`` that begins with an ``nn.Linear`` or with a module that has a method ``gram``.
    """
    if isinstance(f, nn.Sequential) and len(f) > 1 and (isinstance(f[0], nn.Linear) or hasattr(f[0], "gram")):
        return f[0], f[1:]
    return None


def first_width(f: Any) -> int | None:
    """Return the number of directions that compression leaves at most, or None where it is not possible."""
    split = split_first_layer(f)
    if split is None:
        return None
    first = split[0]
    if isinstance(first, nn.Linear):
        return first.out_features
    inner = getattr(first, "linear", None)
    return inner.out_features if isinstance(inner, nn.Linear) else getattr(first, "out_features", None)


def compress(f: Any, x: Any, frame: CoordinateFrame | Tensor) -> Compressed:
    """Return a function behind its first linear map, with the columns that stand for those of the frame.

    Args:
        f: See `split_first_layer`.
        x: Points.
        frame: Coordinate axes, or a matrix of shape ``(d, r)`` whose columns are meant.

    Raises:
        ValueError: The function does not begin with a linear map, or the map cannot be restricted to some axes.
    """
    split = split_first_layer(f)
    if split is None:
        raise ValueError(
            'mode="rank" needs a network that begins with a linear map: an nn.Sequential whose first module is an '
            f"nn.Linear or has a method gram() (as SharedLinear has), but f is a {type(f).__name__}. Write it as "
            "nn.Sequential(first, rest), give a factor that vanishes on the boundary as envelope=, or choose "
            'mode="exact".'
        )
    first, rest = split
    z = first(x)

    def push(vectors: Tensor) -> Tensor:
        if vectors is x and isinstance(first, nn.Linear):
            return z if first.bias is None else z - first.bias
        if isinstance(first, nn.Linear):
            return nn.functional.linear(vectors, first.weight)
        image = z if vectors is x else first(vectors)  # at a million coordinates this is most of a step
        return image - first(vectors.new_zeros(vectors.shape[-1]))

    return Compressed(rest, z, _columns_behind(first, push, frame), push)


def _columns_behind(first: nn.Module, push: Callable[[Tensor], Tensor], frame: CoordinateFrame | Tensor) -> Tensor:
    if isinstance(frame, Tensor):
        image = push(frame.T).T
        return image if image.shape[1] <= image.shape[0] else _factor(image @ image.T)
    if isinstance(first, nn.Linear):
        weight = first.weight if frame.axes is None else first.weight.index_select(1, frame.axes)
        return weight if weight.shape[1] <= weight.shape[0] else _factor(weight @ weight.T)
    if frame.axes is not None:
        raise ValueError(
            f'mode="rank" with axes= needs a network that begins with an nn.Linear, not {type(first).__name__}.'
        )
    return _factor(first.gram())  # type: ignore[operator]


def _factor(gram: Tensor) -> Tensor:
    """Return a lower triangular ``L`` with ``L L^T`` the Gram matrix, up to its own rounding.

    The factor is taken in float64, which costs nothing at ``h x h``; a matrix of lower rank is lifted by its rounding
    error.
    """
    wide = gram.double()
    size = gram.shape[0]
    lift = torch.finfo(gram.dtype).eps * wide.detach().diagonal().mean()
    eye = torch.eye(size, dtype=wide.dtype, device=wide.device)
    for power in range(4):
        factor, info = torch.linalg.cholesky_ex(wide + eye * (lift * size**power / size))
        if int(info) == 0:
            return factor.to(gram.dtype)
    raise FloatingPointError(
        "the Gram matrix of the first layer is not positive semi-definite: its weights are not finite or all zero. "
        'Look at the first layer, or choose another mode than "rank".'
    )
