"""What is to be tuned: from a file like a study's, or from a number of ranks alone. Checked.

The tables are those of a study, with [tune] beside them: `phase`, the one phase that is timed, and
`budget`. Lists in [axes] and [horovod] are the levels to try, the first one being the default. Without
them the default axes are tried around the settings of [run].
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distbench import config
from distbench.errors import UsageError
from distbench.study import study_fields
from distbench.study.study import Cell, Study, cell_of, parse_study
from distbench.tune.default_axes import Machine, default_axes
from distbench.tune.space import Axis, Choice, Space

TABLES = ("study", "run", "axes", "horovod", "tune")
PHASES = tuple(phase for phase in config.PHASES if phase != "allreduce")
DEFAULT_PHASE, DEFAULT_BUDGET = "train_step", "10m"
DEFAULTS = "the defaults"
# Of a launch where neither a preset nor steps are named: enough for a median, since launches differ
# among themselves by more than it errs.
SHORT_RUN = {
    True: {"warmup_steps": 10, "steps": 30, "blocks": 6},
    False: {"warmup_steps": 2, "steps": 6, "blocks": 6},
}
# How long a launch measures, and what: no part of a winner.
OF_THE_LAUNCHES = ("warmup_steps", "steps", "blocks", "phases")
_BUDGET = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s?)?")
_OWN_SETTINGS = {
    "phases": "name the one phase that is timed with phase in [tune]",
    "sizes": "each setting is timed at study.ranks, and for its efficiency at 1 too",
    "rounds": "give blocks instead",
}


@dataclass(frozen=True)
class Tuning:
    """What is tuned: launches of `study`, whose axes span `space`. `tables` is what it was made of."""

    study: Study
    space: Space
    phase: str
    tables: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The tuning as JSON knows it."""
        document = {
            "tables": self.tables,
            "phase": self.phase,
            "axes": [dataclasses.asdict(axis) for axis in self.space.axes],
        }
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain

    def cell(self, choice: Choice) -> Cell:
        """What is launched for a choice."""
        return cell_of(self.study, self._chosen(choice), label=DEFAULTS)

    def efficiency_cell(self, choice: Choice) -> Cell:
        """The same with one rank alone beside all ranks, in one launch."""
        run = dict(self.study.run)
        rounds = {"rounds": run.pop("blocks")} if "blocks" in run else {}
        own = {**run, **rounds, "sizes": (1, self.study.ranks)}
        cell = cell_of(
            dataclasses.replace(self.study, run=own), self._chosen(choice), label=DEFAULTS
        )
        return dataclasses.replace(cell, label=f"{cell.label}, one rank alone and all")

    def _chosen(self, choice: Choice) -> dict[str, Any]:
        levels = [axis.levels[level] for axis, level in zip(self.space.axes, choice)]
        hosts = {"hosts": self.study.hosts[0]} if self.study.hosts else {}
        named = zip(self.space.axes, levels)
        return hosts | {axis.name: level for axis, level in named if level is not None}


def read_budget(text: str, source: str) -> float:
    """'10m', '90s' or '1h30m' in seconds. Raises UsageError where it is none of these."""
    found = _BUDGET.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total_s = 3600 * hours + 60 * minutes + seconds
    if not 1 <= total_s <= study_fields.MOST_SECONDS:
        raise UsageError(
            f"{source} is {config.shown(text)}; it must be a time such as 10m, 90s or 1h30m, of at "
            "most 30 days"
        )
    return float(total_s)


