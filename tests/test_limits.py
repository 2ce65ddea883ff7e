from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distbench.analysis.collect import Run, load_run
from distbench.analysis.limits import (
    Limits,
    Links,
    find_limits,
    links_of,
    overlapped_bound_s,
    ranks_on_nodes,
    wire_bound_s,
)
from distbench.analysis.scaling import scaling_frame
from distbench.analysis.summary import job_steps, summarise
from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_model import allreduce_cost
from tests.fakes import ladder_blocks, study_config, write_run, write_study

NAN = math.nan
GB = 1e9
LINKS = Links(10 * GB, 100 * GB, "given")
FORWARD_FLOPS, FORWARD_BACKWARD_FLOPS = 39_881_216, 118_758_912  # of an image, in small_config


@pytest.mark.parametrize(
    ("ranks_on_nodes", "bound_s"),
    [
        ((1,), 0.0),
        ((2,), 0.010),  # 2 · 1/2 ÷ 100
        ((4,), 0.015),  # 2 · 3/4 ÷ 100
        ((1, 1), 0.1),  # 2 · 1/2 ÷ 10
        ((4, 4), 0.015 + 0.025),  # a quarter for each link between the nodes
        ((2, 2, 2), 0.010 + 4 / 3 / 2 / 10),
        ((4, 2), 0.015 + 0.05),  # the links of two ranks send all that the second node has
        ((4, 4, 1), 0.015 + 0.1),
    ],
)
def test_the_wires_bound(ranks_on_nodes: Sequence[int], bound_s: float) -> None:
    assert wire_bound_s(GB, ranks_on_nodes, LINKS) == pytest.approx(bound_s)


def test_what_is_unknown_of_the_links() -> None:
    only_between, only_inside = Links(10 * GB, NAN, ""), Links(NAN, 100 * GB, "")
    assert wire_bound_s(GB, (4, 4), only_between) == pytest.approx(0.025)
    assert math.isnan(wire_bound_s(GB, (4,), only_between))
    assert wire_bound_s(GB, (4,), only_inside) == pytest.approx(0.015)
    assert math.isnan(wire_bound_s(GB, (4, 4), only_inside))
    assert wire_bound_s(GB, (1,), Links(NAN, NAN, "")) == 0.0
    assert overlapped_bound_s(GB, (4, 4), only_between) == pytest.approx(0.025)
    assert math.isnan(overlapped_bound_s(GB, (4, 4), only_inside))


def test_links_that_are_busy_at_once_need_less() -> None:
    alike = Links(100 * GB, 100 * GB, "")
    assert wire_bound_s(GB, (4, 4), alike) == pytest.approx(0.0175)
    # 14 GB over 8 links of each kind
    assert overlapped_bound_s(GB, (4, 4), alike) == pytest.approx(14 / 1600)
    # the lone rank has to send all of its own over its one link
    assert overlapped_bound_s(GB, (4, 1), alike) == pytest.approx(0.01)
    assert overlapped_bound_s(GB, (4,), alike) == wire_bound_s(GB, (4,), alike)


@given(
    counts=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    inter=st.floats(0.1, 500),
    intra=st.floats(0.1, 500),
)
def test_no_simulated_allreduce_is_faster_than_its_bounds(
    counts: list[int], inter: float, intra: float
) -> None:
    cluster = Cluster(
        ranks=48, ranks_per_node=8, inter_gb_per_s=inter, intra_gb_per_s=intra, latency_us=0.0
    )
    members = [8 * node + place for node, count in enumerate(counts) for place in range(count)]
    links = Links(inter * GB, intra * GB, "")
    simulated_s = allreduce_cost(cluster, members).ns_per_byte  # of 10^9 bytes, in seconds
    bound_s = wire_bound_s(GB, counts, links)
    assert overlapped_bound_s(GB, counts, links) <= bound_s * (1 + 1e-12)
    assert bound_s <= simulated_s * (1 + 1e-12)
    if len(set(counts)) == 1:
        assert bound_s == pytest.approx(simulated_s)


def study(directory: Path, nodes: Sequence[int] = (0, 0, 1, 1), **settings: float) -> Run:
    write_study(directory, study_config(**settings), list(nodes))
    return load_run(directory)


