"""Data sets that lie on the user's disk: finding their files, checking them, and saying how to get them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["DamagedFile", "MissingFile", "check_digest", "find_file"]


class MissingFile(FileNotFoundError):
    """A file of a data set is not where it should be; the message says how to get it."""


class DamagedFile(ValueError):
    """A file is not what its name says: cut short, changed, or another file."""


def find_file(folder: Path, places: Iterable[str], names: Iterable[str], advice: str) -> Path:
    """Return the first file or folder that exists.

    Args:
        folder: Where to look.
        places: Folders inside, relative to it.
        names: Names to look for in each of them, the preferred first.
        advice: How to get the files.

    Raises:
        MissingFile: There is none.
    """
    names = tuple(names)
    for place in places:
        for name in names:
            path = folder / place / name
            if path.exists():
                return path
    raise MissingFile(f"There is no {' or '.join(names)} in {folder}. {advice}")


def check_digest(path: Path, algorithm: str, digests: Mapping[str, str]) -> None:
    """Raise unless the content of a file has the published checksum; files without one pass.

    Args:
        path: The file.
        algorithm: Name of the checksum, for ``hashlib``.
        digests: Checksums by the names of the files.

    Raises:
        DamagedFile: The checksum differs.
    """
    expected = digests.get(path.name)
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DamagedFile(
            f"{path} has the {algorithm} checksum {found}, not {expected}: it was cut short, changed or packed anew. "
            "Get it again, or unpack it, if you know what it holds: of unpacked files, the structure alone is checked."
        )
