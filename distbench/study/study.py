"""A study of many launches: its description, and the cells that follow from it. Pure.

A description is a TOML file with the tables [study] (name and launch), [run] (settings of every
launch), [axes] (lists of settings), [horovod] (lists of Horovod's variables) and [job] (what a batch
system must be asked for). The cells are the product of the host lists, the axes and Horovod's
variables, in this order and inside a table in the file's; the last one varies fastest.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distbench import config
from distbench.errors import UsageError
from distbench.groups import plan_groups
from distbench.launchers import Launch, launch_argv, parse_hosts
from distbench.overrides import toml_table
from distbench.plan import plan_blocks
from distbench.resolving import resolve
from distbench.study import study_fields

MOST_CELLS = 1000
# Names the processes of one study on a machine; no setting of a run.
MARK_VARIABLE = "DISTBENCH_STUDY_MARK"
# What a longer study may have that measures the same: neither changes a cell.
MAY_CHANGE = ("study.repeat", "study.time_limit_s")


@dataclass(frozen=True)
class Study:
    """What a study file asks for, checked."""

    name: str
    launcher: str
    controller: str
    ranks: int  # of each launch; 0 where the sizes are an axis
    hosts: tuple[str, ...]  # host lists, an axis; empty: this machine or the allocation
    repeat: int  # launches of each cell
    time_limit_s: int  # of each launch
    order_seed: int
    launcher_arguments: tuple[str, ...]
    run: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    horovod: Mapping[str, tuple[str, ...]]
    job: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The tables of the file as JSON knows them, all defaults written out."""
        scalars = asdict(self)
        tables = {name: scalars.pop(name) for name in ("run", "axes", "horovod", "job")}
        document = {"study": scalars, **tables, "axes_order": [*self.axes, *self.horovod]}
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain


@dataclass(frozen=True)
class Cell:
    """One combination of the axes: what is launched `repeat` times."""

    id: str  # a readable part and a hash of all that makes the cell; fit for a file name
    label: str
    varied: Mapping[str, str]  # the axes of the study and this cell's values, as text
    ranks: int
    hosts: str  # one host list; empty: this machine or the allocation
    settings: Mapping[str, Any]  # of `distbench run`, checked
    horovod: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The cell as JSON knows it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def planned_steps(self, on_gpu: bool) -> int:
        """Warm-up and timed steps of all phases and groups of one launch."""
        return self.steps_of(resolve(dict(self.settings), on_gpu, self.ranks))

    def steps_of(self, settings: config.Config) -> int:
        """The same for settings that are resolved; exact where the nodes are the hosts', or one."""
        hosts = parse_hosts(self.hosts) if self.hosts else ()
        nodes = [node for node, host in enumerate(hosts) for _ in range(host.slots)]
        groups = plan_groups(settings, nodes[: self.ranks] or [0] * self.ranks)
        return sum(block.steps for block in plan_blocks(settings, groups))


def read_study(path: Path) -> Study:
    """Reads and checks a study file. Raises UsageError with the key, what was found and wanted."""
    return parse_study(toml_table(path), str(path))


def parse_study(tables: Mapping[str, Any], source: str) -> Study:
    """The study that `tables` describe; `source` is named where one of them is wrong."""
    study_fields.check_tables(tables, source)
    own = study_fields.study_table(tables.get("study", {}), source)
    run = study_fields.run_table(tables.get("run", {}), source)
    axes = study_fields.axes_table(tables.get("axes", {}), source)
    twice = sorted(set(run) & set(axes))
    if twice:
        raise UsageError(f"{source} has {twice[0]} in both [run] and [axes]; keep one of them")
    study = Study(
        **own,
        run=run,
        axes=axes,
        horovod=study_fields.horovod_table(tables.get("horovod", {}), source),
        job=study_fields.job_table(tables.get("job", {}), source),
    )
    _check_sizes(study, source)
    return study


def _check_sizes(study: Study, source: str) -> None:
    if "sizes" not in study.axes:
        if not study.ranks:
            raise UsageError(
                f"{source} has no key study.ranks; give the number of ranks of each launch, "
                "or a list of sizes in [axes], a launch for each"
            )
        return
    if study.ranks:
        raise UsageError(
            f"{source} has both study.ranks and axes.sizes, where each launch has as many ranks as "
            "its size; leave study.ranks out, or give the sizes in [run] to measure them in one launch"
        )


def cells_of(study: Study) -> tuple[Cell, ...]:
    """Every cell of the study, in order. Raises UsageError where one of them cannot be launched."""
    axes: dict[str, Sequence[Any]] = {}
    if study.hosts:
        axes["hosts"] = study.hosts
    axes.update(study.axes)
    axes.update(study.horovod)
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST_CELLS:
        raise UsageError(
            f"the study has {count} cells; at most {MOST_CELLS} are run in one study: shorten the "
            "lists, or make several studies"
        )
    cells = [
        cell_of(study, dict(zip(axes, values)), len(study.hosts) > 1)
        for values in itertools.product(*axes.values())
    ]
    for cell in cells:
        check_cell(study, cell)
    return tuple(cells)