def own_table(tables: Mapping[str, Any], source: str) -> tuple[str, str]:
    """Phase and budget of [tune], or the defaults."""
    table = tables.get("tune", {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{source}: tune is {config.shown(table)}; it must be a table, [tune]")
    for key in table:
        if key not in ("phase", "budget"):
            raise UsageError(
                f"{source} has the unknown key {config.shown(f'tune.{key}')}; known are phase, budget"
            )
    phase = table.get("phase", DEFAULT_PHASE)
    if phase not in PHASES:
        raise UsageError(
            f"{source} key tune.phase is {config.shown(phase)}; it must be one of "
            f"{', '.join(PHASES)}"
        )
    budget = table.get("budget", DEFAULT_BUDGET)
    if not isinstance(budget, str):
        raise UsageError(
            f"{source} key tune.budget is {config.shown(budget)}; it must be a text such as "
            f'"{DEFAULT_BUDGET}"'
        )
    return phase, budget


def make_tuning(
    tables: Mapping[str, Any], source: str, ranks: str | None, machine: Machine
) -> Tuning:
    """The tuning that a file's tables describe (none: {}); `ranks` is the flag -np."""
    _check(tables, source)
    phase, _ = own_table(tables, source)
    study = {"name": "tune", **tables.get("study", {})}
    if ranks is not None:
        study["ranks"] = _ranks(ranks)
    run = dict(tables.get("run", {}))
    if not {"preset", "steps"} & set(run):
        run = {**SHORT_RUN[machine.on_gpu], **run}
    run["phases"] = phase
    given = {name: dict(tables[name]) for name in ("axes", "horovod") if tables.get(name)}
    whole = {"study": study, "run": run, **given}
    if given:
        return _of_levels(whole, phase, source)
    base = parse_study(whole, source)  # says what is wrong with [run]
    axes = default_axes(machine, base.ranks, base.run)
    if not axes:
        raise UsageError(
            f"{source} leaves nothing to try; name levels in [axes] or [horovod], or fix less in [run]"
        )
    return _of_axes(whole, phase, axes, source)


def tuning_from_dict(document: Mapping[str, Any]) -> Tuning:
    """The tuning that `as_dict` wrote, checked again."""
    tables, phase = document["tables"], str(document["phase"])
    axes = tuple(Axis(**{**axis, "levels": _levels_from_json(axis)}) for axis in document["axes"])
    return Tuning(parse_study(tables, "tune.json"), Space(axes), phase, tables)


def _levels_from_json(axis: Mapping[str, Any]) -> tuple[Any, ...]:
    if axis["is_horovod"]:
        return tuple(axis["levels"])
    return tuple(
        None if raw is None else config.checked_value(axis["name"], raw, "tune.json")
        for raw in axis["levels"]
    )


def _of_levels(tables: Mapping[str, Any], phase: str, source: str) -> Tuning:
    """The file's own levels, the first of each axis being the default."""
    study = parse_study(tables, source)
    axes = [Axis(name, levels) for name, levels in study.axes.items()]
    axes += [Axis(name, levels, is_horovod=True) for name, levels in study.horovod.items()]
    space = Space(tuple(axes))
    if space.count < 2:
        raise UsageError(
            f"{source} has one combination of its levels; name two levels or more in [axes] or "
            "[horovod], or neither table for the default axes"
        )
    return Tuning(study, space, phase, tables)


def _of_axes(tables: Mapping[str, Any], phase: str, axes: tuple[Axis, ...], source: str) -> Tuning:
    lists: dict[str, dict[str, Any]] = {"axes": {}, "horovod": {}}
    for axis in axes:
        lists["horovod" if axis.is_horovod else "axes"][axis.name] = list(axis.levels[1:])
    whole = {**tables, **{name: levels for name, levels in lists.items() if levels}}
    study = parse_study(whole, source)
    values = {**study.axes, **study.horovod}
    checked = [dataclasses.replace(axis, levels=(None, *values[axis.name])) for axis in axes]
    return Tuning(study, Space(tuple(checked)), phase, whole)


def _check(tables: Mapping[str, Any], source: str) -> None:
    """Raises UsageError where there is what a tuning does not know."""
    study_fields.check_tables(tables, source, TABLES, "tuning")
    if "repeat" in tables.get("study", {}):
        raise UsageError(
            f"{source} has the key study.repeat; a tuning repeats launches as long as that helps: "
            "leave it out"
        )
    hosts = tables.get("study", {}).get("hosts", ())
    if isinstance(hosts, (list, tuple)) and len(hosts) > 1:
        raise UsageError(f"{source} key study.hosts has several host lists; tune on one of them")
    for name, advice in _OWN_SETTINGS.items():
        for table in ("run", "axes"):
            if name in tables.get(table, {}):
                raise UsageError(f"{source} has the key {table}.{name}; leave it out: {advice}")


def _ranks(raw: str) -> int:
    if not raw.isdecimal() or not 1 <= int(raw) <= 2**20:
        raise UsageError(
            f"-np is {config.shown(raw)}; it must be a whole number of ranks from 1 on"
        )
    return int(raw)
