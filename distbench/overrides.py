"""What somebody set, by file, variable or flag: read and checked before anything heavy is imported."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distbench.config import Overrides, checked_value, flag_of, settings, shown
from distbench.errors import UsageError

ENVIRONMENT_PREFIX = "DISTBENCH_"
# DISTBENCH_* variables that are no settings of a run.
OTHER_VARIABLES = frozenset(
    {"DISTBENCH_CACHE_DIR", "DISTBENCH_FAULT", "DISTBENCH_STUDY_MARK", "DISTBENCH_TESTING"}
)


def read_overrides(
    flags: Mapping[str, Any], environ: Mapping[str, str], toml_path: str | None = None
) -> Overrides:
    """Reads and checks what was set by file, variables and flags (None: flag not given).

    Raises UsageError with the source, the value found and what was wanted.
    """
    overrides: Overrides = {}
    if toml_path is not None:
        overrides.update(_from_toml(Path(toml_path)))
    overrides.update(_from_environment(environ))
    for name, raw in flags.items():
        if raw is not None:
            overrides[name] = checked_value(name, raw, flag_of(name))
    return overrides


def _from_environment(environ: Mapping[str, str]) -> Overrides:
    overrides: Overrides = {}
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in settings():
            raise UsageError(
                f"the environment holds {variable}, which is no setting of distbench; "
                "unset it, or see `distbench run --help` for the settings"
            )
        overrides[name] = checked_value(name, environ[variable], variable)
    return overrides


def _from_toml(path: Path) -> Overrides:
    table = toml_table(path)
    unknown_tables = sorted(set(table) - {"run"})
    if unknown_tables:
        raise UsageError(
            f"{path} has the unknown key {unknown_tables[0]}; settings stand in the table [run]"
        )
    run = table.get("run", {})
    if not isinstance(run, dict):
        raise UsageError(f"{path}: run is {shown(run)}; it must be a table, [run]")
    overrides: Overrides = {}
    for name, raw in run.items():
        if name not in settings():
            raise UsageError(
                f"{path} has the unknown key run.{name}; known are {', '.join(settings())}"
            )
        overrides[name] = checked_value(name, raw, f"{path} key run.{name}")
    return overrides


def toml_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; UsageError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(
            f"the settings file {path} cannot be read ({error.strerror}); name a TOML file that can"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {path} is not valid TOML: {error}") from error
