from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distbench.errors import RecordsError, UsageError
from distbench.study.documents import Schema, read_document

SCHEMA = Schema("distbench.test", 2)


def test_a_document_is_built_from_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps({**SCHEMA.as_dict(), "value": 3}))
    assert read_document(path, "test", SCHEMA, lambda document: document["value"]) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ("{}", "'schema'"),
        ('{"schema": "distbench.test", "schema_version": 1}', "'distbench.test' version 1"),
        ('{"schema": "distbench.test", "schema_version": 2}', "it asks for too much"),
    ],
)
def test_what_is_no_document_of_ours_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    def build(_: Any) -> None:
        raise UsageError("it asks for too much")

    path = tmp_path / "test.json"
    path.write_text(text)
    with pytest.raises(RecordsError, match=r"is not the test\.json of this distbench") as found:
        read_document(path, "test", SCHEMA, build)
    assert reason in found.value.sentence
    assert found.value.sentence.endswith("bring it back from a copy of the test")


def test_a_directory_without_one_is_no_test(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match=r"No such file.*; name the directory of a test"):
        read_document(tmp_path / "test.json", "test", SCHEMA, dict)
