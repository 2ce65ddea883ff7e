"""Where the files of one run are. The only place that knows their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunLayout:
    """The paths inside one run directory."""

    directory: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, with the run id."""
        return self.directory / "config.json"

    @property
    def manifest(self) -> Path:
        """Versions, build flags and machines."""
        return self.directory / "manifest.json"

    @property
    def status(self) -> Path:
        """How the run stands or ended."""
        return self.directory / "status.json"

    @property
    def raw(self) -> Path:
        """The directory of the ranks' records: the evidence."""
        return self.directory / "raw"

    @property
    def stacks(self) -> Path:
        """The directory of the ranks' stacks, where a time limit ended the run."""
        return self.directory / "stacks"

    @property
    def derived(self) -> Path:
        """The directory of everything that can be made again from the records."""
        return self.directory / "derived"


@dataclass(frozen=True)
class AttemptLayout:
    """The paths of one launch of one cell of a study."""

    directory: Path

    @property
    def argv(self) -> Path:
        """What was started, with the variables that were set for it."""
        return self.directory / "argv.json"

    @property
    def log(self) -> Path:
        """Everything that the launch printed."""
        return self.directory / "log"

    @property
    def verdict(self) -> Path:
        """How the launch ended, by the study that started it."""
        return self.directory / "verdict.json"

    @property
    def run(self) -> RunLayout:
        """The run directory that the launch made."""
        return RunLayout(self.directory / "run")


@dataclass(frozen=True)
class LaunchesLayout:
    """The paths inside a directory of many launches."""

    directory: Path

    @property
    def cells(self) -> Path:
        """The directory of all cells: what is launched, each perhaps several times."""
        return self.directory / "cells"

    @property
    def lock(self) -> Path:
        """Held by the one process that works on the directory."""
        return self.directory / "lock"

    @property
    def derived(self) -> Path:
        """The directory of everything that can be made again from the cells."""
        return self.directory / "derived"

    def cell(self, cell_id: str) -> Path:
        """The directory of all launches of one cell."""
        return self.cells / cell_id

    def attempt(self, cell_id: str, number: int) -> AttemptLayout:
        """One launch of one cell; `number` counts from 1."""
        return AttemptLayout(self.cell(cell_id) / f"attempt-{number}")


@dataclass(frozen=True)
class StudyLayout(LaunchesLayout):
    """The paths inside the directory of one study."""

    @property
    def study(self) -> Path:
        """The description and the cells that follow from it."""
        return self.directory / "study.json"

    @property
    def jobs(self) -> Path:
        """The directory of written job scripts."""
        return self.directory / "jobs"


@dataclass(frozen=True)
class TuneLayout(LaunchesLayout):
    """The paths inside the directory of one tuning."""

    @property
    def cells(self) -> Path:
        """The directory of the candidates."""
        return self.directory / "candidates"

    @property
    def tune(self) -> Path:
        """What is tuned, which launches there were, and how it ended."""
        return self.directory / "tune.json"

    @property
    def winner(self) -> Path:
        """The settings that were found, as a study file."""
        return self.derived / "winner.toml"
