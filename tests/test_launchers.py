from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from distbench.errors import UsageError
from distbench.launchers import Caller, HostSlots, Launch, launch_argv, mpijob_argv, parse_hosts
from tests.launching import distbench, need, only_run, run, status

HOSTILE = ";$(touch x)\n'\""
COMMAND = ("python", "-m", "distbench", "--output", HOSTILE)
USER = Caller(is_root=False, environ={}, folder="/home/user")
ROOT = Caller(is_root=True, environ={}, folder="/root")
TWO_HOSTS = (HostSlots("node-1", 4), HostSlots("node-2.example", 4))


def start_of(launch: Launch, caller: Caller = USER) -> list[str]:
    """The launcher's own part of the argument list; the command must follow it unchanged."""
    argv = launch_argv(launch, COMMAND, caller)
    assert argv[-len(COMMAND) :] == list(COMMAND)
    return argv[: -len(COMMAND)]


def test_hosts_are_read() -> None:
    assert parse_hosts("node-1:4,node-2.example:4") == TWO_HOSTS
    assert parse_hosts("10.0.0.1:1024") == (HostSlots("10.0.0.1", 1024),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the hosts are ''; they must be a list such as node-1:4,node-2:4"),
        ("a", "the hosts are 'a'"),
        ("a:", "the hosts are 'a:'"),
        (":4", "the hosts are ':4'"),
        ("a:4,", "the hosts are 'a:4,'"),
        ("a:-1", "the hosts are 'a:-1'"),
        ("a:+1", "the hosts are 'a:+1'"),
        ("a:1_0", "the hosts are 'a:1_0'"),
        ("a:٤", "the hosts are 'a:\\u0664'"),
        ("a:0", "host a has 0 slots; give it 1 to 1024"),
        ("a:1025", "host a has 1025 slots; give it 1 to 1024"),
        ("-a:4", "'-a' is no host name"),
        ("a b:4", "'a b' is no host name"),
        ("a:4, b:4", "' b' is no host name"),
        ("a\n:4", "'a\\n' is no host name"),
        ("$(touch x):4", "'$(touch x)' is no host name"),
        ("é:4", "'\\xe9' is no host name"),
        ("a:b:4", "'a:b' is no host name"),
        ("user@a:4", "'user@a' is no host name"),
        ("a:4,b:2,a:4", "host a is named twice"),
        ("a:4,a:2", "host a is named twice"),
    ],
)
def test_what_is_no_list_of_hosts_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_hosts(text)
    assert sentence in error.value.sentence


@pytest.mark.parametrize(
    ("launch", "start"),
    [
        (Launch("local", 2), "horovodrun --gloo -np 2 -H localhost:2"),
        (Launch("local", 1, controller="mpi"), "horovodrun --mpi -np 1 -H localhost:1"),
        # Gloo starts a rank in every slot that it is told of, whatever -np says.
        (Launch("local", 4, hosts=TWO_HOSTS), "horovodrun --gloo -np 4 -H node-1:4"),
        (
            Launch("local", 6, hosts=TWO_HOSTS),
            "horovodrun --gloo -np 6 -H node-1:4,node-2.example:2",
        ),
        (
            Launch("local", 2, arguments=("--verbose", "--mpi-args=-mca btl ^openib")),
            "horovodrun --gloo -np 2 -H localhost:2 --verbose|--mpi-args=-mca btl ^openib",
        ),
        (Launch("mpirun", 2), "mpirun -np 2 -H localhost:2 --map-by slot --bind-to none"),
        (
            Launch("mpirun", 8, hosts=TWO_HOSTS, environment=("PATH", "NCCL_DEBUG", "PATH")),
            "mpirun -np 8 -H node-1:4,node-2.example:4 --map-by slot --bind-to none "
            "-x PATH -x NCCL_DEBUG",
        ),
        (
            Launch("mpirun", 1, arguments=("--mca", "plm_rsh_agent", "a b")),
            "mpirun -np 1 -H localhost:1 --map-by slot --bind-to none --mca plm_rsh_agent|a b",
        ),
        # Not run: there is no srun and no jsrun here.
        (
            Launch("srun", 8),
            "srun --mpi=pmix --kill-on-bad-exit=1 --export=ALL --ntasks=8 --distribution=block",
        ),
        (
            Launch(
                "srun", 8, hosts=TWO_HOSTS, environment=("A",), arguments=("--gpus-per-node=4",)
            ),
            "srun --mpi=pmix --kill-on-bad-exit=1 --export=ALL --ntasks=8 --distribution=block "
            "--nodes=2 --ntasks-per-node=4 --nodelist=node-1,node-2.example --gpus-per-node=4",
        ),
        (
            Launch("srun", 2, hosts=TWO_HOSTS),
            "srun --mpi=pmix --kill-on-bad-exit=1 --export=ALL --ntasks=2 --distribution=block "
            "--nodes=1 --ntasks-per-node=2 --nodelist=node-1",
        ),
        (
            Launch("jsrun", 12, arguments=("--gpu_per_rs=1",)),
            "jsrun --nrs=12 --tasks_per_rs=1 --launch_distribution=packed --bind=none "
            "--exit_on_error=1 --gpu_per_rs=1",
        ),
    ],
)
def test_the_start_of_each_launcher(launch: Launch, start: str) -> None:
    words = [word for part in start.split("|")[:1] for word in part.split()]
    assert start_of(launch) == words + start.split("|")[1:]


