"""A tuning on disk: tune.json, and its launches below candidates/, as a study's below cells/.

tune.json says for every launch which setting, round and purpose it was of; with the launches' own records
the whole search can be gone through again, which is how a tuning is resumed and reported.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from distbench.durable_files import json_document, write_atomically
from distbench.errors import UsageError
from distbench.layout import TuneLayout
from distbench.study.documents import Schema, read_document
from distbench.study.study_files import directory_name, new_directory
from distbench.tune.space import Choice
from distbench.tune.tune_file import Tuning, tuning_from_dict

SCHEMA = Schema("distbench.tune", 1)
RATE, EFFICIENCY = "rate", "efficiency"
WHAT = "tuning"


class Purpose(NamedTuple):
    """What a launch is for: RATE in a round, or EFFICIENCY, which counts in no round (0)."""

    what: str
    choice: Choice
    round: int


@dataclass
class TuneRecord:
    """One tuning as its directory tells it; `save` after each change."""

    layout: TuneLayout
    mark: str  # names its processes
    tuning: Tuning
    budget_s: float
    spent_s: float = 0.0
    launches: dict[Purpose, int] = field(default_factory=dict)  # attempts of their cells
    half_spent: dict[int, bool] = field(default_factory=dict)  # by round
    ended: str = ""  # why no more launches were started, where the search did not end by itself

    def save(self) -> None:
        """Writes tune.json."""
        document = {
            **SCHEMA.as_dict(),
            "mark": self.mark,
            "tuning": self.tuning.as_dict(),
            "budget_s": self.budget_s,
            "spent_s": round(self.spent_s, 3),
            "launches": [
                {**purpose._asdict(), "attempt": attempt}
                for purpose, attempt in self.launches.items()
            ],
            "half_spent": {str(number): value for number, value in self.half_spent.items()},
            "ended": self.ended,
        }
        write_atomically(self.layout.tune, json_document(document))


def create(tuning: Tuning, budget_s: float, output: str) -> TuneRecord:
    """Makes the directory of a new tuning: `output`, or one under results/ named after it.

    Raises OutputError where it exists already or cannot be made.
    """
    directory = new_directory(output, tuning.study.name, WHAT)
    record = TuneRecord(TuneLayout(directory), str(uuid.uuid4()), tuning, budget_s)
    record.save()
    return record


def load(directory: Path) -> TuneRecord:
    """Reads tune.json. Raises RecordsError where the directory holds no tuning."""
    layout = TuneLayout(directory)
    return read_document(layout.tune, WHAT, SCHEMA, lambda document: _record(layout, document))


def _record(layout: TuneLayout, document: Mapping[str, Any]) -> TuneRecord:
    tuning = tuning_from_dict(document["tuning"])
    launches = {}
    for one in document["launches"]:
        choice = tuple(int(level) for level in one["choice"])
        if len(choice) != len(tuning.space.axes) or not all(
            0 <= level < len(axis.levels) for level, axis in zip(choice, tuning.space.axes)
        ):
            raise ValueError("a launch is of no setting of the tuning")
        purpose = Purpose(str(one["what"]), choice, int(one["round"]))
        launches[purpose] = int(one["attempt"])
    return TuneRecord(
        layout=layout,
        mark=str(uuid.UUID(document["mark"])),
        tuning=tuning,
        budget_s=float(document["budget_s"]),
        spent_s=float(document["spent_s"]),
        launches=launches,
        half_spent={int(name): bool(value) for name, value in document["half_spent"].items()},
        ended=str(document["ended"]),
    )


def find(name: str, output: str) -> TuneRecord:
    """The tuning to resume: the one in `output`, else the newest of that name under results/.

    Raises UsageError where there is none.
    """
    if output:
        return load(Path(output))
    beginning = directory_name(name, WHAT)
    found = sorted(Path("results").glob(f"{beginning}-*/{TuneLayout(Path()).tune.name}"))
    records = [load(path.parent) for path in found]
    of_that_name = [one for one in records if one.tuning.study.name == name]
    if not of_that_name:
        raise UsageError(
            f"there is no tuning {name!r} under results/ to resume; "
            "name its directory with --output, or leave --resume out to begin"
        )
    return of_that_name[-1]
