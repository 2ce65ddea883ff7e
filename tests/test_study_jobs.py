from __future__ import annotations

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest

from distbench.durable_files import json_document
from distbench.errors import UsageError
from distbench.study import study_files
from distbench.study.study_command import Options, Outcome, run_study
from distbench.study.study_plan import Console
from tests.study_fakes import SMALL_TOML, run_of_cell

JOB = '[job]\nranks_per_node = 1\ngpus_per_rank = 0\n[horovod]\nHOROVOD_CYCLE_TIME = ["2; x"]\n'


class Emission:
    def __init__(self, folder: Path) -> None:
        self.toml = folder / "study.toml"
        self.toml.write_text(SMALL_TOML.replace('["A", "D"]', '["A"]') + JOB)
        self.directory = folder / "study"
        self.out, self.err = io.StringIO(), io.StringIO()

    def __call__(self, emit: str = "", resume: bool = False) -> Outcome:
        self.out, self.err = io.StringIO(), io.StringIO()
        options = Options(str(self.toml), str(self.directory), resume=resume, emit=emit)
        return run_study(options, {"PATH": "/nowhere"}, Console(self.out, self.err))

    @property
    def record(self) -> study_files.StudyRecord:
        return study_files.load(self.directory)

    @property
    def jobs(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "jobs").iterdir())

    def finish(self, cell: int, attempt: int = 1) -> None:
        """What the job of a cell would leave."""
        layout = self.record.layout.attempt(self.record.cells[cell].id, attempt)
        run_of_cell(layout.run.directory, self.record.cells[cell])


@pytest.fixture
def emission(tmp_path: Path) -> Emission:
    return Emission(tmp_path)


@pytest.mark.parametrize(
    ("kind", "suffix", "submit"),
    [
        ("slurm", ".sbatch", '  for job in jobs/*.sbatch; do sbatch "$job"; done'),
        ("lsf", ".lsf", '  for job in jobs/*.lsf; do bsub "$job"; done'),
        ("k8s", ".yaml", "  kubectl apply -f jobs/"),
    ],
)
def test_a_script_is_written_for_each_launch_and_none_started(
    kind: str, suffix: str, submit: str, emission: Emission
) -> None:
    assert emission(emit=kind) == Outcome()
    cells = emission.record.cells
    assert emission.jobs == sorted(f"{cell.id}-1{suffix}" for cell in cells)
    text = (emission.directory / "jobs" / f"{cells[0].id}-1{suffix}").read_text()
    assert f"cells/{cells[0].id}/attempt-1/run" in text
    assert "--batch-size" in text
    lines = emission.out.getvalue().splitlines()
    assert f"2 job(s) written, none started. In {emission.directory}:" in lines
    assert submit in lines
    assert lines[-1] == "When they have ended, collect them: distbench study FILE --resume"
    assert not list(emission.directory.glob("cells/*/*/log"))
    argv = emission.record.layout.attempt(cells[0].id, 1).argv
    assert json.loads(argv.read_text())["job"] == f"{cells[0].id}-1"


def test_a_string_of_the_user_is_one_word_of_the_script(emission: Emission) -> None:
    emission(emit="slurm")
    text = (emission.directory / "jobs" / emission.jobs[0]).read_text()
    (export,) = [line for line in text.splitlines() if line.startswith("export")]
    assert shlex.split(export) == ["export", "HOROVOD_CYCLE_TIME=2; x"]


def test_finished_jobs_are_collected_and_nothing_is_run(emission: Emission) -> None:
    emission(emit="slurm")
    assert emission(resume=True).error is None
    assert "0 of 2 cells are complete, 2 to run" in emission.err.getvalue()
    assert "2 job(s) have not finished" in emission.out.getvalue()
    emission.finish(0)
    emission.finish(1)
    outcome = emission(resume=True)
    assert outcome.record is not None
    assert "2 of 2 cells are complete, nothing to run" in emission.err.getvalue()
    assert emission.out.getvalue() == ""


def test_only_jobs_that_failed_are_written_again(emission: Emission) -> None:
    emission(emit="slurm")
    first = emission.jobs
    emission.finish(0)
    failed = emission.record.layout.attempt(emission.record.cells[1].id, 1)
    failed.run.directory.mkdir()
    failed.run.status.write_bytes(json_document({"state": "failed", "cause": "a NaN"}))
    emission(resume=True)
    assert "1 job(s) failed; write them again: --resume --emit slurm" in emission.out.getvalue()
    assert json.loads(failed.verdict.read_text())["cause"] == "a NaN"
    emission(resume=True, emit="slurm")
    assert set(emission.jobs) - set(first) == {f"{emission.record.cells[1].id}-2.sbatch"}
    emission(resume=True, emit="slurm")
    assert "No job to write: every launch is complete" in emission.out.getvalue()
    assert len(emission.jobs) == 3


def test_a_job_that_is_gone_is_written_again_once_its_folder_is(emission: Emission) -> None:
    emission(emit="slurm")
    shutil.rmtree(emission.record.layout.attempt(emission.record.cells[1].id, 1).directory)
    emission(resume=True, emit="slurm")
    assert "1 job(s) written, none started" in emission.out.getvalue()
    assert len(emission.jobs) == 2


def test_a_study_goes_on_as_it_was_begun(emission: Emission) -> None:
    emission(emit="slurm")
    with pytest.raises(UsageError, match="--emit is lsf and this study was begun by --emit slurm"):
        emission(resume=True, emit="lsf")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "ranks = 2",
            'ranks = 2\nhosts = ["a:2"]',
            "--emit leaves this to the batch system: study.hosts",
        ),
        (
            "ranks = 2",
            'ranks = 2\nlauncher_arguments = ["-v"]',
            "to the batch system: study.launcher_arguments",
        ),
        ("ranks_per_node = 1", "", "--emit needs to know the nodes; give ranks_per_node"),
    ],
)
def test_what_no_job_script_holds_is_refused(
    before: str, after: str, said: str, emission: Emission
) -> None:
    emission.toml.write_text(emission.toml.read_text().replace(before, after))
    with pytest.raises(UsageError) as refused:
        emission(emit="slurm")
    assert said in refused.value.sentence
    assert not emission.directory.exists()
