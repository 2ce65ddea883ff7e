"""Run directories whose files lie: named, or refused with a sentence, and never averaged in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distbench import records
from distbench.analysis.collect import Run, load_run
from distbench.analysis.completeness import MOST_PROBLEMS
from distbench.errors import RecordsError
from distbench.layout import RunLayout
from distbench.records import encode, raw_file_name, settings_checksum
from distbench.report.build import find
from distbench.report.tables import terminal_report
from tests.fakes import RUN_ID, block, config_of, header, ladder_blocks, write_run

BLOCKS = [
    block(phase, index, [10.0, 11.0])
    for index in (1, 2, 3)
    for phase in ("forward", "allreduce", "train_step")
]
CHECKSUM = {"settings_crc32": settings_checksum(config_of([BLOCKS]).as_dict())}
few_examples = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def layout(run_directory: Path) -> RunLayout:
    return write_run(run_directory, [BLOCKS, BLOCKS], header_changes=CHECKSUM)


@pytest.fixture
def whole(layout: RunLayout) -> dict[Path, bytes]:
    """The files of the run, to begin again from."""
    run = load_run(layout.directory)
    assert (run.problems, run.incomplete) == ((), ())
    return {path: path.read_bytes() for path in layout.directory.rglob("*") if path.is_file()}


def numbers(run: Run) -> str:
    return str(find(run).groups.to_csv())


def forged(record: Any) -> bytes:
    """A line with a right checksum around anything."""
    body = json.dumps(record).encode("utf-8", "surrogatepass")
    return b'%b,"crc32":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def mend(layout: RunLayout, whole: dict[Path, bytes]) -> None:
    for path, content in whole.items():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(content)


def is_named(layout: RunLayout, truth: str) -> bool:
    """Whether the run says that something is wrong, or gives the true numbers all the same."""
    try:
        run = load_run(layout.directory)
        if run.problems or run.incomplete:
            return True
        return numbers(run) == truth
    except RecordsError as error:
        return bool(error.sentence)


def test_a_rank_cut_at_every_byte_is_always_incomplete(
    layout: RunLayout, whole: dict[Path, bytes]
) -> None:
    path = layout.raw / raw_file_name(1)
    content = whole[path]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        found = records.read_rank_file(path, RUN_ID)
        torn = length and content[length - 1 : length] != b"\n"
        assert found.end is None
        assert bool(found.problems) == bool(torn), length
    line_ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
    for length in (0, *line_ends, *(place + 1 for place in line_ends[:-1])):
        path.write_bytes(content[:length])
        assert load_run(layout.directory).incomplete, length


@few_examples
@given(data=st.data())
def test_changed_bytes_of_any_file_never_change_a_number_in_silence(
    layout: RunLayout, whole: dict[Path, bytes], data: st.DataObject
) -> None:
    truth = numbers(load_run(layout.directory))
    path = data.draw(st.sampled_from(sorted(whole)))
    content = whole[path]
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.sampled_from([0, 1, 1, 8, 600]))
    filling = data.draw(
        st.binary(max_size=3) | st.sampled_from([b"\0" * 512, b"\n", b"\xef\xbb\xbf"])
    )
    path.write_bytes(content[:start] + filling + content[start + length :])
    assert is_named(layout, truth)
    mend(layout, whole)


@few_examples
@given(seed=st.integers(0, 2**32))
def test_lines_lost_doubled_moved_or_mixed_are_never_averaged(
    layout: RunLayout, whole: dict[Path, bytes], seed: int
) -> None:
    source = random.Random(seed)
    truth = numbers(load_run(layout.directory))
    ranks = [layout.raw / raw_file_name(rank) for rank in (0, 1)]
    lines = {path: whole[path].splitlines(keepends=True) for path in ranks}
    path = source.choice(ranks)
    changed = [line for line in lines[path] if source.random() < 0.9]
    changed += source.sample(lines[source.choice(ranks)], source.randrange(3))
    if source.random() < 0.5:
        source.shuffle(changed)
    path.write_bytes(b"".join(changed))
    assert is_named(layout, truth)
    mend(layout, whole)


strange = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**18, 10**400, 0.5, 1e308]),
    st.sampled_from(["", "x" * 5000, "\ud800", "=cmd()", [], [[]], {}, {"a": {}}, [1, "a"]]),
)


@few_examples
@given(data=st.data())
def test_a_whole_line_with_an_absurd_value_is_no_crash(
    layout: RunLayout, whole: dict[Path, bytes], data: st.DataObject
) -> None:
    path = layout.raw / raw_file_name(data.draw(st.sampled_from([0, 1])))
    lines = whole[path].splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[place])
    record.pop("crc32")
    name = data.draw(
        st.sampled_from([*record, "measured_peak", "clock_resolution_ns", "telemetry"])
    )
    record[name] = data.draw(strange)
    if record["kind"] == "header":
        record["device"] = data.draw(st.just(header(0, 1)["device"]) | strange)
    lines[place] = forged(record)
    path.write_bytes(b"".join(lines))
    with suppress(RecordsError):  # a sentence
        terminal_report(find(load_run(layout.directory)))
    mend(layout, whole)


def to_fifo(path: Path) -> None:
    os.mkfifo(path)


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_directory(path: Path) -> None:
    path.mkdir()


def to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [to_fifo, to_device, to_directory, to_nowhere])
def test_a_rank_whose_file_is_none_is_named_at_once(
    layout: RunLayout, make: Callable[[Path], None]
) -> None:
    path = layout.raw / raw_file_name(1)
    path.unlink()
    make(path)
    run = load_run(layout.directory)
    assert run.problems[0].startswith("rank-00001.jsonl: cannot be read (")
    assert run.incomplete == ("rank 1 left no record (rank-00001.jsonl)",)


def test_the_file_of_another_rank_or_run_is_never_taken_for_ones_own(
    layout: RunLayout, tmp_path: Path
) -> None:
    own = layout.raw / raw_file_name(1)
    own.unlink()
    own.symlink_to(raw_file_name(0))
    assert "rank 0 instead of 1" in load_run(layout.directory).problems[0]
    own.unlink()
    text = (layout.raw / raw_file_name(0)).read_text()
    foreign = [json.loads(line) for line in text.splitlines()]
    for record in foreign:
        record.pop("crc32")
    mixed = [encode({**record, "rank": 1, "run_id": "run-2"}) for record in foreign]
    own.write_bytes(b"".join(mixed))
    run = load_run(layout.directory)
    assert f"run 'run-2' instead of {RUN_ID!r}" in run.problems[0]
    assert set(run.steps["rank"]) == {0}
    assert run.incomplete


@pytest.mark.parametrize("changes", [{"size": 3}, {"grad_bytes": 7}])
def test_headers_that_contradict_each_other_are_named(
    layout: RunLayout, changes: dict[str, int]
) -> None:
    path = layout.raw / raw_file_name(1)
    first, *others = path.read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    record.pop("crc32")
    path.write_bytes(b"".join([encode({**record, **changes}), *others]))
    reasons = " ".join(load_run(layout.directory).incomplete)
    name, value = next(iter(changes.items()))
    assert (
        f"{ {'size': 'number of ranks', 'grad_bytes': 'size of the gradients'}[name] } is"
        in reasons
    )
    assert str(value) in reasons


def test_another_configuration_is_named_even_where_its_blocks_are_the_same(
    layout: RunLayout,
) -> None:
    document = json.loads(layout.config.read_text())
    layout.config.write_text(json.dumps({**document, "config": "E"}))
    assert load_run(layout.directory).incomplete == (
        "ranks 0 and 1: config.json was changed, or is not that of this run",
    )


def test_steps_that_were_not_planned_are_named(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks()] * 2)
    document = json.loads(layout.config.read_text())
    layout.config.write_text(json.dumps({**document, "phases": ["forward"]}))
    (reason,) = load_run(run_directory).incomplete
    assert reason.startswith("ranks 0 and 1 hold steps that config.json does not plan: ")


def test_a_plan_of_billions_of_blocks_is_named_and_not_made(layout: RunLayout) -> None:
    document = json.loads(layout.config.read_text())
    for changes in ({"blocks": 2**31 - 1, "steps": 2**31 - 1}, {"sizes": list(range(1, 10**5))}):
        layout.config.write_text(json.dumps({**document, **changes}))
        assert "far more than a run holds" in " ".join(load_run(layout.directory).incomplete)


def test_very_many_problems_take_few_lines_and_are_counted(layout: RunLayout) -> None:
    with open(layout.raw / raw_file_name(0), "ab") as file:
        for number in range(3000):
            file.write(encode({"kind": f"kind-{number}", "seq": 99, "rank": 0, "run_id": RUN_ID}))
    run = load_run(layout.directory)
    assert len(run.problems) == MOST_PROBLEMS + 1
    assert run.ranks[0].problem_count == 3000
    assert "2900 more problem(s)" in run.ranks[0].problems[-1]
    assert len(terminal_report(find(run)).splitlines()) < 100


def test_a_file_of_nothing_but_line_ends_is_given_up(
    layout: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_PROBLEMS", 500)
    with open(layout.raw / raw_file_name(0), "ab") as file:
        file.write(b"\n" * 100_000)
    found = records.read_rank_file(layout.raw / raw_file_name(0), RUN_ID)
    assert found.problem_count == 500
    assert any("from here on it was not read" in problem for problem in found.problems)
    assert found.end is not None


def test_very_many_bytes_without_a_line_end_is_one_problem(layout: RunLayout) -> None:
    path = layout.raw / raw_file_name(0)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + 160 * 2**20)  # NULs that take no room on disk
    found = records.read_rank_file(path, RUN_ID)
    assert len(found.problems) == 1
    assert f"longer than {records.MAX_LINE_BYTES} bytes" in found.problems[0]
    assert found.end is not None


def test_a_line_of_very_many_parts_is_not_taken_apart(layout: RunLayout) -> None:
    path = layout.raw / raw_file_name(0)
    for part in ('""', "[]", "{}"):
        body = f'{{"kind":"end","x":[{",".join([part] * 110_000)}]}}'.encode()
        path.write_bytes(b'%b,"crc32":"%08x"}\n' % (body[:-1], zlib.crc32(body)))
        found = records.read_rank_file(path, RUN_ID)
        assert "damaged (too many parts)" in found.problems[0]


def test_what_a_line_says_is_shown_short_and_printable(layout: RunLayout) -> None:
    evil = "\x1b[2J\n" + "x" * 100_000
    path = layout.raw / raw_file_name(1)
    lines = path.read_bytes().splitlines(keepends=True)
    failure = {"kind": "failure", "seq": 99, "rank": 1, "run_id": RUN_ID, "sentence": evil}
    strange_lines = [
        encode({"kind": evil}),
        encode({"kind": "end", "run_id": evil}),
        encode({"kind": "wait", "run_id": RUN_ID, "rank": evil, "wall_ns": 1, "cpu_ns": 1}),
        encode(failure),
    ]
    path.write_bytes(b"".join([*lines[:-1], *strange_lines]))
    run = load_run(layout.directory)
    told = [*run.problems, *run.incomplete]
    assert len(run.problems) == 4  # three lines, and the gap before the last
    assert len(told) == 5
    assert all(len(text) < 1000 and text.isprintable() for text in told)


def test_removed_files_are_named_or_refused(layout: RunLayout, whole: dict[Path, bytes]) -> None:
    for path in whole:
        mend(layout, whole)
        path.unlink()
        if path == layout.config:
            with pytest.raises(RecordsError):
                load_run(layout.directory)
        else:
            assert load_run(layout.directory).incomplete
    shutil.rmtree(layout.raw)
    layout.config.write_bytes(whole[layout.config])
    with pytest.raises(RecordsError, match="no readable record of any rank"):
        load_run(layout.directory)
