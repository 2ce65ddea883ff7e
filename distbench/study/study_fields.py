"""What the keys of a study file may hold. Each table is read strictly: an unknown key is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from distbench import config, parsing
from distbench.errors import UsageError
from distbench.launchers import CONTROLLERS, MOST_SLOTS, STUDY_LAUNCHERS, parse_hosts

TABLES = ("study", "run", "axes", "horovod", "job")
LONGEST_NAME = 100
MOST_SECONDS = 30 * 24 * 3600
_HOROVOD_NAME = re.compile(r"HOROVOD_[A-Z_]+")
# The launchers set these themselves: another value would break the job, or be overwritten.
_LAUNCHERS_OWN = re.compile(
    r"HOROVOD_((LOCAL_|CROSS_)?(RANK|SIZE)|HOSTNAME|GLOO_RENDEZVOUS_[A-Z_]+|CONTROLLER|CPU_OPERATIONS)"
)


def _name(raw: Any) -> str:
    if not isinstance(raw, str) or not 1 <= len(raw) <= LONGEST_NAME or not raw.isprintable():
        raise ValueError(f"a name of 1 to {LONGEST_NAME} printable characters")
    return raw


def _limited(least: int, most: int) -> parsing.Parser:
    def parse(raw: Any) -> int:
        if type(raw) is not int or not least <= raw <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return raw

    return parse


def _texts(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, (list, tuple)) or not all(isinstance(one, str) for one in raw):
        raise ValueError("a list of texts")
    if not all(one.isprintable() for one in raw):
        raise ValueError("a list of texts without control characters")
    return tuple(raw)


def _host_lists(raw: Any) -> tuple[str, ...]:
    lists = _texts(raw)
    if len(set(lists)) != len(lists):
        raise ValueError("a list of different host lists")
    for one in lists:
        parse_hosts(one)
    return lists


_repeat = _limited(1, 1000)
# Parser and default of each key; without a default the key must be given.
_STUDY_KEYS: dict[str, tuple[parsing.Parser, Any]] = {
    "name": (_name, None),
    "launcher": (parsing.one_of(*STUDY_LAUNCHERS), "local"),
    "controller": (parsing.one_of(*CONTROLLERS), "gloo"),
    "ranks": (_limited(0, 2**20), 0),
    "hosts": (_host_lists, ()),
    "repeat": (_repeat, 1),
    "time_limit_s": (_limited(1, MOST_SECONDS), 3600),
    "order_seed": (_limited(0, parsing.MOST), 0),
    "launcher_arguments": (_texts, ()),
}
_JOB_KEYS: dict[str, tuple[parsing.Parser, Any]] = {
    "ranks_per_node": (_limited(0, MOST_SLOTS), 0),
    "gpus_per_rank": (_limited(0, MOST_SLOTS), 1),
    "cpus_per_rank": (_limited(0, MOST_SLOTS), 0),
}


def repeat_flag(raw: str) -> int:
    """The value of --repeat. Raises UsageError where it can be none."""
    return int(_parsed(_repeat, int(raw) if raw.isdecimal() else raw, "--repeat"))


def check_tables(
    tables: Mapping[str, Any], source: str, known: Sequence[str] = TABLES, what: str = "study"
) -> None:
    """Raises UsageError where `tables` holds a key that is no table of a study, or of a `what`."""
    for name, table in tables.items():
        if name not in known:
            raise UsageError(
                f"{source} has the unknown key {config.shown(name)}; "
                f"a {what} has the tables {', '.join(known)}"
            )
        if not isinstance(table, Mapping):
            raise UsageError(
                f"{source}: {name} is {config.shown(table)}; it must be a table, [{name}]"
            )


def study_table(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values of [study], by key, with the defaults filled in."""
    if "name" not in table:
        raise UsageError(f"{source} has no key study.name; give the study a name")
    return _with_defaults("study", table, _STUDY_KEYS, source)


def job_table(table: Mapping[str, Any], source: str) -> dict[str, int]:
    """The values of [job], by key, with the defaults filled in."""
    return _with_defaults("job", table, _JOB_KEYS, source)


def _with_defaults(
    name: str,
    table: Mapping[str, Any],
    keys: Mapping[str, tuple[parsing.Parser, Any]],
    source: str,
) -> dict[str, Any]:
    for key in table:
        if key not in keys:
            raise _unknown(f"{name}.{key}", keys, source)
    return {
        key: _parsed(parse, table[key], f"{source} key {name}.{key}") if key in table else default
        for key, (parse, default) in keys.items()
    }


