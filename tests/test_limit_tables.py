from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distbench.analysis.collect import load_run
from distbench.analysis.limits import Limits, find_limits
from distbench.analysis.summary import job_steps, summarise
from distbench.config import Config
from distbench.report.limit_tables import (
    limit_columns,
    limit_lines,
    limit_markdown,
    limit_rows,
)
from distbench.simulation.cluster import Cluster
from distbench.simulation.simulate import simulate
from tests.fakes import block, study_config, write_run, write_study


def limits_of(directory: Path) -> Limits:
    run = load_run(directory)
    jobs = job_steps(run.steps)
    return find_limits(run, jobs, summarise(run.steps, jobs, run.grad_bytes), None)


def study_limits(directory: Path, **settings: Any) -> Limits:
    write_study(directory, study_config(**settings), [0, 0, 1, 1])
    return limits_of(directory)


def test_the_largest_size_in_sentences_with_formula_and_source(run_directory: Path) -> None:
    limits = study_limits(
        run_directory, link_gb_per_s=0.1, intra_link_gb_per_s=0.5, device_peak_tflops=0.1
    )
    assert limit_lines(limits) == [
        "At 4 ranks the allreduce takes 8.004 ms and its links need 7.000 ms: it reaches 87.5 % of the "
        "wire's bound (given: 0.100 GB/s between nodes, 0.500 GB/s inside a node for each rank).",
        # 2 images of 118.758912 MFLOP in 40.6435 ms, of 0.1 TFLOP/s
        "MFU of train_step at 4 rank(s): 5.8 % of 0.100 TFLOP/s for each device (given with "
        "--device-peak-tflops).",
    ]
    text = "\n".join(limit_markdown(limits))
    assert text.startswith("## Limits of the hardware\n\n| size | ranks on nodes | wire's bound |")
    assert "2(g−1)/g · S/B_intra + 2(n−1)/n · (S/g)/B_inter" in text
    assert "MFU = images/s of a rank × FLOPs of an image ÷ peak of a device" in text


def test_an_mfu_that_may_pass_the_peak_says_why(run_directory: Path) -> None:
    limits = study_limits(run_directory, device_peak_tflops=0.1)
    (mfu,) = [line for line in limit_lines(limits) if line.startswith("MFU")]
    (noted,) = [
        line
        for line in limit_lines(dataclasses.replace(limits, is_winograd=True))
        if line.startswith("MFU")
    ]
    assert noted.removeprefix(mfu).startswith(" The FLOPs are those of direct sums")


def test_one_row_per_size(run_directory: Path) -> None:
    limits = study_limits(run_directory, link_gb_per_s=0.1, device_peak_tflops=0.1)
    assert limit_columns(limits) == (
        *("size", "ranks on nodes", "wire's bound", "allreduce", "reaches of it"),
        "MFU of train_step",
    )
    # inside a node nothing is known; between the two 0.5 MB at 0.1 GB/s
    assert limit_rows(limits) == [
        ("1", "1 × 1", "n/a", "n/a", "n/a", "7.4 %"),
        ("2", "1 × 2", "n/a", "4.003 ms", "n/a", "6.5 %"),
        ("4", "2 × 2", "5.000 ms", "8.004 ms", "62.5 %", "5.8 %"),
    ]


def test_links_of_the_run_itself_are_said_to_be_no_bound(run_directory: Path) -> None:
    limits = study_limits(run_directory)
    assert "(measured: the run's own fastest allreduce: " in limit_lines(limits)[0]
    assert limit_columns(limits)[-1] == "reaches of it"
    assert "tells sizes apart and not how fast the links could be" in "\n".join(
        limit_markdown(limits)
    )


def test_a_peak_alone_needs_no_word_of_wires(run_directory: Path) -> None:
    write_run(
        run_directory,
        [[block("forward", 1, [10.0])]] * 2,
        study_config(
            phases=("forward",), sizes=(), device_peak_tflops=0.1, steps=1, blocks=1, warmup_steps=0
        ),
    )
    limits = limits_of(run_directory)
    assert limit_columns(limits) == ("size", "MFU of forward")
    assert limit_rows(limits) == [("2", "8.0 %")]  # 2 × 39.88 MFLOP in 10 ms of 0.1 TFLOP/s
    assert "B_inter" not in "\n".join(limit_markdown(limits))


def test_nothing_is_said_where_no_bound_is_known(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", 1, [10.0])]] * 2)
    limits = limits_of(run_directory)
    assert (limit_lines(limits), limit_markdown(limits)) == ([], [])


def test_a_simulated_run_is_labelled_and_has_no_mfu(run_directory: Path) -> None:
    config = Config(sizes=(1, 4), steps=6, blocks=6, warmup_steps=1, output=str(run_directory))
    simulate(Cluster(ranks=4, ranks_per_node=2), config)
    limits = limits_of(run_directory)
    (line,) = limit_lines(limits)
    assert line.startswith("SIMULATED: At 4 ranks the allreduce takes")
    assert "(the simulated cluster's: 1.50 GB/s between nodes, 100 GB/s inside a node" in line
    markdown = limit_markdown(limits)
    assert markdown[0] == "## SIMULATED: Limits of the hardware"
    assert "MFU" not in "\n".join(markdown)
