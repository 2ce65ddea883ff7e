from __future__ import annotations

import re
from pathlib import Path

import pytest

import distbench
from distbench.analysis.collect import load_run
from distbench.analysis.run_frames import STEP_COLUMNS
from distbench.errors import RecordsError
from distbench.records import encode, raw_file_name
from tests.fakes import RUN_ID, block, ladder_blocks, write_run

TELEMETRY = {
    "before": {
        "sm_clock_mhz": 1900,
        "temperature_c": 50,
        "energy_mj": 1_000,
        "throttle_reasons": ["gpu_idle"],
    },
    "after": {
        "sm_clock_mhz": 1800,
        "temperature_c": 60,
        "energy_mj": 4_500,
        "throttle_reasons": ["sw_power_cap"],
    },
}


def test_one_row_per_rank_phase_block_and_step(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks(1.1)])
    run = load_run(run_directory)
    assert tuple(run.steps.columns) == STEP_COLUMNS
    assert len(run.steps) == 2 * (5 * 1 + 5 * 6 * 2)
    assert not run.steps.duplicated(["rank", "phase", "block", "step"]).any()
    row = run.steps[(run.steps["rank"] == 1) & (run.steps["block"] == 2)].iloc[1]
    assert (row["phase"], row["step"], row["warmup"]) == ("forward", 1, False)
    assert row["duration_ns"] == round(1.1 * 10.002 * 1e6)
    assert row["images"] == 4
    assert (run.run_id, run.size, run.device_kind, run.incomplete) == (RUN_ID, 2, "CPU", ())


def test_the_public_name_gives_the_same_frames(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks()])
    assert distbench.load(str(run_directory)).steps.equals(load_run(run_directory).steps)


def test_progress_is_told_of_every_rank(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks(), ladder_blocks()])
    told: list[tuple] = []
    load_run(run_directory, lambda *what: told.append(what))
    assert told[:3] == [("reading records: ranks", done, 3) for done in range(3)]


def test_a_rank_without_an_end_is_named_with_its_last_block(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()], unfinished=[1])
    assert load_run(run_directory).incomplete == (
        "rank 1 has no end line; it stopped after block 6 of train_step",
    )


def test_a_rank_without_a_file_is_named(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    (layout.raw / raw_file_name(1)).unlink()
    run = load_run(run_directory)
    assert run.incomplete == ("rank 1 left no record (rank-00001.jsonl)",)
    assert set(run.steps["rank"]) == {0}


def test_a_whole_block_that_is_not_there_makes_a_run_incomplete(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    path = layout.raw / raw_file_name(1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"block":3,' not in line))
    run = load_run(run_directory)
    assert len(run.incomplete) == 1
    assert re.fullmatch(
        r"rank 1 holds 0 of the 2 steps of \w+, block 3 \(and 4 more blocks\)", run.incomplete[0]
    )
    assert "5 record(s) before this line are not there" in run.problems[0]


def test_a_damaged_manifest_is_left_out_and_named(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    layout.manifest.write_text('{"ranks": [{}]}')
    run = load_run(run_directory)
    assert run.problems == ("manifest.json: left out, since it does not describe the ranks",)
    assert run.manifest == {}


def test_what_status_json_tells_comes_first_and_once(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()], unfinished=[1])
    layout.status.write_text('{"state": "failed", "cause": "rank 1 is silent"}')
    reasons = load_run(run_directory).incomplete
    assert reasons[0] == "the run failed: rank 1 is silent"
    assert len(reasons) == 2
    failure = {"kind": "failure", "seq": 37, "run_id": RUN_ID, "rank": 1}
    with open(layout.raw / raw_file_name(1), "ab") as file:
        file.write(encode({**failure, "sentence": "so rank 1 is silent"}))
    assert load_run(run_directory).incomplete == ("rank 1 failed: so rank 1 is silent",)


def test_a_file_that_is_no_ranks_is_named_and_the_others_are_read(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks()])
    (layout.raw / "rank-0 (copy).jsonl").write_text("")
    run = load_run(run_directory)
    assert run.problems == ("rank-0 (copy).jsonl: is no file of one rank, and was not read",)
    assert len(run.steps)


def test_records_of_another_schema_are_named_as_the_reason(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks()], header_changes={"schema_version": 1})
    with pytest.raises(RecordsError, match=r"version 1, this distbench reads 'distbench\.raw'"):
        load_run(run_directory)


def test_the_first_cause_comes_before_its_echo(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks()] * 2, unfinished=[0, 1])
    for rank, is_echo in ((0, True), (1, False)):
        failure = {"kind": "failure", "seq": 37, "run_id": RUN_ID, "rank": rank, "is_echo": is_echo}
        with open(layout.raw / raw_file_name(rank), "ab") as file:
            file.write(encode({**failure, "sentence": f"said by {rank}"}))
    assert load_run(run_directory).incomplete[0] == "rank 1 failed: said by 1"


def test_a_damaged_line_is_left_out_and_named(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks()])
    path = layout.raw / raw_file_name(0)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"duration_ns":[10001000', b'"duration_ns":[10001001', 1))
    run = load_run(run_directory)
    assert "damaged (wrong checksum)" in run.problems[0]
    assert 10001001 not in set(run.steps["duration_ns"])


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"colour": 1}', '{"config": "Z"}'])
def test_a_directory_without_a_configuration_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RecordsError) as caught:
        load_run(tmp_path)
    assert str(tmp_path / "config.json") in caught.value.sentence
    assert caught.value.exit_code == 10


def test_a_directory_without_records_is_refused(run_directory: Path) -> None:
    write_run(run_directory, [])
    with pytest.raises(RecordsError, match="no readable record of any rank"):
        load_run(run_directory)


def test_telemetry_of_a_block(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", 1, [10.0], telemetry=TELEMETRY)]])
    row = load_run(run_directory).blocks.iloc[0]
    assert (row["sm_clock_mhz"], row["temperature_c"], row["energy_j"]) == (1800, 60, 3.5)
    assert row["throttle_reasons"] == "gpu_idle sw_power_cap"


def test_records_that_were_saved_elsewhere_are_named(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    (run_directory / "raw" / "rank-00001.jsonl.rescued").write_text("saved")
    (problem,) = load_run(run_directory).problems
    assert problem.startswith(
        "rank-00001.jsonl.rescued: was not read: a rank saved its records there"
    )
