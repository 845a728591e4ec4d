"""Settings of experiments, read from small TOML files."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from examples.regularization.framework.variants import METHODS, check_weights

__all__ = ["Settings", "SettingsError", "read_settings", "setups"]


class SettingsError(Exception):
    """A file of settings is missing, is not TOML, or says something that cannot be; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all experiments have.

    Attributes:
        seeds: How many seeds each variant is trained with.
        iterations: Iterations of training.
        weights: The weights of each method.
        options: Further arguments of the penalties of methods.
        left_out: Methods that the experiment cannot have, with the reason.
    """

    seeds: int
    iterations: int
    weights: dict[str, list[Any]]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


SettingsType = TypeVar("SettingsType", bound=Settings)


def setups(file: Path) -> list[str]:
    """Return the names of the set-ups in a file."""
    return list(_tables(file)[1])


def read_settings(file: Path, setup: str, kind: type[SettingsType], **overrides: Any) -> SettingsType:
    """Return the settings of a set-up.

    Args:
        file: TOML file.
        setup: Name of a set-up: of a table ``[setup.NAME]``.
        kind: Dataclass of the settings.
        overrides: Settings that take precedence over those of the file.

    Raises:
        SettingsError: The file is missing or is not TOML, has no such set-up, or a setting is missing, unknown or of
            the wrong type.
    """
    shared, tables = _tables(file)
    if setup not in tables:
        raise SettingsError(f"{file} has no set-up {setup!r}. Choose one of: {', '.join(tables)}.")
    where = f"{file}, set-up {setup!r}"
    merged = {**shared, **tables[setup], **overrides}
    # what is said of one method does not unsay what is said of the others
    for name in ("options", "left_out"):
        merged[name] = {**shared.get(name, {}), **tables[setup].get(name, {}), **overrides.get(name, {})}
    known = {item.name: item for item in dataclasses.fields(kind)}
    for name in merged:
        if name not in known:
            raise SettingsError(f"{where}: there is no setting {name!r}. There are: {', '.join(known)}.")
    for name, item in known.items():
        if name in merged:
            merged[name] = _checked(merged[name], str(item.type), f"{where}: {name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{where}: the setting {name!r} is missing.")
    for name in ("seeds", "iterations"):
        if merged[name] < 1:
            raise SettingsError(f"{where}: {name} must be at least 1, but is {merged[name]}.")
    for name in ("weights", "options", "left_out"):
        for method in merged[name]:
            if method not in METHODS:
                raise SettingsError(f"{where}: {name} names {method!r}. Methods are: {', '.join(METHODS)}.")
    try:
        check_weights(merged["weights"], merged["options"], merged["iterations"])
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where}: {error}") from None
    return kind(**merged)


def _tables(file: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the shared settings, and those of each set-up."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings {file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not a TOML file: {error}") from None
    tables = content.pop("setup", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()) or not tables:
        raise SettingsError(f"{file} has no set-ups: it must have tables such as [setup.short].")
    return content, tables


def _checked(value: Any, kind: str, where: str) -> Any:
    """Return a setting of the annotated type; a whole number serves as a float."""
    expected: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
    head = kind.split("[")[0]
    if head == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = expected.get(head, {"dict": dict, "list": list}.get(head, object))
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted in (int, float)):
        raise SettingsError(f"{where} must be of type {kind}, but is {value!r}.")
    return value
