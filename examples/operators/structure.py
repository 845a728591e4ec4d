"""What of a problem's outputs lies beyond the waves that a spectral convolution keeps, and how local it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

__all__ = ["Structure", "fine_structure"]

REACH = 2  # cells to each side that neighbours are


@dataclass(frozen=True)
class Structure:
    """Structure of outputs finer than the kept waves.

    Attributes:
        beyond: Its norm over that of the outputs: the relative error of the best field made of the kept waves.
        own: The part of that norm that no linear function of the input at the same point explains.
        near: The part that no linear function of the input at the 5 x 5 points around it explains.
    """

    beyond: float
    own: float
    near: float


def fine_structure(train: TensorDataset, test: TensorDataset, modes: int, periodic: bool) -> Structure:
    """Measure the structure of ``test``; what explains it is fitted to ``train``.

    Args:
        train, test: Inputs and outputs, each of shape ``(samples, channels, points, points)``.
        modes: Waves along each axis that are kept.
        periodic: Whether the box is; beyond walls, fields are continued by their values there.
    """
    outputs = test.tensors[1]
    fine = _beyond(outputs, modes)
    left = []
    for reach in (0, REACH):
        features, wanted = _neighbours(train.tensors[0], reach, periodic), _rows(_beyond(train.tensors[1], modes))
        # neighbours in smooth fields are nearly equal: without a ridge, rounding decides
        squares = features.t() @ features
        ridge = 1e-8 * squares.trace() * torch.eye(len(squares), dtype=squares.dtype)
        solution = torch.linalg.solve(squares + ridge, features.t() @ wanted)
        rest = _rows(fine) - _neighbours(test.tensors[0], reach, periodic) @ solution
        left.append(float(rest.norm() / fine.norm()))
    return Structure(float(fine.norm() / outputs.norm()), *left)


def _beyond(field: Tensor, modes: int) -> Tensor:
    rows, columns = field.shape[-2:]
    vertical = (torch.fft.fftfreq(rows) * rows).abs()[:, None] <= modes + 0.5
    horizontal = (torch.fft.rfftfreq(columns) * columns)[None] <= modes + 0.5
    kept = torch.fft.rfft2(field) * (vertical & horizontal)
    return field - torch.fft.irfft2(kept, s=(rows, columns))


def _rows(field: Tensor) -> Tensor:
    """From ``(samples, channels, ...)`` to one row for each point."""
    return field.flatten(2).transpose(1, 2).flatten(0, 1).double()


def _neighbours(field: Tensor, reach: int, periodic: bool) -> Tensor:
    padded = functional.pad(field, (reach,) * 4, mode="circular" if periodic else "replicate")
    patches = _rows(functional.unfold(padded, 2 * reach + 1))
    return torch.cat([patches, torch.ones(len(patches), 1)], 1).double()
