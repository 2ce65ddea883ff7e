"""The command that starts a job with each launcher: names, hosts and ranks to an argument list."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distbench.errors import UsageError
from distbench.launched import number_in

STUDY_LAUNCHERS = ("local", "mpirun", "srun", "jsrun")
CONTROLLERS = ("gloo", "mpi")
MOST_SLOTS = 1024
_HOST = re.compile(r"(?!-)[A-Za-z0-9._-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a shell takes as it stands; horovodrun pastes its flags and its folder into one.
_SHELL_PROOF = re.compile(r"[A-Za-z0-9._,:=/+@%^-]+( +[A-Za-z0-9._,:=/+@%^-]+)*")
# Rank r on the node of slot r, as horovodrun numbers them; distbench shares the cores out itself.
_MPIRUN_PLACEMENT = ("--map-by", "slot", "--bind-to", "none")


@dataclass(frozen=True)
class HostSlots:
    """One host and how many ranks it takes, 1 to 1024. Raises UsageError where it can be none."""

    host: str
    slots: int

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise UsageError(
                f"{_shown(self.host)} is no host name; it must be ASCII letters, digits, '.', '_' "
                "and '-', and not begin with '-'"
            )
        if not 1 <= self.slots <= MOST_SLOTS:
            raise UsageError(f"host {self.host} has {self.slots} slots; give it 1 to {MOST_SLOTS}")


@dataclass(frozen=True)
class Launch:
    """How a job is to be started; `launch_argv` checks it."""

    launcher: str  # one of STUDY_LAUNCHERS; local is horovodrun
    ranks: int
    controller: str = "gloo"  # one of CONTROLLERS; only for local
    # Without any: this machine (local, mpirun) or the allocation (srun, jsrun).
    hosts: tuple[HostSlots, ...] = ()
    environment: tuple[str, ...] = ()  # names of variables that must reach ranks on other hosts
    arguments: tuple[str, ...] = ()  # further arguments for the launcher itself


@dataclass(frozen=True)
class Caller:
    """What a launcher takes over from the process that starts it."""

    is_root: bool
    environ: Mapping[str, str]
    folder: str

    @classmethod
    def this_process(cls) -> Caller:
        """The running process."""
        return cls(os.geteuid() == 0, os.environ, os.getcwd())


def parse_hosts(text: str) -> tuple[HostSlots, ...]:
    """Hosts and their slots, 'a:4,b:4'. Raises UsageError where the text is no such list."""
    hosts = []
    for part in text.split(","):
        host, _, slots = part.rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,9}", slots):
            raise UsageError(
                f"the hosts are {_shown(text)}; they must be a list such as node-1:4,node-2:4, "
                "each host with the number of ranks that it takes"
            )
        hosts.append(HostSlots(host, int(slots)))
    _check_hosts_differ(hosts)
    return tuple(hosts)


def launch_argv(launch: Launch, command: Sequence[str], caller: Caller | None = None) -> list[str]:
    """The argument list that starts `command` once per rank, hosts filled in their order.

    No shell is needed to run it. `caller` is this process unless given. Raises UsageError where the
    launcher cannot do what `launch` asks, or where a string would not reach it unchanged.

    Without hosts srun spreads the ranks evenly over the nodes of its allocation. jsrun gives each
    rank one core and no GPU unless the arguments say more, such as --gpu_per_rs=1.
    """
    _check(launch, command)
    start = {"local": _horovodrun, "mpirun": _mpirun, "srun": _srun, "jsrun": _jsrun}
    words = start[launch.launcher](launch, caller or Caller.this_process())
    return [*words, *launch.arguments, *command]


def mpijob_argv(ranks: int, environment: Sequence[str], command: Sequence[str]) -> list[str]:
    """What the launcher pod of a Kubernetes MPIJob runs; the operator's host file names the hosts.

    Raises UsageError as `launch_argv` does.
    """
    _check(Launch("mpirun", ranks, environment=tuple(environment)), command)
    # The ranks are started over ssh, which brings no PATH along.
    words = ["mpirun", "-np", str(ranks), *_MPIRUN_PLACEMENT, *_exports(("PATH", *environment))]
    return [*words, *command]


def _horovodrun(launch: Launch, caller: Caller) -> list[str]:
    read_by_a_shell = list(launch.arguments)
    if launch.controller == "gloo" and any(host.host != "localhost" for host in launch.hosts):
        read_by_a_shell.append(caller.folder)  # each host's shell changes into it
    for text in read_by_a_shell:
        if not _SHELL_PROOF.fullmatch(text):
            raise UsageError(
                f"horovodrun would hand {_shown(text)} to a shell; use letters, digits and "
                "._,:=/+@%^- in its arguments and in the path of the folder that it starts from"
            )
    # It sends the whole environment along by itself.
    ranks, hosts = str(launch.ranks), _host_list(_filled(launch))
    return ["horovodrun", f"--{launch.controller}", "-np", ranks, "-H", hosts]


def _mpirun(launch: Launch, caller: Caller) -> list[str]:
    words = ["mpirun", *(["--allow-run-as-root"] if caller.is_root else [])]
    words += ["-np", str(launch.ranks), "-H", _host_list(_filled(launch))]
    # Where an Open MPI was moved, as one from a wheel is, the ranks of other hosts must find it too.
    moved = ["OPAL_PREFIX"] if launch.hosts and "OPAL_PREFIX" in caller.environ else []
    return [*words, *_MPIRUN_PLACEMENT, *_exports((*launch.environment, *moved))]


def _exports(names: Sequence[str]) -> list[str]:
    return [word for name in dict.fromkeys(names) for word in ("-x", name)]


def _srun(launch: Launch, caller: Caller) -> list[str]:
    start = ["srun", "--mpi=pmix", "--kill-on-bad-exit=1", "--export=ALL"]
    start += [f"--ntasks={launch.ranks}", "--distribution=block"]
    cpus = number_in(caller.environ, "SLURM_CPUS_PER_TASK")
    if cpus:  # since Slurm 22.05 srun no longer takes it over from sbatch
        start.append(f"--cpus-per-task={cpus}")
    if not launch.hosts:
        return start
    placed = _filled(launch)
    if len({host.slots for host in placed}) > 1:
        raise UsageError(
            f"srun spreads ranks evenly, and {launch.ranks} ranks would fill "
            f"{_host_list(placed)}; ask for ranks that fill each host alike"
        )
    start += [f"--nodes={len(placed)}", f"--ntasks-per-node={placed[0].slots}"]
    return [*start, "--nodelist=" + ",".join(host.host for host in placed)]


def _jsrun(launch: Launch, _: Caller) -> list[str]:
    if launch.hosts:
        found = _host_list(launch.hosts)
        raise UsageError(f"hosts are given, {found}, and jsrun takes none; ask bsub for them")
    sets = [f"--nrs={launch.ranks}", "--tasks_per_rs=1"]
    return ["jsrun", *sets, "--launch_distribution=packed", "--bind=none", "--exit_on_error=1"]


def _filled(launch: Launch) -> list[HostSlots]:
    """The hosts that hold ranks, each with exactly its ranks.

    horovodrun over Gloo starts a rank in every slot that it is told of, whatever -np says.
    """
    left, placed = launch.ranks, []
    for host in launch.hosts or (HostSlots("localhost", launch.ranks),):
        taken = min(host.slots, left)
        left -= taken
        if taken:
            placed.append(HostSlots(host.host, taken))
    if left:
        raise UsageError(
            f"{launch.ranks} ranks are asked for and {_host_list(launch.hosts)} has "
            f"{launch.ranks - left} slots; name more hosts, or ask for fewer ranks"
        )
    return placed


def _host_list(hosts: Sequence[HostSlots]) -> str:
    return ",".join(f"{host.host}:{host.slots}" for host in hosts)


def _check(launch: Launch, command: Sequence[str]) -> None:
    _check_choice("launcher", launch.launcher, STUDY_LAUNCHERS)
    _check_choice("controller", launch.controller, CONTROLLERS)
    if launch.ranks < 1:
        raise UsageError(f"{launch.ranks} ranks are asked for; it must be at least one")
    _check_hosts_differ(launch.hosts)
    check_variables(launch.environment)
    for text in (*launch.arguments, *command):
        # Open MPI and srun take a colon alone for the start of a second program.
        if text == ":" or "\0" in text:
            raise UsageError(f"no launcher hands the argument {_shown(text)} on; choose another")
    first = launch.arguments[0] if launch.arguments else "-"
    if not first.startswith("-"):
        raise UsageError(f"the launcher would run its argument {_shown(first)}; begin with a flag")
    if not command or not command[0] or command[0].startswith("-"):
        raise UsageError(f"the command {_shown(' '.join(command))} must begin with a program")


def _check_choice(what: str, found: str, choices: Sequence[str]) -> None:
    if found not in choices:
        raise UsageError(f"the {what} is {_shown(found)}; it must be one of {', '.join(choices)}")


def _check_hosts_differ(hosts: Sequence[HostSlots]) -> None:
    names = [host.host for host in hosts]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"host {twice[0]} is named twice; name it once, with all its slots")


def check_variables(names: Sequence[str]) -> None:
    """Raises UsageError where one of `names` is no name of an environment variable."""
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise UsageError(
                f"{_shown(name)} is no name of a variable; it must be ASCII letters, digits and '_'"
            )


def _shown(text: str) -> str:
    return ascii(text) if len(text) <= 60 else ascii(text[:60]) + "…"
