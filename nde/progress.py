"""A progress bar where tqdm is installed, silence where it is not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["Advance", "progress_bar"]

Advance = Callable[[int], object]


@contextlib.contextmanager
def progress_bar(total: int, name: str, show: bool, initial: int = 0, unit: str = "sample") -> Iterator[Advance]:
    """Show a bar for the time of a block, and give the block a function that moves it on.

    Args:
        total: Steps in all.
        name: What stands before the bar.
        show: Whether to show anything.
        initial: Steps that are done already.
        unit: What a step is.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        show = False
    if not show:
        yield lambda steps: None
        return
    with tqdm(total=total, desc=name, initial=initial, unit=unit) as bar:
        yield bar.update
