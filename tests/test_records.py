from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distbench import records
from distbench.errors import RecordsError
from distbench.rank_writer import RankWriter
from tests.fakes import RUN_ID, block, header


def rank_file(directory: Path, blocks: int = 2) -> Path:
    writer = RankWriter(directory, RUN_ID, 0)
    writer.append("header", **header(0, 1))
    for index in range(blocks):
        writer.append("block", **block("forward", index, [1.0, 2.0]))
    writer.append("end", status="ok")
    writer.close()
    return writer.path


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    found = records.read_rank_file(rank_file(tmp_path), RUN_ID)
    assert found.problems == []
    assert found.header is not None
    assert found.header["host"] == "node"
    assert [item["block"] for item in found.blocks] == [0, 1]
    assert found.blocks[0]["duration_ns"].tolist() == [1_000_000, 2_000_000]
    assert found.end is not None
    assert [item["seq"] for item in found.blocks] == [1, 2]


def test_lines_are_plain_json_with_a_checksum_over_the_rest(tmp_path: Path) -> None:
    line = rank_file(tmp_path).read_text().splitlines()[0]
    record = json.loads(line)
    checksum = record.pop("crc32")
    body = json.dumps(record, sort_keys=True, separators=(",", ":"))
    assert checksum == f"{zlib.crc32(body.encode()):08x}"


def test_a_file_cut_anywhere_loses_at_most_its_last_line(tmp_path: Path) -> None:
    whole = rank_file(tmp_path).read_bytes()
    cut_file = tmp_path / "cut" / records.raw_file_name(0)
    cut_file.parent.mkdir()
    for length in range(len(whole)):
        cut_file.write_bytes(whole[:length])
        found = records.read_rank_file(cut_file, RUN_ID)
        whole_lines = whole[:length].count(b"\n")
        kept = (found.header is not None) + len(found.blocks)
        assert kept == whole_lines
        assert found.end is None
        assert len(found.problems) == (0 if whole[:length].endswith(b"\n") or not length else 1)


@given(position=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_never_believed(tmp_path_factory, position: int, flip: int) -> None:
    directory = tmp_path_factory.mktemp("flip")
    path = rank_file(directory)
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position] ^= flip
    path.write_bytes(bytes(content))
    found = records.read_rank_file(path, RUN_ID)
    assert found.problems
    assert all(item["duration_ns"].tolist() == [1_000_000, 2_000_000] for item in found.blocks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"duration_ns": [1]}, "do not pair up"),
        ({"duration_ns": [], "start_ns": []}, "do not pair up"),
        ({"duration_ns": [1, 0]}, "not positive"),
        ({"duration_ns": [1, 2.5]}, "without integer times"),
        ({"duration_ns": None}, "without integer times"),
        ({"phase": 3}, "valid phase"),
        ({"warmup": 1}, "valid warmup"),
        ({"block": -1}, "valid block"),
        ({"images_per_step": 2**31}, "valid images_per_step"),
        ({"start_ns": [0, 10**18]}, "without integer times"),
    ],
)
def test_a_block_that_cannot_be_is_left_out(tmp_path: Path, changes: dict, said: str) -> None:
    writer = RankWriter(tmp_path, RUN_ID, 0)
    writer.append("header", **header(0, 1))
    writer.append("block", **{**block("forward", 0, [1.0, 2.0]), **changes})
    found = records.read_rank_file(writer.path, RUN_ID)
    assert found.blocks == []
    assert said in found.problems[0]


def forged(body: bytes) -> bytes:
    """A line with a right checksum around any text."""
    return b'%b,"crc32":"%08x"}\n' % (body[:-1], zlib.crc32(body))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "damaged"),
        (b'{"kind":"block","duration_ns":[NaN]}', "NaN is no JSON"),
        (b'{"kind":"block","start_ns":[-Infinity]}', "-Infinity is no JSON"),
        (b'{"kind":"end","seq":true,"rank":0,"run_id":"run-1"}', "sequence number True"),
        (b'{"kind":"end","seq":4.0,"rank":0,"run_id":"run-1"}', "sequence number 4.0"),
        (b'{"kind":"end","seq":4,"rank":false,"run_id":"run-1"}', "rank False instead of 0"),
        (b'{"kind":"wait","wall_ns":1' + b"0" * 400 + b',"cpu_ns":1}', "without a valid wall_ns"),
        (b'{"kind":"end","seq":' + b"1" * 5000 + b"}", "damaged"),
        (b'{"kind":"\xff"}', "damaged"),
        (b"{" + b'"a":{' * 100_000 + b"}" * 100_001, "damaged"),
    ],
)
def test_a_whole_line_that_no_rank_would_write_is_named(
    tmp_path: Path, body: bytes, said: str
) -> None:
    path = rank_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], forged(body), lines[3]]))
    found = records.read_rank_file(path, RUN_ID)
    assert len(found.problems) == 1
    assert said in found.problems[0]
    assert "line 4: " in found.problems[0]
    assert len(found.blocks) == 2
    assert found.end is not None


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_is_named_once_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    path = rank_file(tmp_path)
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 1000)
    lines = path.read_bytes().splitlines(keepends=True)
    after = lines[3] if end else b""
    path.write_bytes(b"".join([*lines[:3], b"9" * 5500, end, after]))
    found = records.read_rank_file(path, RUN_ID)
    assert found.problems == ["rank-00000.jsonl line 4: longer than 1000 bytes"]
    assert len(found.blocks) == 2
    assert (found.end is not None) == bool(end)


