"""Several "hosts" on one machine: namespaces joined by a switch whose links are rate limited.

Each host has a network, UTS, IPC and mount namespace of its own: an interface, a name, a /dev/shm and
a disk at the cluster's working directory that no other host sees. A bridge in one more network
namespace joins them; `tc tbf` limits every link in both directions.

    host-a: eth0 ═ tbf ══ veth ══ tbf ═ port0 ┐
                                             switch
    host-b: eth0 ═ tbf ══ veth ══ tbf ═ port1 ┘

Nothing of it has a name outside, so that clusters never meet. All of it is held by processes of one
PID namespace, and the kernel ends those, and with them interfaces and mounts, when the first of them
ends. That one reads a pipe of this process: it ends with the context manager, and also where this
process is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.launching import clean_environment

AGENT = Path(__file__).with_name("virtual_host_agent.sh")
INTERFACE = "eth0"  # every host's only link, as its own namespace calls it
HOST_NAMESPACES = ("net", "uts", "ipc", "mount")
PROGRAMS = ("ip", "tc", "nsenter", "unshare", "mount", "hostname", "cat", "env")
BURST_BYTES = 64 * 1024  # what a link that was idle lets through at once
QUEUE_MS = 50  # what would wait longer at a link is dropped, and TCP slows down
STEP_LIMIT_S = 20.0
END_LIMIT_S = 20.0
NEW_HOST = ("unshare", *(f"--{kind}" for kind in HOST_NAMESPACES))
MOUNT = ("mount", "--no-mtab")  # or it leaves a folder in /run
MOUNT_TMPFS = (*MOUNT, "-t", "tmpfs", "tmpfs")
NEW_BRIDGE = ("ip", "link", "add", "switch", "type", "bridge")
NEW_SWITCH = ("unshare", "--fork", "--pid", "--kill-child", "--mount-proc", "--net")


def why_not() -> str | None:
    """Why virtual hosts cannot be made here; None where they can. Tries each thing that they need."""
    if os.geteuid() != 0:
        return "virtual hosts need root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"virtual hosts need {', '.join(missing)}"
    if not Path(_children_file(os.getpid())).exists():
        return "virtual hosts need a kernel that lists the children of a process"
    new_network = ["unshare", "--net"]
    trials = (
        [*NEW_SWITCH, *NEW_HOST, "true"],
        [*_entering(os.getpid(), "net"), "true"],
        ["unshare", "--mount", *MOUNT_TMPFS, "/dev/shm"],
        [*new_network, *NEW_BRIDGE],
        [*new_network, *_new_pair("port0")],
        [*new_network, *_limit("lo", rate_mbit=100)],
    )
    for trial in trials:
        try:
            _done(trial)
        except (RuntimeError, OSError, subprocess.SubprocessError) as refused:
            return f"this machine refuses what virtual hosts need: {refused}"
    return None


@dataclass(frozen=True)
class VirtualHost:
    """One host: `holder_pid` holds its namespaces, `disk` is its disk as seen from outside."""

    name: str
    holder_pid: int
    disk: Path


class VirtualCluster:
    """Hosts on one switch; a context manager. `directory` must exist and be empty.

    `work` has the same path on every host and is another disk on each; `agent` stands in for ssh
    between them. Every link carries `rate_mbit` · 10⁶ bits a second in each direction, headers
    included. Raises RuntimeError with the words of the step of the set-up that failed.
    """

    def __init__(self, directory: Path, names: Sequence[str], rate_mbit: int) -> None:
        self.work = directory / "work"
        self.agent = directory / "bin" / "ssh"
        self.hosts: tuple[VirtualHost, ...] = ()
        self._directory = directory
        self._names = names
        self._rate_mbit = rate_mbit
        self._switch_pid = 0
        self._stack = ExitStack()

    def __enter__(self) -> VirtualCluster:
        with ExitStack() as stack:
            self._stack = stack
            self._make_files()
            self._start_switch()
            self.hosts = tuple(self._add_host(index) for index in range(len(self._names)))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(
        self, host: VirtualHost, command: Sequence[str], limit_s: float, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `command` on `host`, in `work`, and waits for it at most `limit_s` seconds.

        The stand-in for ssh comes first on its PATH.
        """
        enter = _entering(host.holder_pid, *HOST_NAMESPACES, "pid")
        return subprocess.run(
            [*enter, "env", f"--chdir={self.work}", *command],
            env=clean_environment(
                VIRTUAL_HOSTS=str(self._directory / "holders"),
                TMPDIR=str(self.work / "tmp"),
                PATH=f"{self.agent.parent}{os.pathsep}{os.environ['PATH']}",
                **environment,
            ),
            capture_output=True,
            text=True,
            timeout=limit_s,
            stdin=subprocess.DEVNULL,
        )

    def sent_bytes(self, host: VirtualHost) -> int:
        """What `host` has sent over its link so far, headers included."""
        show = ["ip", "-json", "-statistics", "link", "show", "dev", INTERFACE]
        (link,) = json.loads(_inside(host.holder_pid, show, "net"))
        return int(link["stats64"]["tx"]["bytes"])

    def namespaces(self) -> set[str]:
        """The namespaces of the switch and the hosts, as the links under /proc name them."""
        pids = [self._switch_pid, *(host.holder_pid for host in self.hosts)]
        ours = {name for pid in pids for name in _namespaces_of(pid)}
        return ours - _namespaces_of(os.getpid())

    def _make_files(self) -> None:
        for folder in (self.work, self.agent.parent, self._directory / "holders"):
            folder.mkdir()
        shutil.copy(AGENT, self.agent)
        self.agent.chmod(0o755)
        lines = [f"{_address(index)} {name}" for index, name in enumerate(self._names)]
        (self._directory / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def _start_switch(self) -> None:
        self._switch_pid = self._start_holder(NEW_SWITCH)
        for command in (NEW_BRIDGE, ("ip", "link", "set", "switch", "up")):
            _inside(self._switch_pid, command, "net")

    def _add_host(self, index: int) -> VirtualHost:
        name = self._names[index]
        pid = self._start_holder([*_entering(self._switch_pid, "pid", "mount"), *NEW_HOST])
        disk = self._directory / f"disk-{name}"
        (disk / "tmp").mkdir(parents=True)
        _inside(pid, ["hostname", name], "uts")
        for mount in (
            [*MOUNT, "--bind", str(self._directory / "hosts"), "/etc/hosts"],
            [*MOUNT, "--bind", str(disk), str(self.work)],
            [*MOUNT_TMPFS, "/dev/shm"],
        ):
            _inside(pid, mount, "mount")
        self._connect(index, pid)
        (self._directory / "holders" / name).write_text(f"{_innermost_pid(pid)}\n")
        return VirtualHost(name, pid, disk)

    def _connect(self, index: int, pid: int) -> None:
        """Joins the host that `pid` holds to the switch; each end limits what it sends."""
        port = f"port{index}"
        for command in (
            [*_new_pair(port), "netns", str(pid)],
            _limit(port, self._rate_mbit),
            ["ip", "link", "set", port, "master", "switch", "up"],
        ):
            _inside(self._switch_pid, command, "net")
        for command in (
            _limit(INTERFACE, self._rate_mbit),
            ["ip", "address", "add", f"{_address(index)}/24", "dev", INTERFACE],
            ["ip", "link", "set", INTERFACE, "up"],
            ["ip", "link", "set", "lo", "up"],
        ):
            _inside(pid, command, "net")

    def _start_holder(self, make_namespaces: Sequence[str]) -> int:
        """Starts a process that holds new namespaces; returns its id, as seen from here.

        It is a `cat`: its answer tells that the namespaces are made, and it ends with its pipe.
        """
        holder = subprocess.Popen(
            [*make_namespaces, "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._stack.callback(_end, holder)
        assert holder.stdin is not None
        assert holder.stdout is not None
        with suppress(BrokenPipeError):  # then there is no answer, either
            holder.stdin.write(b"ready\n")
            holder.stdin.flush()
        if holder.stdout.readline() != b"ready\n":
            _, words = holder.communicate(timeout=END_LIMIT_S)
            raise RuntimeError(f"{' '.join(make_namespaces)}: {words.decode().strip()}")
        (child,) = Path(_children_file(holder.pid)).read_text().split()
        return int(child)


def what_is_left(namespaces: set[str], directory: Path) -> list[str]:
    """The command lines of processes in any of `namespaces`, and this one's mounts in `directory`."""
    left = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            if process.name.isdecimal() and _namespaces_of(int(process.name)) & namespaces:
                left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return left + [mount for mount in mounts if str(directory) in mount]


def _end(holder: subprocess.Popen[bytes]) -> None:
    """Closes a holder's pipe and waits for its end, which is the end of all in its PID namespace."""
    with holder:
        try:
            holder.communicate(timeout=END_LIMIT_S)
        finally:
            holder.kill()


def _entering(pid: int, *namespaces: str) -> list[str]:
    return ["nsenter", "--target", str(pid), *(f"--{kind}" for kind in namespaces), "--"]


def _inside(pid: int, command: Sequence[str], *namespaces: str) -> str:
    return _done([*_entering(pid, *namespaces), *command])


def _done(command: Sequence[str]) -> str:
    """What `command` printed; RuntimeError with what it said where it failed."""
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=STEP_LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout


def _new_pair(port: str) -> list[str]:
    return ["ip", "link", "add", port, "type", "veth", "peer", "name", INTERFACE]


def _limit(interface: str, rate_mbit: int) -> list[str]:
    bucket = ["rate", f"{rate_mbit}mbit", "burst", str(BURST_BYTES), "latency", f"{QUEUE_MS}ms"]
    return ["tc", "qdisc", "add", "dev", interface, "root", "tbf", *bucket]


def _address(index: int) -> str:
    return f"192.0.2.{index + 1}"  # of a network that is set aside for examples


def _children_file(pid: int) -> str:
    return f"/proc/{pid}/task/{pid}/children"


def _innermost_pid(pid: int) -> int:
    """The id of process `pid` in its own PID namespace, where the agent looks for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    (ids,) = (line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(ids.split()[-1])


def _namespaces_of(pid: int) -> set[str]:
    return {os.readlink(link) for link in Path(f"/proc/{pid}/ns").iterdir()}
