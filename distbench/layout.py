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
    def derived(self) -> Path:
        """The directory of everything that can be made again from the records."""
        return self.directory / "derived"
