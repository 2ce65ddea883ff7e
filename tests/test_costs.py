from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from distbench.worker.costs import costs, process_age_s, start_up_s
from distbench.worker.device import Device
from distbench.worker.pulse import Pulse

CPU = Device("CPU", "a processor", "", 1, "given")


def test_the_stages_before_the_first_timed_step_are_told_apart() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])
    for at, stage in ((101.0, "importing"), (107.0, "building"), (110.0, "preflight")):
        now[0] = at
        pulse.enter(stage)
    now[0] = 130.0
    pulse.enter_block(0, "forward, warm-up")
    now[0] = 133.0
    pulse.enter_block(1, "train_step, warm-up")
    now[0] = 140.0
    pulse.warm_up_is_done(10)
    now[0] = 200.0
    pulse.enter("the last checks")  # after the timed blocks: no part of the start
    assert start_up_s(pulse, 0.25) == {
        "starting Python": 0.25,
        "starting": 1.0,
        "importing": 6.0,
        "building": 3.0,
        "preflight": 20.0,
        "warm-up": 10.0,
    }


def test_a_process_knows_its_age(tmp_path: Path) -> None:
    program = (
        "import time; time.sleep(0.3)\n"
        "from distbench.worker.costs import process_age_s; print(process_age_s())"
    )
    began_s = time.monotonic()
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 0.3 <= float(told.stdout) <= time.monotonic() - began_s + 0.02  # ticks of 10 ms
    assert process_age_s(tmp_path / "none") == 0.0


def test_a_rank_tells_its_life_and_memory() -> None:
    pulse = Pulse()
    pulse.enter("building the graph")
    found = costs(pulse, CPU, 7)
    assert dict(found["start_up_s"])["starting Python"] == pytest.approx(process_age_s(), rel=0.5)
    assert found["life_s"] > 0
    assert found["memory_before_network_bytes"] == 7
    assert 10e6 < found["peak_memory_bytes"] < 1e12
    assert found["device_peak_memory_bytes"] is None
