"""The frozen configuration of a run and the one place where its values are checked.

Precedence: defaults < preset < TOML file < DISTBENCH_* variables < flags. Which preset fills the gaps
depends on the device, which is known only on the rank, so that reading (`read_overrides`, before any
heavy import) and resolving (`resolve`, once the device is known) are two steps.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from distbench import vgg
from distbench.errors import UsageError

PHASES = (
    "forward",
    "forward_backward",
    "allreduce",
    "forward_backward_allreduce",
    "train_step",
)
ENVIRONMENT_PREFIX = "DISTBENCH_"
# DISTBENCH_* variables that are no settings of a run.
OTHER_VARIABLES = frozenset({"DISTBENCH_CACHE_DIR"})
MOST = 2**31 - 1  # no setting is larger

PRESETS: dict[str, dict[str, Any]] = {
    # The benchmark that this project grew from; its fc8 has a ReLU, unlike the paper's.
    "seed": {"head": "relu"},
    # The same sizes with the paper's head: what runs on a GPU where no preset is named.
    "gpu": {},
    # What runs on a CPU where no preset is named: the real network, few steps, the smallest batch.
    "cpu": {"batch_size": 1, "warmup_steps": 2, "steps": 12, "blocks": 6},
    # A smoke run that proves the machinery in under a minute; not VGG.
    "quick": {
        "image_size": 32,
        "batch_size": 8,
        "classes": 10,
        "fc_units": 128,
        "width_multiplier": 0.25,
        "warmup_steps": 4,
        "steps": 72,
        "blocks": 6,
    },
}


def _whole_number(least: int) -> Callable[[Any], int]:
    def parse(raw: Any) -> int:
        try:
            number = int(raw) if isinstance(raw, str) else raw
        except ValueError:
            number = None
        if type(number) is not int or not least <= number <= MOST:
            raise ValueError(f"a whole number of at least {least}")
        return number

    return parse


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(raw: Any) -> str:
        if not isinstance(raw, str) or raw not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return raw

    return parse


def _image_size(raw: Any) -> int:
    wanted = f"a positive multiple of {vgg.DOWNSCALING}, such as 224 (five pools halve each side)"
    try:
        size = _whole_number(1)(raw)
    except ValueError:
        raise ValueError(wanted) from None
    if size % vgg.DOWNSCALING:
        raise ValueError(wanted)
    return size


def _width_multiplier(raw: Any) -> float:
    wanted = "a positive number that turns 64 channels into a whole number of them, such as 0.25"
    try:
        factor = Fraction(str(raw))
    except (ValueError, ZeroDivisionError):
        raise ValueError(wanted) from None
    if not 0 < factor <= MOST or (factor * 64).denominator != 1:
        raise ValueError(wanted)
    return float(factor)


def _phases(raw: Any) -> tuple[str, ...]:
    names = raw.split(",") if isinstance(raw, str) else raw
    wanted = f"a list without repetition of {', '.join(PHASES)}"
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError(wanted)
    if any(name not in PHASES for name in names) or len(set(names)) != len(names):
        raise ValueError(wanted)
    return tuple(name for name in PHASES if name in names)  # always in the ladder's order


def _switch(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    switches = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if not isinstance(raw, str) or raw not in switches:
        raise ValueError("true or false")
    return switches[raw]


def _path(raw: Any) -> str:
    if not isinstance(raw, str) or not raw or not raw.isprintable():
        raise ValueError("the path of a directory, without control characters")
    return raw


def _setting(default: Any, parse: Callable[[Any], Any], help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text})


@dataclass(frozen=True)
class Config:
    """What one run measures; the defaults are those of a GPU."""

    preset: str = _setting(
        "gpu",
        _one_of(*PRESETS),
        "named set of values: seed (the original benchmark), gpu (the same with the paper's head), "
        "cpu (batch 1, few steps), quick (smoke run, not VGG); by default gpu or cpu by device",
    )
    config: str = _setting(
        "D", _one_of(*vgg.CONFIGURATIONS), "configuration of the paper's Table 1: A to E"
    )
    image_size: int = _setting(224, _image_size, "side of the square images, a multiple of 32")
    batch_size: int = _setting(32, _whole_number(1), "images per rank and step")
    classes: int = _setting(1000, _whole_number(1), "outputs of fc8")
    fc_units: int = _setting(4096, _whole_number(1), "outputs of fc6 and fc7")
    width_multiplier: float = _setting(
        1.0, _width_multiplier, "factor on the widths of the convolutions"
    )
    head: str = _setting(
        "linear", _one_of(*vgg.HEADS), "linear (the paper's logits) or relu (a ReLU on fc8)"
    )
    phases: tuple[str, ...] = _setting(
        PHASES, _phases, "phases to time, separated by commas: " + ", ".join(PHASES)
    )
    warmup_steps: int = _setting(
        10, _whole_number(0), "warm-up steps of each phase, recorded and marked"
    )
    steps: int = _setting(100, _whole_number(1), "timed steps of each phase")
    blocks: int = _setting(
        10, _whole_number(1), "blocks that a phase's timed steps are divided into"
    )
    threads_per_rank: int = _setting(
        0, _whole_number(0), "CPU threads of each rank; 0 shares the allowed cores out"
    )
    seed: int = _setting(0, _whole_number(0), "seed of weights, images and the order of the blocks")
    output: str = _setting("", _path, "the run directory; by default results/<run id>")
    tensorflow_log: bool = _setting(False, _switch, "show TensorFlow's own start-up messages")

    def network(self) -> vgg.Vgg:
        """The network that this configuration describes."""
        return vgg.build(
            self.config,
            self.image_size,
            self.classes,
            self.fc_units,
            self.width_multiplier,
            self.head,
        )

    @property
    def is_vgg(self) -> bool:
        """Whether the layers have the paper's widths."""
        return self.width_multiplier == 1.0 and self.fc_units == 4096

    @property
    def network_label(self) -> str:
        """What a table or chart calls the network; a reduced one is marked."""
        size = f"{self.image_size}×{self.image_size}"
        if self.classes != 1000:
            size += f", {self.classes} classes"
        if self.is_vgg:
            head = ", ReLU on fc8" if self.head == "relu" else ""
            return f"VGG-{self.config}, {size}{head}"
        return (
            f"NOT VGG: {self.config} with width ×{self.width_multiplier:g}, "
            f"{self.fc_units} FC units, {size}"
        )

    def steps_of_blocks(self) -> tuple[int, ...]:
        """How many timed steps each block of a phase has; the first ones take the remainder."""
        each, remainder = divmod(self.steps, self.blocks)
        return tuple(each + (index < remainder) for index in range(self.blocks))

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON knows them."""
        return {**dataclasses.asdict(self), "phases": list(self.phases)}


Overrides = dict[str, Any]  # the checked values that somebody gave, by setting


def settings() -> dict[str, dataclasses.Field[Any]]:
    """Name and field of every setting, in order."""
    return {item.name: item for item in dataclasses.fields(Config)}


def flag_of(name: str) -> str:
    """The command-line flag of a setting: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


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
            overrides[name] = _checked(name, raw, flag_of(name))
    return overrides


