from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis import run_documents
from distbench.analysis.run_documents import LONGEST_CAUSE, read_documents
from distbench.errors import RecordsError
from distbench.layout import RunLayout
from distbench.records import settings_checksum
from tests.fakes import RUN_ID, ladder_blocks, small_config, write_run


@pytest.fixture
def layout(run_directory: Path) -> RunLayout:
    return write_run(run_directory, [ladder_blocks(rounds=1)])


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_whole_run_has_a_configuration_and_no_problem(layout: RunLayout) -> None:
    layout.status.write_text(json.dumps({"state": "complete", "run_id": RUN_ID}))
    layout.manifest.write_text(json.dumps({"run_id": RUN_ID, "ranks": []}))
    found = read_documents(layout)
    assert found.run_id == RUN_ID
    assert found.manifest == {"run_id": RUN_ID, "ranks": []}
    assert (found.cause, found.problems) == ("", ())
    assert found.settings_crc32 == settings_checksum(found.config.as_dict())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": None}, "has no run_id"),
        ({"run_id": 3}, "has no run_id"),
        ({"run_id": ""}, "has no run_id"),
        ({"steps": "6"}, "has steps as str, where a run writes int"),
        ({"steps": True}, "it must be a whole number"),
        ({"width_multiplier": "1e999999999"}, "has width_multiplier as str"),
        ({"phases": "forward"}, "has phases as str, where a run writes tuple"),
        ({"steps": 10**400}, "steps"),
        ({"sizes": [[]]}, "sizes"),
        ({"phases": [{}]}, "phases"),
    ],
)
def test_a_configuration_that_no_run_writes_is_refused(
    layout: RunLayout, changes: dict[str, Any], said: str
) -> None:
    change(layout.config, **changes)
    with pytest.raises(RecordsError) as caught:
        read_documents(layout)
    assert said in caught.value.sentence
    assert str(layout.config) in caught.value.sentence


def make_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def make_huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("make", [make_fifo, make_device, make_huge])
def test_what_is_no_small_file_is_named_and_ends(layout: RunLayout, make: Any) -> None:
    make(layout.manifest)
    make(layout.status)
    problems = read_documents(layout).problems
    assert [problem.partition(":")[0] for problem in problems] == ["manifest.json", "status.json"]
    assert all("cannot be read" in problem for problem in problems)
    make(layout.config)
    with pytest.raises(RecordsError, match=r"config\.json cannot be read"):
        read_documents(layout)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"\xff\0",
        b'{"run_id":"\\ud800"}',
        b'{"rank":' + b"9" * 5000 + b"}",
    ],
)
def test_documents_that_are_no_json_are_left_out_and_named(layout: RunLayout, text: bytes) -> None:
    layout.manifest.write_bytes(text)
    layout.status.write_bytes(text)
    found = read_documents(layout)
    assert [problem.split(" (")[0] for problem in found.problems] == [
        "manifest.json: left out, since it is not valid JSON",
        "status.json: left out, since it is not valid JSON",
    ]
    layout.config.write_bytes(text)
    with pytest.raises(RecordsError, match="is not valid JSON"):
        read_documents(layout)


def test_documents_of_another_run_are_left_out(layout: RunLayout) -> None:
    failed = {"run_id": "run-2", "state": "failed", "cause": "of another run"}
    layout.status.write_text(json.dumps(failed))
    layout.manifest.write_text(json.dumps(failed))
    found = read_documents(layout)
    assert found.cause == ""
    assert found.manifest == {}
    assert len(found.problems) == 2


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("rank 1 is silent", "rank 1 is silent"),
        ("\x1b[2Jgone", "?[2Jgone"),
        ("x" * 10_000, "x" * LONGEST_CAUSE + "…"),
        (None, "status.json says so"),
        ({"a": 1}, "status.json says so"),
    ],
)
def test_the_cause_of_a_failure_is_made_safe_to_show(
    layout: RunLayout, cause: Any, told: str
) -> None:
    layout.status.write_text(json.dumps({"state": "failed", "cause": cause}))
    assert read_documents(layout).cause == told


def test_the_bounds_hold_the_documents_of_very_large_runs() -> None:
    assert run_documents.MOST_MANIFEST_BYTES > 65_536 * 900  # ranks, and bytes of each
    assert 100 * len(json.dumps(small_config().as_dict())) < run_documents.MOST_CONFIG_BYTES
