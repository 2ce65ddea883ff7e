"""Three real ranks, one of them slowed on purpose: from the command to the name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.stragglers import find_stragglers
from tests.launching import TINY, launch, only_run

pytestmark = [pytest.mark.real, pytest.mark.quiet]
SCRIPT = Path(__file__).parent / "real_ranks" / "slow_rank.py"


def test_a_rank_slowed_on_purpose_is_named_and_no_other(tmp_path: Path) -> None:
    phases = ["--phases", "forward,forward_backward", "--steps", "18"]
    ended = launch("gloo", [sys.executable, str(SCRIPT), *TINY, *phases], tmp_path, ranks=3)
    assert ended.returncode == 0, ended.stderr
    run = load_run(only_run(tmp_path))
    found = find_stragglers(run)
    assert found is not None
    assert found.phase == "forward_backward"
    assert [straggler.rank for straggler in found.named] == [1], found.scores.to_string()
    slow = found.named[0]
    # ten times a step of the others, or half of that where the machine is busy
    assert slow.relative_lag > 0.5
    assert slow.relative_lag_low > 0.01
    assert slow.host == run.first_header["host"]
    assert slow.device == run.first_header["device"]["name"]
    assert found.verdict.startswith(f"Rank 1 on {slow.host} ({slow.device}) computes ")
    # 12 blocks compute alone, and the last of all may be one of them
    assert slow.meetings >= 11
    assert slow.last_arrivals > slow.meetings / 2
    # it sleeps 0.6 s in a block of three steps at least, while the others end theirs
    assert slow.median_wait_s > 0.15
