from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distbench.analysis.collect import load_run
from distbench.analysis.manifest_fields import MOST_DEPTH, problem_of_manifest
from tests.fakes import RUN_ID

RANK = {
    "rank": 0,
    "host": "node",
    "device": {"kind": "CPU", "threads": 2},
    "cores_allowed": [0, 1],
    "cpu": "a processor",
    "governor": None,
    "memory_bytes": 2**34,
}
WHOLE: dict[str, Any] = {
    "run_id": RUN_ID,
    "ranks": [RANK],
    "environment": {"HOROVOD_RANK": "0"},
    "versions": {"python": "3.11"},
    "horovod": {"nccl_built": 0},
    "simulated_cluster": {"parameters": {"slow_rank": [{"rank": 1, "factor": 1.1}]}},
    "mpi_library": None,
    "process_sets_registered": 1,
}
EXAMPLE = Path(__file__).parent.parent / "results" / "example-2-cpus"


def test_what_runs_write_is_whole() -> None:
    assert problem_of_manifest({}, RUN_ID) is None
    assert problem_of_manifest(WHOLE, RUN_ID) is None
    assert load_run(EXAMPLE).manifest == json.loads((EXAMPLE / "manifest.json").read_text())


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": "run-2"}, "of the run 'run-2' and not of 'run-1'"),
        ({"run_id": ["x" * 10_000]}, "of the run list"),
        ({"ranks": 3}, "does not describe the ranks"),
        ({"ranks": [{}]}, "does not describe the ranks"),
        ({"ranks": [{**RANK, "cores_allowed": [[]]}]}, "does not describe the ranks"),
        ({"ranks": [{**RANK, "device": {"kind": "CPU", "threads": "2"}}]}, "describe the ranks"),
        ({"ranks": [{**RANK, "rank": -1}]}, "does not describe the ranks"),
        ({"ranks": [{**RANK, "memory_bytes": 10**400}]}, "that no run writes"),
        ({"ranks": [{**RANK, "cpu": ["x"]}]}, "does not describe the ranks"),
        ({"environment": None}, "its environment is no table"),
        ({"environment": {"A": 1}}, "its environment holds more than texts"),
        ({"versions": {"python": 3.11}}, "its versions holds more than texts"),
        ({"horovod": [1]}, "its horovod is no table"),
        ({"tensorflow": None}, "its tensorflow is no table"),
        ({"simulated_cluster": {"parameters": None}}, "no table of parameters"),
        ({"mpi_library": 4}, "its mpi_library is no text"),
        ({"process_sets_registered": "<b>"}, "is no number"),
        ({"git_commit": "x" * 5000}, "that no run writes"),
        ({"other": nested(MOST_DEPTH)}, "tables in tables"),
    ],
)
def test_what_no_run_writes_is_named(changes: dict[str, Any], said: str) -> None:
    assert said in str(problem_of_manifest({**WHOLE, **changes}, RUN_ID))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(name=st.sampled_from([*WHOLE, "tensorflow", "x"]), value=values)
def test_any_value_is_judged_without_an_error(name: str, value: Any) -> None:
    problem_of_manifest({**WHOLE, name: value}, RUN_ID)
    problem_of_manifest({**WHOLE, "ranks": [{**RANK, name: value}]}, RUN_ID)