def cell_of(
    study: Study, chosen: Mapping[str, Any], hosts_vary: bool = False, label: str = "the one cell"
) -> Cell:
    """The cell of these values of some axes; `label` is its name where nothing is chosen."""
    hosts = chosen.get("hosts", "")
    axes = [name for name in study.axes if name in chosen and name != "sizes"]
    settings = {**study.run, **{name: chosen[name] for name in axes}}
    horovod = {name: chosen[name] for name in study.horovod if name in chosen}
    ranks = chosen.get("sizes", study.ranks)
    varied = {
        "size" if name == "sizes" else name: _text(value)
        for name, value in chosen.items()
        if name != "hosts" or hosts_vary
    }
    label = ", ".join(f"{name} {value}" for name, value in varied.items()) or label
    key = {
        "launcher": study.launcher,
        "controller": study.controller,
        "launcher_arguments": study.launcher_arguments,
        "ranks": ranks,
        "hosts": hosts,
        "settings": settings,
        "horovod": horovod,
    }
    return Cell(
        id=f"{study_fields.file_name(label, 'cell', longest=48)}-{_hash(key)}",
        label=label,
        varied=varied,
        ranks=ranks,
        hosts=hosts,
        settings=settings,
        horovod=horovod,
    )


def _hash(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:10]


def check_cell(study: Study, cell: Cell) -> None:
    """Raises UsageError where the cell cannot be launched, whatever the device."""
    try:
        for on_gpu in (True, False):
            resolve(dict(cell.settings), on_gpu, cell.ranks)
        launch_argv(launch_of(study, cell), command_of(cell, "run", "python"))
    except UsageError as error:
        raise UsageError(f"{cell.label} cannot be run: {error.sentence}") from error


def launch_of(study: Study, cell: Cell) -> Launch:
    """How the cell is started; the study's mark and Horovod's variables go to every host."""
    return Launch(
        launcher=study.launcher,
        ranks=cell.ranks,
        controller=study.controller,
        hosts=parse_hosts(cell.hosts) if cell.hosts else (),
        environment=(MARK_VARIABLE, *cell.horovod),
        arguments=study.launcher_arguments,
    )


def command_of(cell: Cell, output: str, python: str) -> tuple[str, ...]:
    """What each rank of the cell runs; `output` is its run directory."""
    return (python, "-m", "distbench", "run", *flags_of(cell.settings), "--output", output)


def flags_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `distbench run` takes them."""
    words: list[str] = []
    for name, value in settings.items():
        if value is True:
            words.append(config.flag_of(name))
        elif value is not False:
            words += [config.flag_of(name), _text(value)]
    return words


def _text(value: Any) -> str:
    """A checked value as a flag takes it and a person reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def cell_from_dict(document: Mapping[str, Any]) -> Cell:
    """The cell that `Cell.as_dict` wrote, its settings and its id checked again."""
    if not study_fields.is_file_name(str(document["id"])):
        raise UsageError(
            f"a cell has the id {config.shown(document['id'])}; was study.json edited?"
        )
    settings = {
        name: config.checked_value(name, raw, f"study.json setting {name}")
        for name, raw in document["settings"].items()
    }
    return Cell(**{**document, "settings": settings})


def launch_order(cells: Sequence[Cell], repeat: int, seed: int) -> list[tuple[Cell, int]]:
    """Every launch as (cell, which launch of it, from 1): rounds of all cells, each shuffled.

    So drift over the hours meets all cells alike. A larger `repeat` only adds rounds at the end.
    """
    shuffler = random.Random(seed)
    order = []
    for launch in range(1, repeat + 1):
        turn = list(cells)
        shuffler.shuffle(turn)
        order += [(cell, launch) for cell in turn]
    return order


def changes(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions (`Study.as_dict`) beyond MAY_CHANGE, in words."""
    before, after = _flat(recorded), _flat(wanted)
    return [
        f"{name} is {_shown(after, name)} and was {_shown(before, name)}"
        for name in sorted(set(before) | set(after))
        if before.get(name) != after.get(name) and name not in MAY_CHANGE
    ]


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for table, content in tables.items():
        if isinstance(content, Mapping):
            flat.update({f"{table}.{name}": value for name, value in content.items()})
        else:
            flat[table] = content
    return flat


def _shown(flat: Mapping[str, Any], name: str) -> str:
    return config.shown(flat[name]) if name in flat else "not given"
