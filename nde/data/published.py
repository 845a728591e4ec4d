"""Loaders of published files from a local path: PDEBench and ConDiff (HDF5), files of the first FNO article (.mat).

They read no more samples than they are asked for, and put fields into the axes that all data here have: ``(samples,
channels, *space)``, or ``(samples, times, channels, *space)``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nde.data.checks import check_count
from nde.data.dataset import Dataset
from nde.data.files import existing_file, named, opened_hdf5, read_array
from nde.data.shards import CorruptFileError

__all__ = ["load_condiff", "load_fno", "load_pdebench"]

_COORDINATES = ("x-coordinate", "y-coordinate", "z-coordinate", "t-coordinate")
_FLUID_FIELDS = ("density", "pressure", "Vx", "Vy", "Vz")


def load_pdebench(path: str | os.PathLike[str], count: int | None = None) -> Dataset:
    """Return samples of a PDEBench file (Takamoto et al., 2022).

    Three layouts are told apart by their entries. Scalar problems (``tensor``): advection, Burgers,
    reaction-diffusion in one dimension give ``"tensor"`` of shape ``(samples, times, 1, points)``, and Darcy flow
    (with ``nu``) ``"coefficient"`` and ``"solution"`` of shape ``(samples, 1, rows, columns)``. Compressible flow
    (``density``): ``"state"`` with the fields that are there as channels, in the order density, pressure, ``Vx``,
    ``Vy``, ``Vz``. One group for each sample (diffusion-reaction and diffusion-sorption, shallow water): ``"data"``
    of shape ``(samples, times, channels, *space)``. Coordinates are in ``settings["coordinates"]``.

    Args:
        path: The file.
        count: How many samples to read; None for all.

    Raises:
        ImportError: h5py is not installed.
        FileNotFoundError: There is no such file.
        CorruptFileError: It cannot be read, or has none of these layouts.
        ValueError: It holds fewer samples.
    """
    file_path = existing_file(path, "https://doi.org/10.18419/darus-2986 (PDEBench)")
    _check_samples(count)
    with opened_hdf5(file_path) as file:
        if "tensor" in file:
            arrays = _scalar_fields(file, file_path, count)
        elif "density" in file:
            parts = [_fluid_field(file, name, file_path, count) for name in _FLUID_FIELDS if name in file]
            if len({part.shape for part in parts}) > 1:
                raise CorruptFileError(
                    f"{file_path} holds fields of different shapes: {[part.shape for part in parts]}."
                )
            arrays = {"state": np.stack(parts, axis=2)}
        else:
            return _grouped_samples(file, file_path, count)
        coordinates = {name[0]: np.asarray(file[name]) for name in _COORDINATES if name in file}
    _check_enough(arrays, count, file_path)
    return Dataset(arrays, {"file": str(file_path), "coordinates": coordinates})


def load_condiff(path: str | os.PathLike[str], count: int | None = None) -> Dataset:
    """Return samples of a ConDiff file (Trifonov et al., 2024), with the fields of `ConDiff`.

    The published vectors are numbered column by column; here, ``solution[i, j]`` is the value at ``x_i, y_j``. Files of
    Poisson problems have no coefficient.

    Args:
        path: The file, such as ``cubic0.1_grid64_train.h5``.
        count: How many samples to read; None for all.

    Raises:
        ImportError: h5py is not installed.
        FileNotFoundError: There is no such file.
        CorruptFileError: It cannot be read, lacks an entry, or its entries do not fit.
        ValueError: It holds fewer samples.
    """
    file_path = existing_file(path, "https://huggingface.co/datasets/condiff/ConDiff")
    _check_samples(count)
    arrays: dict[str, NDArray[Any]] = {}
    with opened_hdf5(file_path) as file:
        for entry, name in (("rhs", "source"), ("x", "solution")):
            vectors = read_array(named(file, entry, file_path), file_path, 2, count)
            n = round(vectors.shape[1] ** 0.5)
            if n * n != vectors.shape[1]:
                raise CorruptFileError(
                    f"{file_path} should hold squares of numbers, but {entry!r} has {vectors.shape}."
                )
            # column by column: the first index runs fastest
            arrays[name] = np.ascontiguousarray(vectors.reshape(-1, 1, n, n).swapaxes(2, 3))
        if "k" in file:
            arrays["coefficient"] = read_array(file["k"], file_path, 3, count)[:, None]
            if arrays["coefficient"].shape[-1] != arrays["source"].shape[-1] + 1:
                raise CorruptFileError(
                    f"{file_path} should have one coefficient more than unknowns along each side, but has shapes "
                    f"{arrays['coefficient'].shape} and {arrays['source'].shape}."
                )
    _check_enough(arrays, count, file_path)
    return Dataset(arrays, {"file": str(file_path)})


def load_fno(path: str | os.PathLike[str], count: int | None = None) -> Dataset:
    """Return samples of a ``.mat`` file of Li et al. (2021, "Fourier neural operator").

    Darcy flow (``coeff`` and ``sol``): ``"coefficient"`` and ``"solution"`` of shape ``(samples, 1, rows, columns)``.
    Burgers (``a`` and ``u``, both of shape ``(samples, points)``): ``"initial"`` and ``"final"`` of shape ``(samples,
    1, points)``. Navier-Stokes (``a`` and ``u``, with times last): ``"initial"`` of shape ``(samples, 1, rows,
    columns)`` and ``"vorticity"`` of shape ``(samples, times, 1, rows, columns)``. Both formats of MATLAB are read:
    older ones by SciPy, those of version 7.3 by h5py, where axes are stored in reverse.

    Args:
        path: The file.
        count: How many samples to read; None for all.

    Raises:
        ImportError: The file is of version 7.3, and h5py is not installed.
        FileNotFoundError: There is no such file.
        CorruptFileError: It cannot be read, or lacks these entries.
        ValueError: It holds fewer samples.
    """
    file_path = existing_file(path, "https://github.com/neuraloperator/neuraloperator (links to its data)")
    _check_samples(count)
    with file_path.open("rb") as opened:
        modern = opened.read(10).startswith((b"MATLAB 7.3", b"\x89HDF"))
    entries = _modern_matlab(file_path, count) if modern else _older_matlab(file_path, count)
    if {"coeff", "sol"} <= set(entries):
        arrays = {"coefficient": entries["coeff"][:, None], "solution": entries["sol"][:, None]}
    elif {"a", "u"} <= set(entries):
        arrays = _initial_and_later(entries["a"], entries["u"], file_path)
    else:
        raise CorruptFileError(
            f"{file_path} has neither 'coeff' and 'sol' nor 'a' and 'u'; it holds {sorted(entries) or 'nothing'}."
        )
    _check_enough(arrays, count, file_path)
    return Dataset(arrays, {"file": str(file_path)})


def _scalar_fields(file: Any, path: Path, count: int | None) -> dict[str, NDArray[Any]]:
    if "nu" in file:
        solution = read_array(file["tensor"], path, 4, count)
        return {"coefficient": read_array(file["nu"], path, 3, count)[:, None], "solution": solution}
    return {"tensor": read_array(file["tensor"], path, 3, count)[:, :, None]}


def _fluid_field(file: Any, name: str, path: Path, count: int | None) -> NDArray[Any]:
    return read_array(file[name], path, len(file[name].shape), count)


def _grouped_samples(file: Any, path: Path, count: int | None) -> Dataset:
    names = sorted(name for name in file if "data" in getattr(file[name], "keys", tuple)())
    if not names:
        there = ", ".join(map(repr, sorted(file)[:8])) or "nothing"
        raise CorruptFileError(f"{path} has no layout of PDEBench; it holds {there}.")
    if count is not None and count > len(names):
        raise ValueError(f"count={count} samples were asked for, but {path} holds {len(names)}.")
    samples = []
    for name in names[:count]:
        entry = file[name]["data"]
        samples.append(read_array(entry, path, len(entry.shape)))
    grid = file[names[0]].get("grid", {})
    coordinates = {axis: np.asarray(grid[axis]) for axis in grid}
    data = np.moveaxis(np.stack(samples), -1, 2)
    return Dataset({"data": np.ascontiguousarray(data)}, {"file": str(path), "coordinates": coordinates})


def _modern_matlab(path: Path, count: int | None) -> dict[str, NDArray[Any]]:
    with opened_hdf5(path) as file:
        found = {}
        for name in sorted({"coeff", "sol", "a", "u"} & set(file)):
            entry = file[name]
            stop = entry.shape[-1] if count is None else count
            try:
                found[name] = np.asarray(entry[..., :stop]).T
            except OSError as error:
                raise CorruptFileError(f"{path} is damaged ({error}). Fetch it again.") from error
        return found or dict.fromkeys(file, np.zeros(0))


def _older_matlab(path: Path, count: int | None) -> dict[str, NDArray[Any]]:
    from scipy import io

    try:
        entries = io.loadmat(path)
    except Exception as error:  # what SciPy raises depends on where the damage is
        raise CorruptFileError(f"{path} is no MATLAB file, or incomplete ({error}). Fetch it again.") from error
    return {name: entry[:count] for name, entry in entries.items() if not name.startswith("__")}


def _initial_and_later(initial: NDArray[Any], later: NDArray[Any], path: Path) -> dict[str, NDArray[Any]]:
    if initial.ndim == 2 and later.shape == initial.shape:
        return {"initial": initial[:, None], "final": later[:, None]}
    if initial.ndim == 3 and later.ndim == 4 and later.shape[:3] == initial.shape:
        return {"initial": initial[:, None], "vorticity": np.ascontiguousarray(np.moveaxis(later, -1, 1)[:, :, None])}
    raise CorruptFileError(f"{path} holds 'a' and 'u' of shapes {initial.shape} and {later.shape}, which do not fit.")


def _check_samples(count: int | None) -> None:
    if count is not None:
        check_count(count, "count")


def _check_enough(arrays: Mapping[str, NDArray[Any]], count: int | None, path: Path) -> None:
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1:
        raise CorruptFileError(f"{path} holds fields with different numbers of samples: {sorted(lengths)}.")
    if count is not None and lengths.pop() < count:
        raise ValueError(f"count={count} samples were asked for, but {path} holds {len(next(iter(arrays.values())))}.")