def test_only_root_is_let_run_as_root() -> None:
    assert start_of(Launch("mpirun", 1), ROOT)[:2] == ["mpirun", "--allow-run-as-root"]
    assert "--allow-run-as-root" not in start_of(Launch("mpirun", 1), USER)


def test_the_caller_is_this_process_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    assert "--cpus-per-task=7" in launch_argv(Launch("srun", 1), COMMAND)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--allow-run-as-root" in launch_argv(Launch("mpirun", 1), COMMAND)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "--allow-run-as-root" not in launch_argv(Launch("mpirun", 1), COMMAND)


@pytest.mark.parametrize(("value", "expected"), [("8", ["--cpus-per-task=8"]), ("", []), ("x", [])])
def test_srun_is_told_the_cpus_that_sbatch_was_told(value: str, expected: list[str]) -> None:
    caller = Caller(False, {"SLURM_CPUS_PER_TASK": value}, "/")
    start = start_of(Launch("srun", 2, arguments=("--label",)), caller)
    assert start[6:] == [*expected, "--label"]


def test_the_launcher_of_an_mpijob_names_no_hosts() -> None:
    assert mpijob_argv(8, ("NCCL_DEBUG",), COMMAND) == [
        *["mpirun", "-np", "8", "--map-by", "slot", "--bind-to", "none"],
        *["-x", "PATH", "-x", "NCCL_DEBUG", *COMMAND],
    ]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"launcher": "ssh"},
            "the launcher is 'ssh'; it must be one of local, mpirun, srun, jsrun",
        ),
        ({"controller": "nccl"}, "the controller is 'nccl'; it must be one of gloo, mpi"),
        ({"ranks": 0}, "0 ranks are asked for"),
        ({"ranks": 9}, "9 ranks are asked for and node-1:4,node-2.example:4 has 8 slots"),
        ({"ranks": 2000, "hosts": ()}, "host localhost has 2000 slots; give it 1 to 1024"),
        ({"launcher": "srun", "ranks": 6}, "6 ranks would fill node-1:4,node-2.example:2"),
        ({"launcher": "jsrun"}, "and jsrun takes none"),
        ({"hosts": (HostSlots("a", 4), HostSlots("a", 2))}, "host a is named twice"),
        ({"environment": ("A B",)}, "'A B' is no name of a variable"),
        ({"environment": ("A=1",)}, "'A=1' is no name of a variable"),
        ({"environment": ("",)}, "'' is no name of a variable"),
        ({"environment": ("1A",)}, "'1A' is no name of a variable"),
        ({"arguments": ("xterm",)}, "would run its argument 'xterm'; begin with a flag"),
        ({"arguments": ("--mca", ":")}, "no launcher hands the argument ':' on"),
        ({"arguments": ("--a\0",)}, "no launcher hands the argument '--a\\x00' on"),
        ({"arguments": ("--output-filename=$(touch x)",)}, "would hand '--output-filename=$("),
        ({"arguments": ("--ssh-identity-file=a;touch x",)}, "would hand '--ssh-identity-file=a;"),
        (
            {"arguments": ("--mpi-args=a\ntouch x",)},
            "would hand '--mpi-args=a\\ntouch x' to a shell",
        ),
    ],
)
def test_what_a_launcher_cannot_do_is_refused(values: dict[str, Any], sentence: str) -> None:
    launch = Launch(**{"launcher": "local", "ranks": 4, "hosts": TWO_HOSTS, **values})
    with pytest.raises(UsageError) as error:
        launch_argv(launch, COMMAND, USER)
    assert sentence in error.value.sentence


@pytest.mark.parametrize("launcher", ["local", "mpirun", "srun", "jsrun"])
@pytest.mark.parametrize(
    "command", [(), ("",), ("-np", "9"), ("python", ":", "-np", "1", "evil"), ("python", "a\0b")]
)
def test_a_command_that_would_be_read_as_something_else_is_refused(
    launcher: str, command: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError):
        launch_argv(Launch(launcher, 1), command, USER)
    with pytest.raises(UsageError):
        mpijob_argv(1, (), command)


