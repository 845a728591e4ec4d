"""Batched Jacobians: one block per sample, at the cost of one sample.

`RowsView` shows a field of either state layout as a function of rows, one per sample; `row_jacobian` differentiates it
in reverse mode, which every field supports that can be trained, or by
differences where there is no tape. Implicit steps use both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.solvers.transforms import reject_vmap, transforms_active

__all__ = ["RowsView", "row_jacobian"]

# from here on, pulling all cotangents back in one vectorised call pays for its overhead
_VECTORISE_FROM = 16


class RowsView:
    """A field as a function ``(t, rows) -> rows``.

    Args:
        field: The field, in the layout of ``y``.
        y: State: flat, shape ``(size,)``, or already one row per sample, shape ``(n, m)``.
        together: Whether a flat state is one row, because its samples interact.

    Attributes:
        independent: Whether rows are known not to interact, if only because there is one.
        shape: Shape ``(n, m)`` of the rows.
    """

    def __init__(self, field: Callable[[Any, Tensor], Tensor], y: Tensor, together: bool = False) -> None:
        self.field = field
        structure = field.structure  # type: ignore[attr-defined]
        self._parts: list[int] | None = None
        self._is_rows = y.dim() == 2
        batch = None if together or self._is_rows else structure.batch()
        self.independent = batch is None or batch == 1
        if self._is_rows:
            self.shape = (y.shape[0], y.shape[1])
        elif batch is None:
            self.shape = (1, y.shape[0])
        else:
            self.shape = (batch, y.shape[0] // batch)
            if len(structure.leaves) > 1:
                self._parts = [leaf.size // batch for leaf in structure.leaves]

    def to_rows(self, flat: Tensor) -> Tensor:
        """Return a state as rows."""
        if self._is_rows:
            return flat
        if self._parts is None:
            return flat.reshape(self.shape)
        count = self.shape[0]
        leaves = flat.split([count * part for part in self._parts], -1)
        return torch.cat([leaf.reshape(count, -1) for leaf in leaves], 1)

    def from_rows(self, rows: Tensor) -> Tensor:
        """Return rows as a state."""
        if self._is_rows:
            return rows
        if self._parts is None:
            return rows.reshape(-1)
        return torch.cat([part.reshape(-1) for part in rows.split(self._parts, 1)])

    def __call__(self, t: Any, rows: Tensor) -> Tensor:
        """Evaluate the field at rows."""
        return self.to_rows(self.field(t, self.from_rows(rows)))


def row_jacobian(view: RowsView, t: Any, rows: Tensor) -> Tensor | None:
    """Return the Jacobian of every row with respect to itself, or None if rows interact.

    Costs one evaluation and ``m + 1`` backward passes of the batched field, whatever the number of rows. That rows do
    not interact is checked with one random cotangent: its product with the whole Jacobian must be that with the blocks.

    Args:
        view: The field.
        t: Time.
        rows: State, shape ``(n, m)``; a constant.

    Returns:
        Shape ``(n, m, m)``, entry ``[n, i, j]`` the derivative of component ``i`` with respect to ``j``.

    Raises:
        RuntimeError: The field's values are batched by ``torch.func.vmap``.
    """
    count, size = view.shape
    value, pull = _linearize(lambda point: view(t, point), rows)
    reject_vmap(value)
    checks = not view.independent
    if pull is None:
        return _by_differences(view, t, rows, value, checks)
    units = torch.eye(size, dtype=rows.dtype, device=rows.device)
    # one unit cotangent for all rows at once: its pullback is row i of every block, unless rows interact
    if size >= _VECTORISE_FROM and not transforms_active():
        try:
            jacobian = pull(units.unsqueeze(1).expand(size, count, size), True)
        except RuntimeError:  # an operation of the field has no rule for vmap
            jacobian = torch.stack([pull(unit.expand(count, size), False) for unit in units])
    else:
        jacobian = torch.stack([pull(unit.expand(count, size), False) for unit in units])
    jacobian = jacobian.transpose(0, 1)
    if checks:
        # a generator of its own: the user's random numbers stay as they are, and a step is a function of its arguments
        cotangent = _random_like(value)
        whole = pull(cotangent, False)
        parts, sizes = (torch.einsum("nij,ni->nj", *pair) for pair in _with_moduli(jacobian, cotangent))
        # weaker coupling than this only slows Newton's iteration down, and does not change what it converges to
        if _differ(whole, parts, sizes, torch.finfo(value.dtype).eps ** 0.5):
            return None
    return jacobian


def _by_differences(view: RowsView, t: Any, rows: Tensor, value: Tensor, checks: bool) -> Tensor | None:
    """Return the same by finite differences, for a field that computes outside of autograd."""
    eps = torch.finfo(rows.dtype).eps
    scale = rows.abs().amax(1, keepdim=True)
    width = eps**0.5 * torch.where(scale > 0, scale, 1.0)
    units = torch.eye(view.shape[1], dtype=rows.dtype, device=rows.device)
    jacobian = torch.stack([(view(t, rows + width * unit) - value) / width for unit in units], 2)
    if checks:
        direction = _random_like(value)
        whole = (view(t, rows + width * direction) - value) / width
        parts, sizes = (torch.einsum("nij,nj->ni", *pair) for pair in _with_moduli(jacobian, direction))
        # differences are good to half the digits, and cancellation in the field may cost half of these
        if _differ(whole, parts, sizes, eps**0.25):
            return None
    return jacobian


def _random_like(value: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)


def _with_moduli(jacobian: Tensor, vector: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (jacobian, vector), (jacobian.abs(), vector.abs())


def _differ(whole: Tensor, parts: Tensor, sizes: Tensor, share: float) -> bool:
    """Return whether two products differ by more than a share of their sizes; rows that are not finite say nothing."""
    difference = (whole - parts).abs()
    finite = difference.isfinite().all(1) & sizes.isfinite().all(1)
    if not bool(finite.any()):
        return False
    return bool((difference[finite] > share * sizes[finite].amax()).any())


def _linearize(
    function: Callable[[Tensor], Tensor], point: Tensor
) -> tuple[Tensor, Callable[[Tensor, bool], Tensor] | None]:
    """Return the value, and the pullback of cotangents (of many at once if its second argument is set)."""
    if transforms_active():
        found, pull_one, *_ = torch.func.vjp(function, point)
        return found, lambda cotangent, _: pull_one(cotangent)[0]
    with torch.enable_grad():
        leaf = point.detach().requires_grad_()
        value = function(leaf)
    if not value.requires_grad:
        return value, None

    def pull(cotangent: Tensor, many: bool) -> Tensor:
        (grad,) = torch.autograd.grad(
            value, leaf, cotangent, retain_graph=True, materialize_grads=True, is_grads_batched=many
        )
        return grad

    return value.detach(), pull
