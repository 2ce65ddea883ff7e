"""`distbench compare`: from two directories to a comparison, its files, and an exit code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distbench.config import shown
from distbench.errors import RecordsError, SlowerError, UsageError
from distbench.layout import StudyLayout

if TYPE_CHECKING:
    from distbench.analysis.cell_pairs import Side
    from distbench.analysis.compare import Comparison

MOST_PER_CENT = 1000


@dataclass(frozen=True)
class Options:
    """The flags of `distbench compare`; '' and None where one was not given."""

    a: str
    b: str
    fail_above: str | None = None
    json_file: str = ""
    output: str = ""
    despite_differences: bool = False


def read_threshold(text: str) -> float:
    """'3%' and '3 %' -> 0.03. Raises UsageError for all else, so that nobody reads 0.03 as 3 %."""
    match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,6})?) ?%", text, flags=re.ASCII)
    per_cent = float(match[1]) if match else 0.0
    if not 0 < per_cent <= MOST_PER_CENT:
        raise UsageError(
            f"--fail-above is {shown(text)}; it must be a positive number of per cent with its sign, "
            f"such as 3% or 0.5%, and at most {MOST_PER_CENT}%"
        )
    return per_cent / 100


def run_compare(options: Options, say: Callable[[str], None]) -> None:
    """Compares and shows it: what the sides differ in first, then the numbers.

    Raises UsageError where the sides are not comparable, SlowerError where B is slower than A by more
    than --fail-above, and RecordsError where there is nothing to read.
    """
    threshold = None if options.fail_above is None else read_threshold(options.fail_above)
    from distbench.analysis.compare import DEFAULT_THRESHOLD, compare
    from distbench.report import compare_report

    a, b = _side(options.a), _side(options.b)
    comparison = compare(a, b, DEFAULT_THRESHOLD if threshold is None else threshold)
    say(compare_report.terminal_differences(comparison))
    _check(comparison, options.despite_differences)
    say(f"\n{compare_report.terminal_comparison(comparison)}")
    if options.output:
        path = compare_report.write_files(comparison, Path(options.output))
        say(f"\ncomparison: {path}")
    if options.json_file:
        compare_report.write_json(comparison, Path(options.json_file))
    if threshold is not None:
        _fail_where_slower(comparison)


def _side(directory: str) -> Side:
    """The run or the complete launches of the study in a directory."""
    from distbench.analysis.cell_pairs import Side
    from distbench.analysis.compared_launches import read_compared
    from distbench.analysis.studies import FinishedLaunch
    from distbench.study import study_files
    from distbench.study.study_launches import finished_launches, unfinished_cells

    path = Path(directory)
    if not StudyLayout(path).study.exists():
        alone = FinishedLaunch("", 1, {}, "not recorded", "", path)
        return Side(directory, (read_compared(alone),))
    record = study_files.load(path)
    launches = [read_compared(launch) for launch in finished_launches(record)]
    if not launches:
        raise RecordsError(
            f"the study in {directory} has no complete launch to compare; run it, or go on with it by "
            "--resume"
        )
    return Side(directory, tuple(launches), tuple(unfinished_cells(record)))


def _check(comparison: Comparison, despite_differences: bool) -> None:
    if comparison.refusals and not despite_differences:
        raise UsageError(
            f"A and B are not comparable: {'; '.join(map(_short, comparison.refusals[:5]))}"
            f"{_and_more(len(comparison.refusals) - 5)}; compare like with like, or show the numbers "
            "all the same with --despite-differences"
        )
    if not comparison.rows:
        apart = "; ".join(map(_short, comparison.apart[:4]))
        raise UsageError(
            f"A and B have no size and phase in common: {apart}"
            f"{_and_more(len(comparison.apart) - 4)}; name runs that measured the same"
        )


def _short(text: str) -> str:
    from distbench.plain_text import printable

    return printable(text if len(text) <= 200 else f"{text[:200]}…")


def _and_more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""


def _fail_where_slower(comparison: Comparison) -> None:
    from distbench.analysis.compare import SLOWER
    from distbench.analysis.studies import FROM_ROUNDS
    from distbench.report.compare_words import change_size, place_text, threshold_text

    slower = comparison.with_verdict(SLOWER)
    if slower:
        most = slower[0]
        doubt = "; these are single launches, so repeat them to be sure"
        raise SlowerError(
            f"B is slower than A by more than {threshold_text(comparison.threshold)}: "
            f"{_short(place_text(most))} takes {change_size(most.ratio)} longer"
            f"{_and_more(len(slower) - 1)}; see the table above, and find what changed among the "
            f"differences{doubt if most.replication == FROM_ROUNDS else ''}"
        )