def test_a_folder_that_a_shell_would_read_starts_no_ranks_on_other_hosts() -> None:
    caller = Caller(False, {}, "/data/a;touch x")
    with pytest.raises(UsageError, match="would hand '/data/a;touch x' to a shell"):
        launch_argv(Launch("local", 4, hosts=TWO_HOSTS), COMMAND, caller)
    # On this machine, and over MPI, no shell sees it.
    start_of(Launch("local", 4), caller)
    start_of(Launch("local", 4, hosts=(HostSlots("localhost", 4),)), caller)
    start_of(Launch("local", 4, "mpi", TWO_HOSTS), caller)


REAL = {
    "local over Gloo": Launch("local", 2),
    "local over MPI": Launch("local", 2, controller="mpi"),
    "mpirun": Launch("mpirun", 2, environment=("TF_CPP_MIN_LOG_LEVEL",)),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_two_ranks_are_really_started(name: str, tmp_path: Path) -> None:
    need("horovodrun", "mpirun")
    settings = ["--preset", "quick", "--phases", "forward", "--steps", "6", "--warmup-steps", "1"]
    ended = run(launch_argv(REAL[name], distbench(*settings)), tmp_path)
    assert ended.returncode == 0, ended.stderr
    directory = only_run(tmp_path)
    assert status(directory)["state"] == "complete"
    assert len(list((directory / "raw").iterdir())) == 2


# Stands in for ssh: no variable comes along, and the daemon starts right here, with a place of its own
# for its files, which on another machine it has too.
AGENT = """#!/bin/bash
shift
TMPDIR=$(mktemp -d)
env -i PATH=/usr/bin:/bin TMPDIR="$TMPDIR" bash -c "$*"
ended=$?
rm -rf -- "$TMPDIR"
exit $ended
"""

# Says who it is, what it was given, and touches nothing.
SHOW = (
    "import json, os, sys\n"
    "from distbench.launched import launched_as\n"
    "place = launched_as(os.environ)\n"
    "told = [place.rank, place.size, place.local_rank, os.environ.get('TOLD'), sys.argv[1:]]\n"
    "print('told:' + json.dumps(told) + ':end')\n"
)


def shown(output: str) -> list[Any]:
    """What the ranks said, in their order, without what launchers write between."""
    parts = [part.partition(":end")[0] for part in output.split("told:")[1:]]
    return sorted(json.loads(part) for part in parts)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_strings_really_reach_the_ranks_as_they_are(name: str, tmp_path: Path) -> None:
    need("horovodrun", "mpirun")
    given = [HOSTILE, "", " a  b", "*", "~", "$HOME", "--", "-np", "\\"]
    command = [sys.executable, "-c", SHOW, *given]
    ended = run(launch_argv(REAL[name], command), tmp_path, TOLD=HOSTILE)
    assert ended.returncode == 0, ended.stderr
    assert shown(ended.stdout) == [[rank, 2, rank, HOSTILE, given] for rank in (0, 1)]
    assert not (tmp_path / "x").exists()


@pytest.mark.real
def test_horovodrun_really_starts_no_more_ranks_than_asked(tmp_path: Path) -> None:
    need("horovodrun")
    launch = Launch("local", 2, hosts=(HostSlots("localhost", 3),))
    ended = run(launch_argv(launch, [sys.executable, "-c", SHOW]), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert [size for _, size, *_ in shown(ended.stdout)] == [2, 2]


@pytest.mark.real
def test_mpirun_really_fills_host_by_host_and_sends_the_variables(tmp_path: Path) -> None:
    need("mpirun")
    agent = tmp_path / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    # Where mpirun finds its daemon on a host whose PATH does not lead there.
    prefix = str(Path(shutil.which("mpirun") or "").parent.parent)
    launch = Launch(
        "mpirun",
        3,
        hosts=(HostSlots("host-a", 2), HostSlots("host-b", 2)),
        environment=("TOLD",),
        arguments=("--prefix", prefix, "--mca", "plm_rsh_agent", str(agent)),
    )
    ended = run(launch_argv(launch, [sys.executable, "-c", SHOW, HOSTILE]), tmp_path, TOLD=HOSTILE)
    assert ended.returncode == 0, ended.stderr
    assert shown(ended.stdout) == [
        [rank, 3, local_rank, HOSTILE, [HOSTILE]] for rank, local_rank in enumerate((0, 1, 0))
    ]
    assert not (tmp_path / "x").exists()