def limits_of(run: Run) -> Limits:
    jobs = job_steps(run.steps)
    return find_limits(
        run, jobs, summarise(run.steps, jobs, run.grad_bytes), scaling_frame(run, jobs)
    )


def test_ranks_on_the_nodes_of_a_group(run_directory: Path) -> None:
    found = ranks_on_nodes(study(run_directory, (0, 0, 0, 1)))
    assert found["world"] == (3, 1)
    assert found["size-2"] == (2,)
    assert found["alone-00003"] == (1,)


def test_links_as_given(run_directory: Path) -> None:
    run = study(run_directory, link_gb_per_s=25.0, intra_link_gb_per_s=300.0)
    assert links_of(run, job_steps(run.steps)) == Links(25 * GB, 300 * GB, "given")


def test_one_speed_is_that_between_the_nodes_where_there_are_several(run_directory: Path) -> None:
    run = study(run_directory, link_gb_per_s=25.0)
    found = links_of(run, job_steps(run.steps))
    assert found.inter_bytes_per_s == 25 * GB
    assert math.isnan(found.intra_bytes_per_s)


def test_one_speed_is_that_between_the_ranks_of_one_node(run_directory: Path) -> None:
    run = study(run_directory, (0, 0, 0, 0), link_gb_per_s=25.0)
    assert links_of(run, job_steps(run.steps)).intra_bytes_per_s == 25 * GB


def test_a_simulated_cluster_is_named_as_the_source(run_directory: Path) -> None:
    run = study(run_directory, link_gb_per_s=25.0, intra_link_gb_per_s=300.0)
    stated = {"inter_gb_per_s": 25.0, "intra_gb_per_s": 300.0}
    simulated = dataclasses.replace(run, manifest={"simulated_cluster": {"parameters": stated}})
    assert links_of(simulated, job_steps(run.steps)).source == "the simulated cluster's"
    other = {"simulated_cluster": {"parameters": {**stated, "inter_gb_per_s": 24.0}}}
    given_instead = dataclasses.replace(run, manifest=other)
    assert links_of(given_instead, job_steps(run.steps)).source == "given"


def test_links_as_the_fastest_allreduces_show_them(run_directory: Path) -> None:
    # 2 ranks of a node reduce 1 MB in 4.001 ms, 2 nodes of 2 in 8.001: 4 ms of it between them
    run = study(run_directory)
    jobs = job_steps(run.steps)
    found = links_of(run, jobs)
    assert found.is_measured
    assert found.source == "measured: the run's own fastest allreduce"
    assert found.intra_bytes_per_s == pytest.approx(1e6 / 4.001e-3)
    assert found.inter_bytes_per_s == pytest.approx(0.5e6 / 4.000e-3)
    reduced = jobs[jobs["phase"] == "allreduce"]
    for group, on_nodes in (("size-2", (2,)), ("world", (2, 2))):
        fastest_s = reduced.loc[reduced["group"] == group, "step_s"].min()
        assert wire_bound_s(run.grad_bytes, on_nodes, found) == pytest.approx(fastest_s)


def test_levels_that_cannot_be_told_apart_are_taken_together(run_directory: Path) -> None:
    run = study(run_directory)
    jobs = job_steps(run.steps)
    jobs.loc[jobs["group"] == "world", "step_s"] = 0.002  # faster than its part inside the nodes
    found = links_of(run, jobs)
    assert math.isnan(found.intra_bytes_per_s)
    assert wire_bound_s(run.grad_bytes, (2, 2), found) == pytest.approx(0.002)


def test_a_run_that_reduced_nothing_shows_no_links(run_directory: Path) -> None:
    write_run(run_directory, [[{**block, "group_size": 1} for block in ladder_blocks()]])
    limits = limits_of(load_run(run_directory))
    assert not limits.links.is_measured
    assert math.isnan(limits.links.intra_bytes_per_s)
    assert limits.frame["wire_bound_s"].tolist() == [0.0]
    assert math.isnan(limits.frame["allreduce_s"].iloc[0])


