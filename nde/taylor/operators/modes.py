"""What the modes of an operator are called, and which one ``"auto"`` stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nde.taylor.operators.draws import LAWS
from nde.taylor.operators.first_layer import first_width

__all__ = ["LAPLACIAN_MODES", "MODES", "check_mode", "resolved_mode"]

MODES = ("exact", "rank", *LAWS, "auto")
LAPLACIAN_MODES = (*MODES, "banded")
_FEW_COLUMNS_PER_SAMPLE = 2  # an exact pass of up to twice the directions is worth having no variance
_MOST_DENSE_ENTRIES = 4_000_000  # V * d above which orthogonal vectors cost more than the network they are for


def check_mode(mode: Any, known: Sequence[str]) -> None:
    """Raise ValueError unless ``mode`` is one of those that an operator has."""
    if mode not in known:
        raise ValueError(f"mode={mode!r} is not known here. Choose one of: {', '.join(map(repr, known))}.")


def resolved_mode(mode: str, f: Any, columns: int, samples: int | None) -> tuple[str, int | None]:
    """Return the mode that is meant and its number of samples, after a check of both.

    ``"auto"`` is the cheapest exact mode where ``samples`` is None. With ``samples`` it is exact where that takes at
    most twice as many directions, by coordinates or by the first layer's width, else ``"orthogonal"``, or ``"sparse"``
    where the vectors would have more than four million entries.

    Raises:
        ValueError: A random mode is asked for without ``samples``, or an exact one with ``samples``.
    """
    if mode == "auto":
        width = first_width(f)
        fewest = columns if width is None else min(columns, width)
        if samples is None or fewest <= _FEW_COLUMNS_PER_SAMPLE * samples:
            # with the first layer's width the directions are dense, but few; with coordinates they are lazy
            return ("exact" if fewest == columns else "rank"), None
        return ("orthogonal" if samples * columns <= _MOST_DENSE_ENTRIES else "sparse"), samples
    if mode in LAWS and samples is None:
        raise ValueError(f"mode={mode!r} draws directions at random: say how many, samples=16.")
    if mode == "banded" and samples is None:
        raise ValueError('mode="banded" needs the reach of the interactions: samples=2 for neighbours.')
    if mode == "exact" and samples is not None:
        raise ValueError(
            f'mode="exact" takes every direction and no samples, but samples={samples}. Choose one of {LAWS}.'
        )
    return mode, samples
