from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.errors import OutputError, RecordsError
from distbench.records import raw_file_name
from distbench.report.build import collect, report
from tests.fakes import block, ladder_blocks, write_run


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_deleting_everything_derived_and_asking_again_gives_the_same_bytes(
    run_directory: Path,
) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks(1.1)])
    report(run_directory)
    first = contents(layout.derived)
    shutil.rmtree(layout.derived)
    report(run_directory)
    assert contents(layout.derived) == first
    charts = {f"{name}.{kind}" for name in ("throughput", "heat_map") for kind in ("png", "svg")}
    assert charts | {"steps.parquet", "summary.csv", "report.md"} <= set(first)


def test_parquet_holds_the_frame(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks(1.1)])
    _, path = collect(run_directory)
    expected = load_run(run_directory).steps
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected, check_dtype=False)


def test_summary_csv_can_be_recomputed_from_the_raw_lines_by_hand(run_directory: Path) -> None:
    import json
    import statistics

    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks(1.1)])
    report(run_directory)
    durations: dict[int, list[int]] = {}
    for rank in (0, 1):
        for line in (layout.raw / raw_file_name(rank)).read_text().splitlines():
            record = json.loads(line)
            if record.get("phase") == "forward_backward" and not record["warmup"]:
                durations.setdefault(rank, []).extend(record["duration_ns"])
    slowest = [max(pair) / 1e9 for pair in zip(durations[0], durations[1])]
    row = pd.read_csv(layout.derived / "summary.csv").set_index("phase").loc["forward_backward"]
    assert row["step_s"] == statistics.median(slowest)
    assert row["images_per_s"] == 8 / statistics.median(slowest)


def test_a_dead_ranks_run_is_reported_and_marked(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()[:30]], unfinished=[1])
    findings, text, _ = report(run_directory)
    assert not findings.is_valid
    assert "INCOMPLETE: rank 1 has no end line; it stopped after block 5" in text
    assert "INCOMPLETE" in (layout.derived / "report.md").read_text()


def test_nothing_that_all_ranks_have_is_nothing_to_report(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", 1, [1.0])], []], unfinished=[1])
    with pytest.raises(
        RecordsError, match="no timed step that all ranks of a group have: rank 1 has no end"
    ):
        report(run_directory)


def test_telemetry_is_written_where_there_is_any(run_directory: Path) -> None:
    from tests.test_collect import TELEMETRY

    blocks = [{**one, "telemetry": TELEMETRY, "group_size": 1} for one in ladder_blocks()]
    layout = write_run(run_directory, [blocks])
    collect(run_directory)
    frame = pd.read_csv(layout.derived / "blocks.csv")
    assert set(frame["sm_clock_mhz"]) == {1800}


def test_a_directory_that_cannot_be_written_is_an_error(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    layout.derived.write_text("a file in the way")
    with pytest.raises(OutputError, match="derived cannot be made"):
        collect(run_directory)