def test_one_row_per_size(run_directory: Path) -> None:
    limits = limits_of(study(run_directory, link_gb_per_s=0.1, intra_link_gb_per_s=0.5))
    frame = limits.frame
    assert frame["size"].tolist() == [1, 2, 4]
    assert frame["group"].tolist() == ["alone", "size-2", "world"]
    assert frame["ranks_on_nodes"].tolist() == ["1 × 1", "1 × 2", "2 × 2"]
    # of 1 MB: 1 MB at 0.5 GB/s; the same, and then 0.5 MB at 0.1 GB/s
    assert frame["wire_bound_s"].tolist() == pytest.approx([0.0, 0.002, 0.007])
    assert frame["overlapped_bound_s"].tolist() == pytest.approx([0.0, 0.002, 0.005])
    assert frame["allreduce_s"].tolist() == pytest.approx([NAN, 4.0035e-3, 8.0035e-3], nan_ok=True)
    reached = [NAN, 2 / 4.0035, 7 / 8.0035]
    assert frame["of_wire_bound"].tolist() == pytest.approx(reached, nan_ok=True)
    assert frame["mfu"].isna().all()
    assert math.isnan(limits.peak_flops_per_s)
    assert (limits.peak_kind, limits.peak_source) == ("", "")


def test_the_mfu_of_every_phase(run_directory: Path) -> None:
    limits = limits_of(study(run_directory, device_peak_tflops=0.1))
    assert limits.peak_flops_per_s == 0.1e12
    assert limits.peak_kind == "given"
    row = limits.frame.set_index("size").loc[2]
    # 2 images a rank; rank 1 is slower by 2 %, and block 3.5 by 3.5 µs
    trained = 2 * FORWARD_BACKWARD_FLOPS / 0.1e12
    assert row["mfu_forward"] == pytest.approx(2 * FORWARD_FLOPS / 10.2035e-3 / 0.1e12)
    assert row["mfu_forward_backward"] == pytest.approx(trained / 30.6035e-3)
    assert row["mfu_forward_backward_allreduce"] == pytest.approx(trained / 34.6035e-3)
    assert row["mfu_train_step"] == pytest.approx(trained / 36.6435e-3)
    assert row["phase"] == "train_step"
    assert row["mfu"] == row["mfu_train_step"]
    backward = 2 * (FORWARD_BACKWARD_FLOPS - FORWARD_FLOPS) / 0.1e12
    assert row["mfu_backward"] == pytest.approx(backward / 20.4e-3)


def test_a_phase_that_was_not_run_has_no_mfu(run_directory: Path) -> None:
    run = study(run_directory, device_peak_tflops=0.1)
    without = dataclasses.replace(run, steps=run.steps[run.steps["phase"] != "forward"])
    row = limits_of(without).frame.iloc[-1]
    assert math.isnan(row["mfu_forward"])
    assert math.isnan(row["mfu_backward"])
    assert row["mfu_forward_backward"] > 0


def test_an_mfu_is_of_the_devices_of_its_own_ranks(run_directory: Path) -> None:
    run = study(run_directory)
    peaks = [1e11, 3e11, 9e11, 9e11]
    ranks = tuple(
        dataclasses.replace(records, preflight={"measured_peak": {"flops_per_s": peak}})
        for records, peak in zip(run.ranks, peaks)
    )
    limits = limits_of(dataclasses.replace(run, ranks=ranks))
    assert limits.peak_flops_per_s == 5.5e11
    row = limits.frame.set_index("size").loc[2]  # ranks 0 and 1
    assert row["mfu_forward"] == pytest.approx(2 * FORWARD_FLOPS / 10.2035e-3 / 2e11)


def test_half_of_the_bytes_on_the_wire_halve_its_bound(run_directory: Path) -> None:
    write_study(run_directory, study_config(link_gb_per_s=1.0), [0, 0, 1, 1])
    run = load_run(run_directory)
    compressed = dataclasses.replace(
        run, config=dataclasses.replace(run.config, compression="fp16")
    )
    bounds = [limits_of(one).frame["wire_bound_s"].iloc[-1] for one in (run, compressed)]
    assert bounds[1] == pytest.approx(bounds[0] / 2)
    assert compressed.wire_bytes == run.grad_bytes / 2
