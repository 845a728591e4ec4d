"""Products of a field's Fourier coefficients with one matrix for each wave, fast in both directions.

Left to themselves, torch's batched products of complex matrices fall back to one call for each matrix wherever an
operand is a permuted view or a conjugate, which is all of them here: several times slower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["multiply_waves"]


class _Product(torch.autograd.Function):
    """``a @ b`` for contiguous complex batches."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b = ctx.saved_tensors
        grad = grads[0].contiguous()
        # conjugates are written out, of the smaller operand; transposes are free
        grad_a = (_written_conjugate(grad) @ b.mT).conj() if ctx.needs_input_grad[0] else None
        grad_b = _written_conjugate(a).mT @ grad if ctx.needs_input_grad[1] else None
        return grad_a, grad_b


class _TransformedProduct(_Product):
    """The same for torch.func and forward mode, whose rules torch.compile cannot trace."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        a, b = ctx.saved_tensors
        return tangents[0] @ b + a @ tangents[1]


def _written_conjugate(x: Tensor) -> Tensor:
    return x.conj().resolve_conj()


def multiply_waves(waves: Tensor, kernel: Tensor) -> Tensor:
    """Return the products of Fourier coefficients with a matrix for each wave.

    Args:
        waves: Shape ``(batch, in_channels, waves)``, complex.
        kernel: Shape ``(waves, in_channels, out_channels)``, complex.

    Returns:
        Shape ``(batch, out_channels, waves)``.
    """
    rule = _Product if torch.compiler.is_compiling() else _TransformedProduct
    product: Tensor = rule.apply(waves.permute(2, 0, 1).contiguous(), kernel)
    return product.permute(1, 2, 0).contiguous()
