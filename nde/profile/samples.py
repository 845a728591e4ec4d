"""Which sample of a batch a step was hardest for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nde.solvers.method import StepResult

__all__ = ["worst_sample"]


@torch.no_grad()
def worst_sample(problem: Any, y: Tensor, result: StepResult) -> int:
    """Return the index along the state's first axis with the largest scaled error; -1 where there is none."""
    leaves = problem.structure.leaves
    if result.errors is None or len(leaves) != 1 or len(leaves[0].shape) < 2:
        return -1
    scale = problem.atol + problem.rtol * torch.maximum(y.abs(), result.y1.abs())
    # of two estimates, the first is the one of the higher order
    squares = (result.errors[0] / scale).square().reshape(leaves[0].shape[0], -1).sum(1)
    return int(squares.argmax()) if bool(torch.isfinite(squares).all()) else int((~squares.isfinite()).int().argmax())
