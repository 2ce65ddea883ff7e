"""A batch job for one cell of a study, as text: for Slurm, for LSF, or a Kubernetes MPIJob.

Nothing is read, written or started here. Every string of the user's is quoted for what reads it:
the shell, YAML, and the $(NAME) that Kubernetes replaces.
"""

from __future__ import annotations

import json
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distbench.errors import UsageError
from distbench.launchers import (
    MOST_SLOTS,
    Caller,
    Launch,
    check_variables,
    launch_argv,
    mpijob_argv,
)

JOB_KINDS = ("slurm", "lsf", "k8s")
FILE_SUFFIXES = {"slurm": ".sbatch", "lsf": ".lsf", "k8s": ".yaml"}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The operator appends such as "-worker-15", and no label may be longer than 63.
_LONGEST_POD_NAME = 48
# The script runs later, elsewhere, as somebody: what is true of this process is not true of it.
_LATER = Caller(is_root=False, environ={}, folder="")


@dataclass(frozen=True)
class Job:
    """One job, which starts `command` once per rank, in the folder that it is submitted from."""

    name: str  # 1 to 64 ASCII letters, digits, '.', '_' and '-'
    ranks: int
    ranks_per_node: int
    command: tuple[str, ...]
    environment: Mapping[str, str]  # exported for every rank
    time_limit_s: int  # rounded up to minutes
    gpus_per_rank: int = 1  # 0: CPUs
    cpus_per_rank: int = 0  # 0: left to the site

    @property
    def nodes(self) -> int:
        """How many nodes the ranks fill."""
        return -(-self.ranks // self.ranks_per_node)

    @property
    def ranks_on_each_node(self) -> int:
        """How many ranks each of them holds; fewer than ranks_per_node where one takes them all."""
        return min(self.ranks, self.ranks_per_node)

    @property
    def minutes(self) -> int:
        """The time limit in minutes."""
        return -(-self.time_limit_s // 60)


def job_script(kind: str, job: Job) -> str:
    """The text of the file that submits `job`; `kind` is one of JOB_KINDS.

    Raises UsageError where a value cannot be what it stands for.
    """
    if kind not in JOB_KINDS:
        raise UsageError(f"the kind of job is {kind!r}; it must be one of {', '.join(JOB_KINDS)}")
    _check(job)
    return {"slurm": _slurm, "lsf": _lsf, "k8s": _k8s}[kind](job)


def _check(job: Job) -> None:
    if not _NAME.fullmatch(job.name):
        raise UsageError(
            f"the job's name is {job.name[:80]!r}; it must be 1 to 64 ASCII letters, digits, "
            "'.', '_' and '-'"
        )
    for what, found, least, most in (
        ("ranks", job.ranks, 1, 2**20),
        ("ranks per node", job.ranks_per_node, 1, MOST_SLOTS),
        ("seconds of time limit", job.time_limit_s, 1, 2**31 - 1),
        ("GPUs per rank", job.gpus_per_rank, 0, MOST_SLOTS),
        ("CPUs per rank", job.cpus_per_rank, 0, MOST_SLOTS),
    ):
        if not least <= found <= most:
            raise UsageError(f"job {job.name} has {found} {what}; it must be {least} to {most}")
    if job.nodes > 1 and job.ranks % job.ranks_per_node:
        # srun would give each node as many, where mpirun fills one after the other.
        raise UsageError(
            f"job {job.name} has {job.ranks} ranks at {job.ranks_per_node} per node, which do not "
            "fill the last one; choose ranks per node that divide the ranks"
        )
    check_variables(tuple(job.environment))
    for text in (*job.command, *job.environment.values()):
        if not text.replace("\n", "").replace("\t", "").isprintable():
            raise UsageError(
                f"job {job.name} holds {text[:60]!r}, which has characters that cannot be printed; "
                "leave them out"
            )


def _slurm(job: Job) -> str:
    cpus = f"--cpus-per-task={job.cpus_per_rank}"
    options = [
        f"--job-name={job.name}",
        f"--output={job.name}-%j.out",
        f"--nodes={job.nodes}",
        f"--ntasks={job.ranks}",
        f"--ntasks-per-node={job.ranks_on_each_node}",
        f"--time={job.minutes}",
    ]
    if job.gpus_per_rank:
        options.append(f"--gpus-per-node={job.ranks_on_each_node * job.gpus_per_rank}")
    if job.cpus_per_rank:
        options.append(cpus)
    # Since Slurm 22.05 srun no longer takes the CPUs of a task over from sbatch.
    launch = Launch("srun", job.ranks, arguments=(cpus,) if job.cpus_per_rank else ())
    return _shell_script(
        "For Slurm. In the folder for the run, with distbench's environment: sbatch THIS_FILE",
        "Add what your site needs, such as --account, --partition and --exclusive.",
        [f"#SBATCH {option}" for option in options],
        job.environment,
        launch_argv(launch, job.command, _LATER),
    )


def _lsf(job: Job) -> str:
    options = [
        f"-J {job.name}",
        f"-o {job.name}.%J.out",
        f"-nnodes {job.nodes}",
        f"-W {job.minutes}",
    ]
    # A resource set holds nothing that it is not given.
    sets = [f"--rs_per_host={job.ranks_on_each_node}", f"--gpu_per_rs={job.gpus_per_rank}"]
    if job.cpus_per_rank:
        sets.append(f"--cpu_per_rs={job.cpus_per_rank}")
    return _shell_script(
        "For LSF. In the folder for the run, with distbench's environment: bsub < THIS_FILE",
        "Add what your site needs, such as -P and -q"
        + ("." if job.cpus_per_rank else ", and --cpu_per_rs: a rank has one core without it."),
        [f"#BSUB {option}" for option in options],
        job.environment,
        launch_argv(Launch("jsrun", job.ranks, arguments=tuple(sets)), job.command, _LATER),
    )


def _shell_script(
    what: str,
    to_change: str,
    directives: Sequence[str],
    environment: Mapping[str, str],
    argv: Sequence[str],
) -> str:
    lines = [
        "#!/bin/bash",
        *directives,
        "#",
        f"# {what}",
        f"# {to_change}",
        "# Written by distbench, whose tests ran such a file with a stand-in for the launcher alone.",
        "set -euo pipefail",
        *(f"export {name}={_shell_word(environment[name])}" for name in sorted(environment)),
        "exec " + " ".join(map(_shell_word, argv)),
    ]
    return "\n".join(lines) + "\n"


def _shell_word(text: str) -> str:
    """One word of a shell's line, on one line: bsub reads #BSUB wherever a line begins with it."""
    return shlex.quote(text).replace("\n", "'$'\\n''")


def _k8s(job: Job) -> str:
    per_rank = {"nvidia.com/gpu": job.gpus_per_rank, "cpu": job.cpus_per_rank}
    names = sorted(job.environment)
    return _MPIJOB.format(
        title=job.name,
        name=_pod_name(job.name),
        ranks_per_worker=job.ranks_on_each_node,
        workers=job.nodes,
        pod=_POD,
        deadline_s=job.minutes * 60,
        image=f"registry.example.com/distbench:{'gpu' if job.gpus_per_rank else 'cpu'}",
        command=_json([_literal(word) for word in mpijob_argv(job.ranks, names, job.command)]),
        env=_json([{"name": name, "value": _literal(job.environment[name])} for name in names]),
        limits=_json(
            {what: each * job.ranks_on_each_node for what, each in per_rank.items() if each}
        ),
    )


def _literal(text: str) -> str:
    """The text as Kubernetes must find it to hand it on as it is: it replaces $(NAME), and $$ by $."""
    return text.replace("$", "$$")


def _json(value: object) -> str:
    """JSON, which is YAML too where every character can be printed."""
    return json.dumps(value, ensure_ascii=False)


def _pod_name(name: str) -> str:
    """A DNS label for the job: its own name where it is one, else one made of it, for it alone."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name and name[0].isalpha() and len(name) <= _LONGEST_POD_NAME:
        return name
    checksum = f"{zlib.crc32(name.encode()):08x}"
    start = plain if plain[:1].isalpha() else f"job-{plain}"
    return f"{start[: _LONGEST_POD_NAME - 9].rstrip('-')}-{checksum}"


_POD = """\
        metadata:
          annotations:
            sidecar.istio.io/inject: "false"
        spec:
          securityContext:
            runAsNonRoot: true
            runAsUser: 1000
            fsGroup: 1000
"""

_MPIJOB = """\
# Job {title}, for Kubernetes with the MPI operator: kubectl apply -f THIS_FILE
# Change what your site needs: image, claimName, and what your nodes ask for.
# Written by distbench, whose tests checked its fields; no cluster was at hand.
apiVersion: kubeflow.org/v2beta1
kind: MPIJob
metadata:
  name: "{name}"
spec:
  slotsPerWorker: {ranks_per_worker}
  launcherCreationPolicy: WaitForWorkersReady
  sshAuthMountPath: /home/distbench/.ssh
  runPolicy:
    cleanPodPolicy: Running
    activeDeadlineSeconds: {deadline_s}
    backoffLimit: 0  # a run directory is never overwritten, so that a second try would fail
  mpiReplicaSpecs:
    Launcher:
      replicas: 1
      restartPolicy: Never
      template:
{pod}          containers:
            - name: launcher
              image: "{image}"
              workingDir: /results
              command: {command}
              env: {env}
              volumeMounts:
                - name: results
                  mountPath: /results
          volumes:
            - name: results
              persistentVolumeClaim:
                claimName: distbench-results
    Worker:
      replicas: {workers}
      restartPolicy: Never
      template:
{pod}          containers:
            - name: worker
              image: "{image}"
              workingDir: /results
              command: ["/usr/sbin/sshd", "-De", "-f", "/home/distbench/sshd_config"]
              resources:
                limits: {limits}
              volumeMounts:
                - name: results
                  mountPath: /results
                - name: shared-memory
                  mountPath: /dev/shm
          volumes:
            - name: results
              persistentVolumeClaim:
                claimName: distbench-results
            - name: shared-memory  # NCCL and Open MPI need more than a container's 64 MiB
              emptyDir:
                medium: Memory
"""
