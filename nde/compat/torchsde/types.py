"""The names of types that programs import from ``torchsde.types``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Dict, Optional, Tuple, Union  # noqa: UP035 - handed on under these names

import torch

__all__ = [
    "Any",
    "Callable",
    "Dict",
    "Module",
    "ModuleOrModules",
    "Modules",
    "Optional",
    "Scalar",
    "Sequence",
    "Size",
    "Sizes",
    "Tensor",
    "TensorOrTensors",
    "Tensors",
    "Tuple",
    "Union",
    "Vector",
]

Tensor = torch.Tensor
Tensors = Sequence[Tensor]
TensorOrTensors = Tensor | Tensors

Scalar = float | Tensor
Vector = Sequence[float] | Tensor

Module = torch.nn.Module
Modules = Sequence[Module]
ModuleOrModules = Module | Modules

Size = torch.Size
Sizes = Sequence[Size]
