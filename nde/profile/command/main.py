"""The entry point of ``nde``: tells what is missing where typer or rich is not installed."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command and end the process with its exit status."""
    try:
        from nde.profile.command.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich", "click"):
            raise
        print(f"nde needs {error.name}: pip install 'nde[cli]'", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    app(prog_name="nde")


if __name__ == "__main__":
    main()
