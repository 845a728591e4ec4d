"""A folder of generated samples: a description, and files of samples that are written as a whole or not at all."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nde.files import write_atomically

__all__ = ["CorruptFileError", "ShardFolder"]

_FORMAT = 1


class CorruptFileError(ValueError):
    """A file of data cannot be read."""


class ShardFolder:
    """Samples in files of ``shard_size``, with the settings that they were made with.

    Args:
        path: The folder; made if it does not exist.
        settings: What determines the samples, as plain values.
        shard_size: Samples of a file.

    Raises:
        ValueError: The folder holds samples of other settings, or files that are none of ours.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], shard_size: int) -> None:
        self.path, self.shard_size = path, shard_size
        stated = {"format": _FORMAT, "shard_size": shard_size, **settings}
        # what the file will hold: tuples become lists
        stated = json.loads(json.dumps(stated))
        path.mkdir(parents=True, exist_ok=True)
        description = path / "settings.json"
        if description.exists():
            _check_same(description, stated)
        elif any(path.glob("*.npz")):
            raise ValueError(f"{path} holds .npz files but no settings.json: it is no folder of generated samples.")
        else:
            text = json.dumps(stated, indent=1, sort_keys=True) + "\n"
            write_atomically(description, lambda file: file.write(text.encode()))

    def file(self, shard: int) -> Path:
        """Return where a shard is or will be."""
        return self.path / f"shard-{shard:05d}.npz"

    def read(self, shard: int) -> dict[str, NDArray[Any]] | None:
        """Return the samples of a shard; None if it has not been written.

        Raises:
            CorruptFileError: Its file cannot be read.
        """
        path = self.file(shard)
        if not path.exists():
            return None
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
            raise CorruptFileError(f"{path} is corrupt ({error}). Delete it: it will be generated again.") from error

    def write(self, shard: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the samples of a shard: all of them or, where the process ends before, none."""
        named: dict[str, Any] = dict(arrays)
        write_atomically(self.file(shard), lambda file: np.savez(file, allow_pickle=False, **named))


def _check_same(description: Path, stated: dict[str, Any]) -> None:
    try:
        found = json.loads(description.read_text(encoding="utf-8"))
        differing = sorted(name for name in {*found, *stated} if found.get(name) != stated.get(name))
    except (ValueError, TypeError, OSError) as error:
        raise CorruptFileError(f"{description} cannot be read ({error}).") from error
    if differing:
        there = ", ".join(f"{name}={found.get(name)!r}" for name in differing)
        asked = ", ".join(f"{name}={stated.get(name)!r}" for name in differing)
        raise ValueError(
            f"{description.parent} holds samples with {there}, but {asked} was asked for. "
            "Choose another folder, or delete this one."
        )
