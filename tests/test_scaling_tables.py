from __future__ import annotations

import dataclasses
from pathlib import Path

from distbench.analysis.collect import load_run
from distbench.report import scaling_tables
from distbench.report.build import find
from distbench.report.findings import Findings
from tests.fakes import ladder_blocks, study_config, write_run, write_study


def findings(directory: Path, **changes: object) -> Findings:
    write_study(directory, study_config(), [0, 0, 1, 1], **changes)  # type: ignore[arg-type]
    return find(load_run(directory))


def test_one_row_for_each_size(run_directory: Path) -> None:
    rows = scaling_tables.scaling_rows(findings(run_directory))
    assert [row[:4] for row in rows] == [
        ("1", "1", "2", "62.49"),
        ("2", "1", "2", "109.2"),
        ("4", "2", "2", "196.8"),
    ]
    assert [row[5:8] for row in rows] == [
        ("1.00 ×", "100.0 %", "baseline"),
        ("1.75 ×", "87.3 %", "87.3 % to 87.3 %"),
        ("3.15 ×", "78.7 %", "78.7 % to 78.7 %"),
    ]
    assert rows[2][8:] == ("8.00 ms", "0.187 GB/s", "size 1")
    assert rows[0][8:] == ("n/a", "n/a", "size 1")


def test_baseline_and_controls_are_said_in_words(run_directory: Path) -> None:
    text = "\n".join(scaling_tables.scaling_lines(findings(run_directory)))
    assert "Baseline of every speed-up: size 1, no communication: median step of 4 ranks" in text
    assert "62.49 images/s." in text
    assert "slowest rank 1 on node-0 with 61.27 images/s" in text
    assert "all 4 ranks at once without communication: 32.64 ms a step" in text
    assert "reach 80.3 %." in text


def test_terminal_and_markdown_hold_the_same_rows(run_directory: Path) -> None:
    found = findings(run_directory)
    assert scaling_tables.scaling_table(found)[0] == "Weak scaling, train_step:"
    markdown = "\n".join(scaling_tables.scaling_markdown(found))
    assert "| 4 | 2 | 2 | 196.8 |" in markdown
    assert "## Weak scaling, train_step" in markdown


def test_a_table_in_the_columns_of_nvidia(run_directory: Path) -> None:
    lines = scaling_tables.nvidia_table(findings(run_directory)).splitlines()
    assert lines[0].startswith("NOT VGG: D with width ×0.25")
    assert lines[2] == (
        "| CPU ranks | Batch size / CPU rank | Throughput - FP32 | Throughput - mixed precision | "
        "Throughput speedup (FP32 to mixed precision) | Weak scaling - FP32 | "
        "Weak scaling - mixed precision |"
    )
    assert lines[-1] == "| 4 | 2 | 196.8 img/s | n/a | n/a | 3.15 | n/a |"
    assert len(lines) == 7


def test_gpus_and_tf32_are_named_in_it(run_directory: Path) -> None:
    device = {"kind": "GPU", "name": "a GPU", "nvml_name": "0", "threads": 0, "threads_reason": ""}
    found = findings(run_directory, header_changes={"device": device})
    found.run.manifest["tensorflow"] = {"tensor_float_32_allowed": True}
    first = scaling_tables.nvidia_table(found).splitlines()[2]
    assert first.startswith("| GPUs | Batch size / GPU | Throughput - TF32 |")


def test_a_hostile_host_stays_text(run_directory: Path) -> None:
    found = findings(run_directory, header_changes={"host": "<b>|"})
    assert "<b>" not in "\n".join(scaling_tables.scaling_markdown(found))


def test_a_broken_curve_says_so_wherever_it_is_shown(run_directory: Path) -> None:
    found = findings(run_directory, finished=False)
    assert scaling_tables.scaling_table(found)[0].startswith("NOT VALID, see the report's checks")
    assert scaling_tables.scaling_markdown(found)[0].startswith("## NOT VALID, see")
    assert scaling_tables.nvidia_table(found).startswith("NOT VALID, see")


def test_one_size_has_nothing_to_be_compared_with(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(4,)), [0, 0, 1, 1])
    found = find(load_run(run_directory))
    ((*_, speed_up, efficiency, interval, _, _, baseline),) = scaling_tables.scaling_rows(found)
    assert (speed_up, efficiency, interval, baseline) == ("n/a", "n/a", "n/a", "none")
    assert scaling_tables.scaling_lines(found)[0] == (
        "Baseline of every speed-up: none: one size was measured."
    )
    assert "| n/a |" in scaling_tables.nvidia_table(found)


def test_a_plain_run_has_no_curve(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    found = find(load_run(run_directory))
    assert scaling_tables.scaling_table(found) == []
    assert scaling_tables.scaling_lines(found) == []
    assert scaling_tables.scaling_markdown(found) == []


def test_products_of_16_bits_stand_under_mixed_precision(run_directory: Path) -> None:
    found = findings(run_directory)
    config = dataclasses.replace(found.run.config, precision="bfloat16")
    mixed = dataclasses.replace(found, run=dataclasses.replace(found.run, config=config))
    cells, others = (
        [cell.strip() for cell in scaling_tables.nvidia_table(one).splitlines()[-1].split("|")]
        for one in (found, mixed)
    )
    assert (others[3], others[6]) == ("n/a", "n/a")
    assert (others[4], others[7]) == (cells[3], cells[6])
    assert "Throughput - FP32" in scaling_tables.nvidia_table(mixed)
    assert "bfloat16" in scaling_tables.nvidia_table(mixed)