times = st.lists(
    st.one_of(
        st.integers(1, 10**18 - 1),
        st.integers(1, 10**18 - 1),
        st.integers(-(2**70), 2**70),
        st.sampled_from([0, 1.0, True, None, "1", 10**18, []]),
    ),
    max_size=3,
)


@given(starts=times, durations=times)
def test_a_block_is_kept_where_every_time_is_one_and_only_there(
    tmp_path_factory, starts: list, durations: list
) -> None:
    writer = RankWriter(tmp_path_factory.mktemp("times"), RUN_ID, 0)
    writer.append("header", **header(0, 1))
    changes = {"start_ns": starts, "duration_ns": durations}
    writer.append("block", **{**block("forward", 0, [1.0]), **changes})
    writer.close()
    found = records.read_rank_file(writer.path, RUN_ID)
    whole = all(type(time) is int and abs(time) < 10**18 for time in starts + durations)
    positive = whole and all(duration > 0 for duration in durations)
    if positive and len(starts) == len(durations) > 0:
        assert found.problems == []
        assert list(found.blocks[0]["start_ns"]) == starts
        assert list(found.blocks[0]["duration_ns"]) == durations
    else:
        assert found.blocks == []
        assert len(found.problems) == 1


def test_foreign_duplicate_and_unknown_lines_are_named(tmp_path: Path) -> None:
    path = rank_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    common = {"rank": 0, "seq": 9, "run_id": RUN_ID}
    foreign = records.encode({**common, "kind": "end", "run_id": "run-2"})
    other_rank = records.encode(
        {**block("forward", 5, [1.0]), **common, "kind": "block", "rank": 1}
    )
    unknown = records.encode({**common, "kind": "colour"})
    path.write_bytes(b"".join([*lines[:2], lines[1], foreign, other_rank, unknown]))
    problems = "\n".join(records.read_rank_file(path, RUN_ID).problems)
    for said in ("line 3: sequence number 1 out of order", "run 'run-2'", "rank 1", "unknown kind"):
        assert said in problems


def test_lines_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = rank_file(tmp_path, blocks=4)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[4:], lines[4]]))
    found = records.read_rank_file(path, RUN_ID)
    assert (
        found.problems[0] == "rank-00000.jsonl line 3: 2 record(s) before this line are not there"
    )
    assert "sequence number 4 out of order" in found.problems[1]
    assert [item["block"] for item in found.blocks] == [0, 3]


def test_another_schema_is_refused(tmp_path: Path) -> None:
    writer = RankWriter(tmp_path, RUN_ID, 0)
    writer.append("header", **header(0, 1, schema_version=99))
    found = records.read_rank_file(writer.path, RUN_ID)
    assert found.header is None
    assert "version 99, this distbench reads 'distbench.raw' version 2" in found.problems[0]


@pytest.mark.parametrize("size", [0, "4", True, 10**9, None])
def test_a_header_of_a_job_that_cannot_be_is_left_out(tmp_path: Path, size: object) -> None:
    writer = RankWriter(tmp_path, RUN_ID, 0)
    writer.append("header", **{**header(0, 1), "size": size})
    found = records.read_rank_file(writer.path, RUN_ID)
    assert found.header is None
    assert f"header of rank 0 in a job of {size!r} rank(s)" in found.problems[0]


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        records.encode({"value": float("nan")})


def test_a_missing_file_is_a_problem_and_a_foreign_name_an_error(tmp_path: Path) -> None:
    found = records.read_rank_file(tmp_path / "rank-00003.jsonl", RUN_ID)
    assert "cannot be read" in found.problems[0]
    for name in ("rank-x.jsonl", "rank-0.jsonl", "rank-00000.json", "rank-²0000.jsonl"):
        with pytest.raises(RecordsError, match="is no file of one rank"):
            records.read_rank_file(tmp_path / name, RUN_ID)
