"""The hourly series of the PhysioNet 2012 challenge, sets a and b, from the files of its authors.

Silva, Moody, Scott, Celi, Mark (2012), Predicting in-hospital mortality of ICU patients. Prepared as in the experiments
that are compared with: Rubanova, Chen, Duvenaud (2019); Kelly, Bettencourt, Johnson, Duvenaud (2020).
"""

from __future__ import annotations

import math
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from examples.regularization.data_files import DamagedFile, check_digest, find_file
from examples.regularization.series import Series, SplitSeries

__all__ = ["PHYSIONET_SHA256", "VARIABLES", "load_physionet", "read_record"]

# of the packed sets of version 1.0.0, as two packages of data loaders publish them
PHYSIONET_SHA256 = {
    "set-a.tar.gz": "8cb250f179cd0952b4b9ebcf8954b63d70383131670fac1cfee13deaa13ca920",
    "set-b.tar.gz": "b1637a2a423a8e76f8f087896cfc5fdf28f88519e1f4e874fbda69b2a64dac30",
}
# fmt: off
VARIABLES = (
    "Weight", "Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "DiasABP", "FiO2",
    "GCS", "Glucose", "HCO3", "HCT", "HR", "K", "Lactate", "Mg", "MAP", "MechVent", "Na", "NIDiasABP", "NIMAP",
    "NISysABP", "PaCO2", "PaO2", "pH", "Platelets", "RespRate", "SaO2", "SysABP", "Temp", "TroponinI", "TroponinT",
    "Urine", "WBC",
)
# fmt: on
HOURS = 48
RECORDS = 4000  # in each set
_CONSTANTS = {"RecordID", "Age", "Gender", "Height", "ICUType"}  # the same all the time: left out
_COLUMNS = {name: column for column, name in enumerate(VARIABLES)}
_HEADER = "Time,Parameter,Value"
_ADVICE = (
    "The sets a and b of the PhysioNet 2012 challenge are free: get set-a.tar.gz and set-b.tar.gz (each 7 MB) from "
    "https://physionet.org/files/challenge-2012/1.0.0/, and name the folder that holds them, packed or unpacked."
)


def load_physionet(
    folder: str | Path,
    dtype: torch.dtype = torch.float64,
    *,
    records: int = RECORDS,
    seed: int = 0,
    digests: Mapping[str, str] = PHYSIONET_SHA256,
) -> SplitSeries:
    """Return 37 variables of 8000 patients at 49 hours, 80 % of the patients to train on.

    Values of an hour (the nearest) are averaged. Each variable is scaled by its smallest and largest value as in the
    published code, ``(x - smallest) / largest``. Times are between 0 and 1. Patients without any observation are left
    out.

    Args:
        folder: Where ``set-a.tar.gz`` and ``set-b.tar.gz`` are, or the folders ``set-a`` and ``set-b``.
        dtype: Of the values.
        records: Patients that there must be in each set.
        seed: Of the split.
        digests: Checksums of packed sets.

    Raises:
        MissingFile: A set is missing; the message says how to get it.
        DamagedFile: A file is not what its name says.
    """
    sums = torch.zeros(HOURS + 1, 2 * records, len(VARIABLES), dtype=torch.float64)
    counts = torch.zeros_like(sums)
    row = 0
    for name in ("set-a", "set-b"):
        path = find_file(Path(folder), ("", "training_set"), (f"{name}.tar.gz", name), _ADVICE)
        check_digest(path, "sha256", digests)
        found = 0
        for where, text in _texts(path):
            if found == records:
                raise DamagedFile(f"{path} must hold {records} records, but holds more.")
            hours, columns, values = read_record(text, where)
            sums[:, row].index_put_((hours, columns), values, accumulate=True)
            counts[:, row].index_put_((hours, columns), torch.ones_like(values), accumulate=True)
            row, found = row + 1, found + 1
        if found != records:
            raise DamagedFile(f"{path} must hold {records} records, but holds {found}. Get it again.")
    return _split(sums / counts.clamp_min(1), counts > 0, seed, dtype)


def _split(values: Tensor, mask: Tensor, seed: int, dtype: torch.dtype) -> SplitSeries:
    smallest = torch.where(mask, values, math.inf).amin((0, 1))
    largest = torch.where(mask, values, -math.inf).amax((0, 1))
    largest = torch.where(largest == 0, 1.0, largest)
    scaled = torch.where(mask, (values - smallest) / largest, 0.0).to(dtype)
    whole = Series(torch.linspace(0, 1, HOURS + 1, dtype=dtype), scaled, mask)
    kept = mask.any(0).any(-1).nonzero().squeeze(-1)
    order = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))]
    border = int(0.8 * len(order))
    return SplitSeries(whole.part(order[:border]), whole.part(order[border:]))


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Return where each record of a set is, and its text, in the order of their numbers."""
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            yield str(file), file.read_text(encoding="ascii")
        return
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = [member for member in archive.getmembers() if member.isfile() and member.name.endswith(".txt")]
            for member in sorted(members, key=lambda member: member.name):
                content = archive.extractfile(member)
                if content is not None:  # as it is for all files
                    yield f"{member.name} in {path}", content.read().decode("ascii")
    except (EOFError, UnicodeError, tarfile.TarError, zlib.error, OSError) as error:
        raise DamagedFile(f"{path} cannot be unpacked: {error}. Get it again.") from error


def read_record(text: str, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the observations of a patient: hours, columns of `VARIABLES`, and values, each of shape ``(n,)``.

    Args:
        text: Lines ``HH:MM,name,value`` behind a header.
        where: What the text is called in messages.

    Raises:
        DamagedFile: It is no such text.
    """
    header, *lines = text.split("\n")
    if header.strip() != _HEADER:
        raise DamagedFile(f"{where} must begin with {_HEADER!r}, but begins with {header.strip()[:40]!r}.")
    hours, columns, values = [], [], []
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            time, name, value = line.split(",")
            hour, minute = time.split(":")
            observed_at, observation = round(int(hour) + int(minute) / 60), float(value)
        except ValueError:
            raise DamagedFile(f"{where}, line {number}, must be HH:MM,name,value, but is {line.strip()!r}.") from None
        if name in _CONSTANTS:
            continue
        if name not in _COLUMNS or not 0 <= observed_at <= HOURS or not math.isfinite(observation):
            raise DamagedFile(f"{where}, line {number}, has an unknown name, time or value: {line.strip()!r}.")
        hours.append(observed_at)
        columns.append(_COLUMNS[name])
        values.append(observation)
    return (
        torch.tensor(hours, dtype=torch.int64),
        torch.tensor(columns, dtype=torch.int64),
        torch.tensor(values).double(),
    )