def resolve(overrides: Overrides, on_gpu: bool) -> Config:
    """The configuration for this device: defaults, then the preset, then `overrides`.

    Raises UsageError where values contradict each other.
    """
    preset = overrides.get("preset", "gpu" if on_gpu else "cpu")
    values = {**PRESETS[preset], **overrides, "preset": preset}
    if "steps" in overrides and "blocks" not in overrides:
        # Fewer steps than the preset has blocks: each step is then a block of its own.
        values["blocks"] = min(values["steps"], values.get("blocks", Config.blocks))
    config = Config(**values)
    if config.blocks > config.steps:
        raise UsageError(
            f"--blocks is {config.blocks} and --steps is {config.steps}; a block has at least one "
            "timed step, so give at least as many steps as blocks"
        )
    return config


def from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration that `as_dict` wrote; UsageError where it was not one."""
    unknown = sorted(set(values) - set(settings()))
    if unknown:
        raise UsageError(f"config.json has the unknown key {unknown[0]!r}; was it edited?")
    checked = {
        name: _checked(name, raw, f"config.json key {name}")
        for name, raw in values.items()
        if not (name == "output" and raw == "")
    }
    return Config(**checked)


def _checked(name: str, raw: Any, source: str) -> Any:
    try:
        return settings()[name].metadata["parse"](raw)
    except ValueError as wanted:
        raise UsageError(f"{source} is {_shown(raw)}; it must be {wanted}") from None


def _shown(raw: Any) -> str:
    text = raw if isinstance(raw, str) else repr(raw)
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return repr(printable) if len(printable) <= 60 else repr(printable[:60]) + "…"


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
        overrides[name] = _checked(name, environ[variable], variable)
    return overrides


def _from_toml(path: Path) -> Overrides:
    table = _toml_table(path)
    unknown_tables = sorted(set(table) - {"run"})
    if unknown_tables:
        raise UsageError(
            f"{path} has the unknown key {unknown_tables[0]}; settings stand in the table [run]"
        )
    run = table.get("run", {})
    if not isinstance(run, dict):
        raise UsageError(f"{path}: run is {_shown(run)}; it must be a table, [run]")
    overrides: Overrides = {}
    for name, raw in run.items():
        if name not in settings():
            raise UsageError(
                f"{path} has the unknown key run.{name}; known are {', '.join(settings())}"
            )
        overrides[name] = _checked(name, raw, f"{path} key run.{name}")
    return overrides


def _toml_table(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(
            f"the settings file {path} cannot be read ({error.strerror}); name a TOML file that can"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {path} is not valid TOML: {error}") from error