def _unknown(key: str, known: Mapping[str, Any], source: str) -> UsageError:
    found = config.shown(key)
    return UsageError(f"{source} has the unknown key {found}; known are {', '.join(known)}")


def _parsed(parse: parsing.Parser, raw: Any, source: str) -> Any:
    try:
        return parse(raw)
    except ValueError as wanted:
        raise UsageError(f"{source} is {config.shown(raw)}; it must be {wanted}") from None


def run_table(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The settings of [run], checked as `distbench run` checks them."""
    return {key: _setting(f"run.{key}", key, raw, source) for key, raw in table.items()}


def _setting(shown_key: str, name: str, raw: Any, source: str) -> Any:
    if name == "output":
        raise UsageError(
            f"{source} has the key {shown_key}, but each launch of a study has a run directory of "
            "its own; leave it out, and name the study's with --output"
        )
    if name not in config.settings():
        known = {key: None for key in config.settings() if key != "output"}
        raise _unknown(shown_key, known, source)
    return config.checked_value(name, raw, f"{source} key {shown_key}")


def axes_table(table: Mapping[str, Any], source: str) -> dict[str, tuple[Any, ...]]:
    """The lists of [axes]: different values of settings; `sizes` is a number of ranks each."""
    axes: dict[str, tuple[Any, ...]] = {}
    for name, raw in table.items():
        key = f"axes.{name}"
        for one in _list(raw, f"{source} key {key}", "such as [1, 2]"):
            if name == "sizes":
                value = _parsed(_size, one, f"{source} key {key}")
            else:
                value = _setting(key, name, one, source)
            axes[name] = (*axes.get(name, ()), value)
    _check_different(axes, "axes", source)
    return axes


def _size(raw: Any) -> int:
    try:
        return _limited(1, 2**20)(raw)  # type: ignore[no-any-return]
    except ValueError:
        raise ValueError(
            "a list of numbers of ranks, a launch for each; sizes of one launch stand in [run]"
        ) from None


def _list(raw: Any, source: str, example: str) -> list[Any]:
    if not isinstance(raw, list) or not raw:
        raise UsageError(
            f"{source} is {config.shown(raw)}; it must be a list with at least one value, {example}"
        )
    return raw


def _check_different(lists: Mapping[str, tuple[Any, ...]], table: str, source: str) -> None:
    for name, values in lists.items():
        for position, value in enumerate(values):
            if value in values[:position]:
                raise UsageError(
                    f"{source} key {table}.{name} holds {config.shown(value)} twice; give each "
                    "value once, and --repeat for several launches of each cell"
                )


def horovod_table(table: Mapping[str, Any], source: str) -> dict[str, tuple[str, ...]]:
    """The lists of [horovod]: values of Horovod's environment variables, as text."""
    variables = {}
    for name, raw in table.items():
        if not _HOROVOD_NAME.fullmatch(name):
            raise UsageError(
                f"{source} has the unknown key {config.shown(f'horovod.{name}')}; known are "
                "Horovod's variables, such as HOROVOD_FUSION_THRESHOLD"
            )
        if _LAUNCHERS_OWN.fullmatch(name):
            raise UsageError(
                f"{source} has the key horovod.{name}, which the launcher sets; leave it out"
            )
        key = f"{source} key horovod.{name}"
        values = _list(raw, key, "such as [0, 67108864]")
        variables[name] = tuple(_parsed(_variable, one, key) for one in values)
    _check_different(variables, "horovod", source)
    return variables


def _variable(raw: Any) -> str:
    if isinstance(raw, bool):
        return "1" if raw else "0"
    text = str(raw)
    if not isinstance(raw, (str, int, float)) or not text.isprintable() or len(text) > 200:
        raise ValueError("a list of numbers, of true and false, or of short texts")
    return text


def file_name(text: str, fallback: str, longest: int) -> str:
    """A name made of `text` that is safe for a file: ASCII letters, digits, '.', '_' and '-'."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", text.replace(", ", "_"))
    return plain[:longest].strip("._-") or fallback


def is_file_name(text: str) -> bool:
    """Whether `text` is such a name, which leads to no other folder."""
    return re.fullmatch(r"(?![.-])[A-Za-z0-9._-]{1,64}", text) is not None
