"""A checkpoint on disk: written as a whole or not at all, read without running anything that is in it."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from nde.files import write_atomically

__all__ = ["CheckpointError", "read_checkpoint", "write_checkpoint"]

_FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another training."""


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state; tensors, numbers, texts and containers of them."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: torch.save({"format": _FORMAT, **state}, file))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a state that `write_checkpoint` wrote, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be read, holds more than data, or is none of ours.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no checkpoint {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint ({error}). Delete it to begin anew.") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of a training of this version. Delete it to begin anew.")
    return state
