"""Stands in for horovodrun: writes the run that was asked for, or fails as its rules say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from distbench import config
from distbench.durable_files import json_document
from distbench.rank_writer import RankWriter
from distbench.resolving import resolve
from tests.fakes import RUN_ID, header
from tests.study_fakes import write_small_run

LONG_S = 120.0


def main(words: list[str]) -> int:
    folder = Path(os.environ["STAND_IN_FOLDER"])
    with open(folder / "launched.jsonl", "a") as file:
        file.write(json.dumps(words) + "\n")
    line = " ".join(words)
    rules = json.loads((folder / "rules.json").read_text())
    deed = next((deed for fitting, deed in rules if fitting in line), "measure")
    ranks = int(words[words.index("-np") + 1])
    flags = words[words.index("run") + 1 :]
    given = dict(zip(flags[::2], flags[1::2]))
    output = Path(given.pop("--output"))
    names = {flag: flag.removeprefix("--").replace("-", "_") for flag in given}
    overrides = {
        names[flag]: config.checked_value(names[flag], raw, flag) for flag, raw in given.items()
    }
    settings = resolve(overrides, on_gpu=False, world_size=ranks)
    print("distbench: step 10 of 42, train_step, block 1, 10.0 ms", file=sys.stderr, flush=True)
    return DEEDS[deed](output, settings, ranks)


def measure(output: Path, settings: config.Config, ranks: int) -> int:
    write_small_run(output, settings, ranks)
    return 0


def leave_a_child() -> None:
    """A process that outlives its launcher, in a session of its own, and heeds no SIGTERM."""
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"print('ready', flush=True)\ntime.sleep({LONG_S})"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()


def measure_and_leave_a_child(output: Path, settings: config.Config, ranks: int) -> int:
    leave_a_child()
    return measure(output, settings, ranks)


def hang_with_a_child(output: Path, settings: config.Config, ranks: int) -> int:
    leave_a_child()
    (Path(os.environ["STAND_IN_FOLDER"]) / "has_child").touch()
    return hang(output, settings, ranks)


def hang(output: Path, settings: config.Config, ranks: int) -> int:
    time.sleep(LONG_S)
    return 0


def fail(output: Path, settings: config.Config, ranks: int) -> int:
    print("[0]<stderr>:distbench: the network holds a NaN (exit code 6)", file=sys.stderr)
    return 1


def run_out_of_memory(output: Path, settings: config.Config, ranks: int) -> int:
    """Rank 1 meets TensorFlow's error; rank 0 feels the consequence and is first in status.json."""
    raw = output / "raw"
    raw.mkdir(parents=True)
    (output / "config.json").write_bytes(json_document({"run_id": RUN_ID, **settings.as_dict()}))
    for rank in range(ranks):
        writer = RankWriter(raw, RUN_ID, rank)
        writer.append("header", **header(rank, ranks))
        words = "ResourceExhaustedError: OOM when allocating tensor" if rank else "UnknownError"
        sentence = f"rank {rank} failed with {words}"
        writer.append("failure", sentence=sentence, is_echo=False, traceback="")
        writer.close()
    status = {"state": "failed", "exit_code": 4, "cause": "rank 0 failed with UnknownError"}
    (output / "status.json").write_bytes(json_document(status))
    return 1


def be_killed(output: Path, settings: config.Config, ranks: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def tear(output: Path, settings: config.Config, ranks: int) -> int:
    """Says that it is complete while the last rank's file lacks its last line."""
    layout = write_small_run(output, settings, ranks)
    last = sorted(layout.raw.iterdir())[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    return 0


DEEDS = {
    "measure": measure,
    "measure and leave a child": measure_and_leave_a_child,
    "hang": hang,
    "hang with a child": hang_with_a_child,
    "fail": fail,
    "run out of memory": run_out_of_memory,
    "be killed": be_killed,
    "tear": tear,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
