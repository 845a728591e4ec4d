"""Residual networks that begin as the discretisation of a neural ODE, and how far from one they are."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nde import validation
from nde.models.layer import check_size

__all__ = ["ResidualNetwork"]


class ResidualNetwork(nn.Module):
    """A residual network ``y <- y + h block_l(t_l, y)``, Euler's method for a field whose weights depend on the time.

    Blocks begin with the weights of one field, so that the network is the discretisation of a neural ODE. Marion, Wu,
    Sander, Biau (2024), Implicit regularization of deep residual networks towards neural ODEs, prove for such networks
    that gradient descent keeps the weights smooth in depth; `lipschitz` and `distance` tell for a trained one.

    Args:
        field: An ``nn.Module`` ``(t, y, *args)``, of which every block is a copy.
        blocks: Number of blocks.
        span: First and last time; ``h`` is its length over the number of blocks.

    Raises:
        TypeError: The field is no module, or the number no integer.
        ValueError: The number is not positive, or the span is empty.
    """

    def __init__(self, field: nn.Module, blocks: int, span: Sequence[float] = (0.0, 1.0)) -> None:
        super().__init__()
        if not isinstance(field, nn.Module):
            raise TypeError(f"field must be an nn.Module, of which blocks are copies, but is a {type(field).__name__}.")
        check_size(blocks, "blocks")
        start, end = (float(time) for time in span)
        if not (math.isfinite(start) and math.isfinite(end) and start != end):
            raise ValueError(f"span must be two different times, but is {span!r}.")
        self.start = start
        self.h = (end - start) / blocks
        self.blocks = nn.ModuleList([copy.deepcopy(field) for _ in range(blocks)])

    def forward(self, y: Tensor, args: tuple[Any, ...] = ()) -> Tensor:
        """Return the last state, of the shape of ``y``.

        Args:
            y: The first state, of any shape that the field takes.
            args: Further arguments of the blocks.
        """
        validation.check_args(args)
        for index, block in enumerate(self.blocks):
            t = torch.as_tensor(self.start + index * self.h, dtype=y.dtype, device=y.device)
            y = y + self.h * block(t, y, *args)
        return y

    def smooth_field(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        """Return the slopes of the neural ODE whose weights are those of the blocks, interpolated linearly in time.

        A field for `nde.solve_ode`, with ``t`` a 0-d tensor: of a network near a neural ODE, the solution is the
        network's output up to an error of the size ``h``.
        """
        place = min(max((float(t.detach()) - self.start) / self.h, 0.0), len(self.blocks) - 1.0)
        lower = min(int(place), max(len(self.blocks) - 2, 0))
        upper = min(lower + 1, len(self.blocks) - 1)
        first, second = (dict(self.blocks[index].named_parameters()) for index in (lower, upper))
        weights = {name: torch.lerp(first[name], second[name], place - lower) for name in first}
        value: Tensor = torch.func.functional_call(self.blocks[lower], weights, (t, y, *args))
        return value

    def lipschitz(self) -> Tensor:
        """Return the largest change of the weights from block to block per unit of time, a 0-d tensor.

        It stays bounded as networks of more blocks are trained if, and only if, their weights tend to a path in time
        that is Lipschitz continuous; with weights drawn for each block, it grows like the number of blocks. Zero for a
        single block.
        """
        weights = self._weights()
        if len(weights) == 1:
            return weights.new_zeros(())
        changes = [(later - earlier).norm() for earlier, later in itertools.pairwise(weights)]
        return torch.stack(changes).max() / abs(self.h)

    def distance(self, degree: int = 3) -> Tensor:
        """Return the distance of the weights from a smooth path in depth, relative to their size, a 0-d tensor.

        The path is the polynomial of the degree that fits the weights best. Zero for blocks that are alike; about
        ``sqrt(1 - (degree + 1) / blocks)`` for weights drawn independently for each.

        Args:
            degree: Degree of the polynomial.

        Raises:
            TypeError: The degree is no integer.
            ValueError: It is not positive, or there are not more blocks than coefficients.
        """
        check_size(degree, "degree")
        weights = self._weights()
        if len(weights) <= degree + 1:
            raise ValueError(
                f"degree must be smaller than the number of blocks less one, but is {degree} for {len(weights)} blocks."
            )
        depth = torch.linspace(-1, 1, len(weights), dtype=weights.dtype, device=weights.device)
        # an orthonormal basis of the polynomials at the blocks' places
        basis = torch.linalg.qr(depth.unsqueeze(1) ** torch.arange(degree + 1, device=weights.device)).Q
        rest = weights - basis @ (basis.T @ weights)
        return rest.norm() / weights.norm().clamp_min(torch.finfo(weights.dtype).tiny)

    def extra_repr(self) -> str:
        """Describe the discretisation in ``repr``."""
        return f"blocks={len(self.blocks)}, h={self.h:g}"

    def _weights(self) -> Tensor:
        """Return the weights of all blocks, shape ``(blocks, size)``."""
        return torch.stack([nn.utils.parameters_to_vector(block.parameters()) for block in self.blocks])
