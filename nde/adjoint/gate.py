"""A gate in the tape, for derivatives of derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Gate"]


class Gate(torch.autograd.Function):
    """The identity, whose gradient can be shut off for a while."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gate: list[bool]) -> Tensor:
        """Return the value; ``gate[0]`` says, at the time of the backward pass, whether gradients pass."""
        ctx.gate = gate
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, None]:
        """Return the cotangent where the gate is open."""
        return (cotangents[0] if ctx.gate[0] else None), None
