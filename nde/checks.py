"""Checks of arguments that need nothing else of the package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["check_choice", "suggestion"]


def check_choice(value: Any, known: Sequence[str], name: str) -> None:
    """Raise ValueError unless ``value`` is one of some names."""
    if value not in known:
        hint = suggestion(value, known) if isinstance(value, str) else ""
        raise ValueError(f"{name}={value!r} is not known.{hint} Choose one of: {', '.join(map(repr, known))}.")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a sentence for an error message that suggests the nearest known name, or nothing."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
