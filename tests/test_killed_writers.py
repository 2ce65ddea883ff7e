"""A slice of benchmarks/kill_campaign.py, whose real ranks take minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from distbench.layout import RunLayout
from distbench.records import raw_file_name

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def kill_campaign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kill_campaign

    monkeypatch.setattr(kill_campaign, "WRITER_ALIVE_S", 0.3)
    return kill_campaign


def test_every_block_that_was_told_outlives_sigkill(kill_campaign: ModuleType) -> None:
    outcomes = kill_campaign.campaign(writers=8, real=0, seed=0, with_reports=False)
    assert [one.faults for one in outcomes] == [[]] * 8
    assert [one.problems for one in outcomes] == [one.torn_lines for one in outcomes]
    assert all(one.found_blocks >= one.told_blocks for one in outcomes)
    assert sum(one.told_blocks for one in outcomes) > 0
    assert not any(one.was_complete for one in outcomes)
    assert kill_campaign.tally(outcomes)[-1] == "promises broken: 0 in 8 kills"


@pytest.fixture
def written(tmp_path: Path, kill_campaign: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a writer has left that told three blocks."""
    monkeypatch.setattr(kill_campaign.os, "write", _until_the_third_block(kill_campaign.os.write))
    with pytest.raises(_KilledError):
        kill_campaign.write_until_killed(tmp_path / "run")
    return RunLayout(tmp_path / "run").raw / raw_file_name(0)


class _KilledError(Exception):
    """In place of a signal."""


def _until_the_third_block(write: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    def write_or_die(descriptor: int, data: bytes) -> int:
        if descriptor != 1:
            return write(descriptor, data)
        if data == b"3\n":
            raise _KilledError
        return len(data)

    return write_or_die


def faults_of(kill_campaign: ModuleType, path: Path, told_blocks: int) -> list[str]:
    """What the campaign finds in the directory of a writer that told so many blocks."""
    outcome = kill_campaign.Outcome("writers", "the writer", told_blocks)
    kill_campaign.check_directory(RunLayout(path.parent.parent), 1, outcome)
    kill_campaign.check_blocks(path.parent.parent, outcome)
    return list(outcome.faults)


def test_the_campaign_sees_what_was_lost(kill_campaign: ModuleType, written: Path) -> None:
    assert faults_of(kill_campaign, written, 3) == []
    assert faults_of(kill_campaign, written, 2) == []  # it was killed before it could tell
    assert faults_of(kill_campaign, written, 4) == ["3 blocks found where 4 were told"]
    content = written.read_bytes()
    written.write_bytes(content[:-1])
    assert faults_of(kill_campaign, written, 2) == []
    assert faults_of(kill_campaign, written, 3) == ["2 blocks found where 3 were told"]


def test_the_campaign_sees_what_was_changed(kill_campaign: ModuleType, written: Path) -> None:
    content = written.read_bytes()
    written.write_bytes(content.replace(b'"block":2', b'"block":7'))
    assert any("wrong checksum" in fault for fault in faults_of(kill_campaign, written, 3))
    lines = content.splitlines(keepends=True)
    written.write_bytes(b"".join([*lines[:-1], lines[-1][:9], lines[-1]]))  # glued on a piece
    assert any("line 4" in fault for fault in faults_of(kill_campaign, written, 3))
    written.write_bytes(content)
    status = RunLayout(written.parent.parent).status
    status.write_bytes(status.read_bytes()[:5])
    assert "status.json is half of a document" in faults_of(kill_campaign, written, 3)
