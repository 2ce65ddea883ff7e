"""The launches of a study as job scripts for a batch system: written here, started by a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distbench.durable_files import json_document, read_object, write_atomically
from distbench.errors import OutputError
from distbench.job_scripts import FILE_SUFFIXES, Job, job_script
from distbench.layout import AttemptLayout
from distbench.study import study_files
from distbench.study.study import Cell, Study, command_of
from distbench.study.study_files import Attempt, StudyRecord, Verdict

_SUBMIT = {
    "slurm": 'for job in jobs/*.sbatch; do sbatch "$job"; done',
    "lsf": 'for job in jobs/*.lsf; do bsub "$job"; done',
    "k8s": "kubectl apply -f jobs/",
}


def write_jobs(
    study: Study, record: StudyRecord, attempts: Mapping[str, Sequence[Attempt]]
) -> list[str]:
    """Writes a job script for every launch that is neither complete nor waiting; says what to do."""
    _make(record.layout.jobs)
    written = []
    for cell in record.cells:
        known = [_noted(attempt) for attempt in attempts[cell.id]]
        open_ones = [state for state in known if state in _HOPEFUL]
        first = attempts[cell.id][-1].number + 1 if known else 1
        for number in range(first, first + max(0, record.repeat - len(open_ones))):
            written.append(_write_job(study, record, cell, number))
    return _instructions(record, written)


_HOPEFUL = (study_files.COMPLETE, study_files.WAITING)


def _noted(attempt: Attempt) -> str:
    """How the launch stands; a failure that its run has recorded is noted as its end."""
    status = read_object(attempt.layout.run.status)
    if attempt.verdict.state == study_files.WAITING and status.get("state") == "failed":
        verdict = Verdict(study_files.FAILED, str(status.get("cause", "its status.json says so")))
        study_files.write_verdict(attempt.layout, verdict)
        return study_files.FAILED
    return attempt.verdict.state


def _make(directory: Path) -> None:
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{directory} cannot be made ({error.strerror}); make the study's directory writable"
        ) from error


def _write_job(study: Study, record: StudyRecord, cell: Cell, number: int) -> Path:
    """One job, whose run directory is named as seen from the study's directory."""
    name = f"{cell.id}-{number}"
    job = Job(
        name=name,
        ranks=cell.ranks,
        ranks_per_node=study.job["ranks_per_node"],
        command=command_of(cell, _output(record, cell, number), "python"),
        environment=cell.horovod,
        time_limit_s=study.time_limit_s,
        gpus_per_rank=study.job["gpus_per_rank"],
        cpus_per_rank=study.job["cpus_per_rank"],
    )
    text = job_script(record.emitted, job)
    layout = study_files.new_attempt(record, cell, number)
    document = {"argv": list(job.command), "environment": dict(cell.horovod), "job": name}
    write_atomically(layout.argv, json_document(document))
    path = record.layout.jobs / f"{name}{FILE_SUFFIXES[record.emitted]}"
    write_atomically(path, text.encode())
    return path


def _output(record: StudyRecord, cell: Cell, number: int) -> str:
    layout: AttemptLayout = record.layout.attempt(cell.id, number)
    return layout.run.directory.relative_to(record.layout.directory).as_posix()


def _instructions(record: StudyRecord, written: Sequence[Path]) -> list[str]:
    if not written:
        return ["No job to write: every launch is complete, or its job waits or runs."]
    lines = [
        f"{len(written)} job(s) written, none started. In {record.layout.directory}:",
        f"  {_SUBMIT[record.emitted]}",
    ]
    if record.emitted == "k8s":
        lines.append("Afterwards copy the folder cells from the volume of the jobs to here.")
    return [*lines, "When they have ended, collect them: distbench study FILE --resume"]


def waiting_lines(record: StudyRecord, attempts: Mapping[str, Sequence[Attempt]]) -> list[str]:
    """What is still to come from the batch system, and what to do where a job is gone."""
    states = {
        attempt.layout.directory: _noted(attempt)
        for cell in record.cells
        for attempt in attempts[cell.id]
    }
    waiting = [path for path, state in states.items() if state == study_files.WAITING]
    failed = [path for path, state in states.items() if state in study_files.FAILURES]
    lines = []
    if waiting:
        lines.append(
            f"{len(waiting)} job(s) have not finished, such as {waiting[0]}; where its job is gone, "
            f"delete that folder and write it again: --resume --emit {record.emitted}"
        )
    if failed:
        lines.append(
            f"{len(failed)} job(s) failed; write them again: --resume --emit {record.emitted}"
        )
    return lines
