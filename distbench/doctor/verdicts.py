"""What the doctor says: verdicts in sections, as text for a terminal and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distbench.plain_text import printable

OK, NOTE, PROBLEM = "ok", "note", "problem"
FORMAT, FORMAT_VERSION = "distbench.doctor", 1
LONGEST_TEXT = 400  # of what was found and of its fix; a path or a log line may be of any length


@dataclass(frozen=True)
class Verdict:
    """What was found, and what to do about it; `numbers` holds what was measured, in SI units."""

    level: str
    found: str
    fix: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One printable line without the level."""
        parts = [part for part in (self.found, self.fix) if part]
        return "; ".join(_short(printable(part)) for part in parts)


@dataclass(frozen=True)
class Section:
    """The verdicts on one subject."""

    title: str
    verdicts: Sequence[Verdict]


def ok(found: str, **numbers: float) -> Verdict:
    """Nothing to do."""
    return Verdict(OK, found, numbers=numbers)


def note(found: str, fix: str) -> Verdict:
    """A job can run, but this is worth knowing."""
    return Verdict(NOTE, found, fix)


def problem(found: str, fix: str) -> Verdict:
    """A job would fail, or its numbers would not be what they seem."""
    return Verdict(PROBLEM, found, fix)


def lines_of(section: Section) -> Iterator[str]:
    """The section for a terminal: its title, then one line for each verdict."""
    yield section.title
    for verdict in section.verdicts:
        yield f"  {verdict.level + ':':<8} {verdict.text}"


def count(sections: Sequence[Section], level: str) -> int:
    """How many verdicts are of this level."""
    return len(of_level(sections, level))


def of_level(sections: Sequence[Section], level: str) -> list[Verdict]:
    """All verdicts of this level, in their order."""
    return [one for section in sections for one in section.verdicts if one.level == level]


def last_line(sections: Sequence[Section]) -> str:
    """'doctor: N problem(s), M note(s)', for people and scripts alike."""
    problems, notes = count(sections, PROBLEM), count(sections, NOTE)
    return f"doctor: {problems} problem(s), {notes} note(s)"


def document(sections: Sequence[Section], ranks: int) -> dict[str, Any]:
    """The same for programs, to be written as JSON."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ranks": ranks,
        "problems": count(sections, PROBLEM),
        "notes": count(sections, NOTE),
        "sections": [
            {
                "title": section.title,
                "verdicts": [
                    {
                        "level": one.level,
                        "found": _short(printable(one.found)),
                        "fix": _short(printable(one.fix)),
                        "numbers": dict(one.numbers),
                    }
                    for one in section.verdicts
                ],
            }
            for section in sections
        ],
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
