"""What the loaders of published files share: paths that exist, files that can be read, fields that are there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nde.data.shards import CorruptFileError

__all__ = ["existing_file", "named", "opened_hdf5", "read_array"]


def existing_file(path: str | os.PathLike[str], source: str) -> Path:
    """Return a path to a file.

    Args:
        path: Where it should be.
        source: Where it can be had.

    Raises:
        FileNotFoundError: It is not there.
    """
    found = Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"there is no file {found}. It can be had from {source}.")
    return found


@contextlib.contextmanager
def opened_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises:
        ImportError: h5py is not installed.
        CorruptFileError: The file is no HDF5 file, or incomplete.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "HDF5 files need h5py. Install it with pip install h5py, or pip install 'nde[data]'."
        ) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CorruptFileError(f"{path} is no HDF5 file, or incomplete ({error}). Fetch it again.") from error
    with file:
        yield file


def named(group: Any, name: str, path: Path) -> Any:
    """Return an entry of a file.

    Raises:
        CorruptFileError: It has no such entry.
    """
    if name not in group:
        there = ", ".join(map(repr, sorted(group))) or "nothing"
        raise CorruptFileError(f"{path} has no entry {name!r}; it holds {there}. Is it another data set's file?")
    return group[name]


def read_array(entry: Any, path: Path, dimensions: int, count: int | None = None) -> NDArray[Any]:
    """Return the first samples of an entry.

    Raises:
        CorruptFileError: They cannot be read, or have another number of dimensions.
    """
    if len(getattr(entry, "shape", ())) != dimensions:
        raise CorruptFileError(
            f"{path} should hold arrays of {dimensions} dimensions, not of shape {getattr(entry, 'shape', None)}."
        )
    try:
        return np.asarray(entry[: count if count is not None else len(entry)])
    except OSError as error:
        raise CorruptFileError(f"{path} is damaged ({error}). Fetch it again.") from error
