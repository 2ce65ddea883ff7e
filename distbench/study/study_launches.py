"""The launches of a study that can be analysed, and what of it is not complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distbench.study import study_files
from distbench.study.study_files import StudyRecord

if TYPE_CHECKING:
    from distbench.analysis.studies import FinishedLaunch


def finished_launches(record: StudyRecord) -> list[FinishedLaunch]:
    """Every complete launch, in the order of the cells."""
    from distbench.analysis.studies import FinishedLaunch  # pandas loads only where it is needed

    launcher = record.emitted or str(record.description["study"]["launcher"])
    return [
        FinishedLaunch(
            cell=cell.label,
            attempt=attempt.number,
            varied=cell.varied,
            launcher=launcher,
            hosts=cell.hosts,
            directory=attempt.layout.run.directory,
        )
        for cell in record.cells
        for attempt in record.attempts(cell)
        if attempt.verdict.state == study_files.COMPLETE
    ]


def unfinished_cells(record: StudyRecord) -> list[str]:
    """In words, every cell with fewer complete launches than its study asks for."""
    complete = {cell.label: study_files.completed(record.attempts(cell)) for cell in record.cells}
    return [
        f"{record.repeat - done} of {record.repeat} launch(es) of {label}"
        for label, done in complete.items()
        if done < record.repeat
    ]
