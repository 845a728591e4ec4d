"""Runs a user's script as Python does, under a recording."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from nde.profile.cost import Cost, record

__all__ = ["Outcome", "is_module", "run_script"]

Outcome = BaseException | None


def is_module(name: str) -> bool:
    """Return whether there is a module of that name, here or where Python looks for them."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of a package that is not there, or cannot be imported
        return False
    finally:
        sys.path[:] = before


def run_script(
    script: Path | str, arguments: Sequence[str], *, module: bool, memory: bool, samples: bool
) -> tuple[Cost, Outcome]:
    """Run a script, or a module, as ``__main__`` with arguments of its own, and return what was recorded.

    Args:
        script: The file; the name of the module, with ``module=True``.
        arguments: Its arguments.
        module: Whether it is a module, as with ``python -m``.
        memory, samples: See `nde.profile.record`.

    Returns:
        The recording, and how the script ended: an exception that it raised, an interruption or an exit; None where it
        came to its end.
    """
    before_arguments, before_path = sys.argv, list(sys.path)
    sys.argv = [str(script), *arguments]
    sys.path[0:1] = [str(Path.cwd())] if module else [str(Path(script).resolve().parent)]
    outcome: Outcome = None
    cost = record(memory=memory, samples=samples)
    try:
        with cost:
            if module:
                runpy.run_module(str(script), run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(script), run_name="__main__")
    except BaseException as error:  # whatever it was, what was recorded is reported
        outcome = error
    finally:
        sys.argv, sys.path[:] = before_arguments, before_path
    return cost, outcome
