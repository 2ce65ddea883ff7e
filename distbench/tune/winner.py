"""The settings that were found, as a command line and as a study file."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from typing import Any

from distbench.launchers import launch_argv
from distbench.study.study import Cell, Study, flags_of, launch_of
from distbench.tune.tune_file import OF_THE_LAUNCHES


def settings_of(cell: Cell) -> dict[str, Any]:
    """The settings of a cell without those that say how long a launch measures, and what."""
    return {name: value for name, value in cell.settings.items() if name not in OF_THE_LAUNCHES}


def command_line(study: Study, cell: Cell) -> str:
    """What a person types to run these settings; Horovod's variables come first."""
    launch = dataclasses.replace(launch_of(study, cell), environment=tuple(cell.horovod))
    words = ["python", "-m", "distbench", "run", *flags_of(settings_of(cell))]
    variables = [f"{name}={shlex.quote(value)}" for name, value in cell.horovod.items()]
    return " ".join([*variables, shlex.join(launch_argv(launch, words))])


def study_file(study: Study, cell: Cell) -> str:
    """The same as a study of one cell, for `distbench study`."""
    own: dict[str, Any] = {
        "name": f"{study.name}, tuned"[:100],
        "launcher": study.launcher,
        "ranks": cell.ranks,
    }
    if study.launcher == "local":  # the others bring their own
        own["controller"] = study.controller
    if cell.hosts:
        own["hosts"] = [cell.hosts]
    if study.launcher_arguments:
        own["launcher_arguments"] = list(study.launcher_arguments)
    horovod = {name: [value] for name, value in cell.horovod.items()}
    tables = {"study": own, "run": settings_of(cell), "horovod": horovod}
    return "\n".join(_table(name, values) for name, values in tables.items() if values)


def _table(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _value(value: Any) -> str:
    """A value as TOML writes it: texts, numbers, booleans and lists as JSON does."""
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value)
