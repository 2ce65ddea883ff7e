"""The text of batch jobs: against whole recorded files, and really run with stand-ins.

To record the files anew after a change that was meant, then to look at what changed:

    RECORD=1 python -m pytest tests/test_job_scripts.py; git diff tests/recorded
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from distbench.errors import UsageError
from distbench.job_scripts import FILE_SUFFIXES, JOB_KINDS, Job, job_script

RECORDED = Path(__file__).parent / "recorded"
HOSTILE = ";$(touch x)\n'\"`touch x`\\ $(HOME) $$ ${HOME} \t é € #BSUB"
INJECTED = "a\n#SBATCH --account=evil\n#BSUB -q evil\n---\nkind: Pod\n"
TWO_NODES = Job(
    name="D-b32.n8",
    ranks=8,
    ranks_per_node=4,
    command=("python", "-m", "distbench", "run", "--config", "D", "--output", "cells/D b32"),
    environment={"NCCL_DEBUG": "INFO", "HOROVOD_CYCLE_TIME": "1"},
    time_limit_s=1801,
    cpus_per_rank=8,
)
ONE_CPU_NODE = Job(
    name="quick",
    ranks=2,
    ranks_per_node=4,
    command=("python", "-m", "distbench", "--preset", "quick"),
    environment={},
    time_limit_s=60,
    gpus_per_rank=0,
)
JOBS = {"two-nodes": TWO_NODES, "one-cpu-node": ONE_CPU_NODE}


def changed(job: Job = TWO_NODES, **values: Any) -> Job:
    return dataclasses.replace(job, **values)


@pytest.mark.parametrize("kind", JOB_KINDS)
@pytest.mark.parametrize("name", JOBS)
def test_the_whole_file_is_the_recorded_one(name: str, kind: str) -> None:
    text, path = job_script(kind, JOBS[name]), RECORDED / f"{name}{FILE_SUFFIXES[kind]}"
    if os.environ.get("RECORD") == "1":
        path.write_text(text)
        pytest.skip(f"recorded {path.name} anew")
    recorded = path.read_text() if path.exists() else ""
    lines = (recorded.splitlines(), text.splitlines())
    assert text == recorded, "\n".join(difflib.unified_diff(*lines, "recorded", "now", lineterm=""))


def test_every_recorded_file_has_its_test() -> None:
    expected = {f"{name}{suffix}" for name in JOBS for suffix in FILE_SUFFIXES.values()}
    assert {path.name for path in RECORDED.iterdir()} == expected


# --- shell -----------------------------------------------------------------------------------------

LAUNCHER_OF = {"slurm": "srun", "lsf": "jsrun"}


def run_with_stand_in(kind: str, job: Job, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Runs the file with a stand-in for its launcher; returns the stand-in's arguments and variables."""
    programs, work = folder / "bin", folder / "work"
    programs.mkdir()
    work.mkdir()
    stand_in = programs / LAUNCHER_OF[kind]
    stand_in.write_text(
        f"#!/bin/bash\nprintf '%s\\0' \"$@\" >'{folder}/arguments'\nenv -0 >'{folder}/variables'\n"
    )
    stand_in.chmod(0o755)
    script = folder / f"job{FILE_SUFFIXES[kind]}"
    script.write_text(job_script(kind, job))
    subprocess.run(
        ["/bin/bash", str(script)],
        cwd=work,
        env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": "/home/nobody"},
        check=True,
        timeout=60,
    )
    assert not list(work.iterdir()), "a string of the user's was run"
    arguments = (folder / "arguments").read_text().split("\0")[:-1]
    variables = (folder / "variables").read_text().split("\0")[:-1]
    return arguments, dict(variable.split("=", 1) for variable in variables)


@pytest.mark.parametrize("kind", LAUNCHER_OF)
@pytest.mark.parametrize("text", [HOSTILE, INJECTED, "", " ", "*", "~", "-n", "!!", "a=b"])
def test_strings_reach_the_launcher_as_they_are(kind: str, text: str, tmp_path: Path) -> None:
    job = changed(command=("python", text, "--output", text), environment={"NAME": text, "_B": "1"})
    arguments, variables = run_with_stand_in(kind, job, tmp_path)
    assert arguments[-4:] == ["python", text, "--output", text]
    assert (variables["NAME"], variables["_B"]) == (text, "1")


@pytest.mark.parametrize("kind", LAUNCHER_OF)
def test_no_string_becomes_a_directive(kind: str) -> None:
    """bsub reads #BSUB wherever a line begins with it, sbatch up to the first command."""

    def directives(job: Job) -> list[str]:
        lines = job_script(kind, job).splitlines()
        return [line for line in lines if line.startswith(("#SBATCH", "#BSUB"))]

    job = changed(command=("python", INJECTED), environment={"NAME": INJECTED})
    assert directives(job) == directives(TWO_NODES)


def test_what_srun_is_told(tmp_path: Path) -> None:
    arguments, _ = run_with_stand_in("slurm", TWO_NODES, tmp_path)
    assert arguments == [
        "--mpi=pmix",
        "--kill-on-bad-exit=1",
        "--export=ALL",
        "--ntasks=8",
        "--distribution=block",
        "--cpus-per-task=8",
        *TWO_NODES.command,
    ]


def test_what_jsrun_is_told(tmp_path: Path) -> None:
    arguments, _ = run_with_stand_in("lsf", ONE_CPU_NODE, tmp_path)
    assert arguments == [
        "--nrs=2",
        "--tasks_per_rs=1",
        "--launch_distribution=packed",
        "--bind=none",
        "--exit_on_error=1",
        "--rs_per_host=2",
        "--gpu_per_rs=0",
        *ONE_CPU_NODE.command,
    ]


@pytest.mark.parametrize(
    ("time_limit_s", "minutes"), [(1, 1), (60, 1), (61, 2), (3600, 60), (3601, 61)]
)
def test_the_time_limit_is_rounded_up(time_limit_s: int, minutes: int) -> None:
    job = changed(time_limit_s=time_limit_s)
    assert f"#SBATCH --time={minutes}\n" in job_script("slurm", job)
    assert f"#BSUB -W {minutes}\n" in job_script("lsf", job)
    assert parsed(job)["spec"]["runPolicy"]["activeDeadlineSeconds"] == 60 * minutes


@pytest.mark.parametrize(
    ("ranks", "ranks_per_node", "gpus_per_rank", "nodes", "gpus_per_node"),
    [(8, 4, 1, 2, 4), (2, 4, 1, 1, 2), (4, 4, 2, 1, 8), (3, 1, 1, 3, 1), (4, 4, 0, 1, 0)],
)
def test_nodes_and_gpus(
    ranks: int, ranks_per_node: int, gpus_per_rank: int, nodes: int, gpus_per_node: int
) -> None:
    job = changed(ranks=ranks, ranks_per_node=ranks_per_node, gpus_per_rank=gpus_per_rank)
    script = job_script("slurm", job)
    assert f"#SBATCH --nodes={nodes}\n" in script
    assert re.findall("--gpus-per-node=(.*)", script) == [str(gpus_per_node)] * bool(gpus_per_node)
    assert f"#BSUB -nnodes {nodes}\n" in job_script("lsf", job)
    assert f" --gpu_per_rs={gpus_per_rank} " in job_script("lsf", job)
    worker = parsed(job)["spec"]["mpiReplicaSpecs"]["Worker"]
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (worker["replicas"], limits.get("nvidia.com/gpu", 0)) == (nodes, gpus_per_node)


# --- Kubernetes ------------------------------------------------------------------------------------


def fields(names: str, **parts: Any) -> dict[str, Any]:
    """Fields that hold any value, and those that hold `parts`."""
    return {**dict.fromkeys(names.split()), **parts}


_CONTAINER = fields(
    "args command envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe "
    "resizePolicy restartPolicy securityContext startupProbe stdin stdinOnce "
    "terminationMessagePath terminationMessagePolicy tty volumeDevices workingDir",
    env=fields("name value valueFrom"),
    resources=fields("claims limits requests"),
    volumeMounts=fields("mountPath mountPropagation name readOnly subPath subPathExpr"),
)
_POD_SPEC = fields(
    "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy "
    "enableServiceLinks hostAliases hostIPC hostNetwork hostPID hostUsers hostname "
    "imagePullSecrets nodeName nodeSelector os overhead preemptionPolicy priority "
    "priorityClassName readinessGates resourceClaims restartPolicy runtimeClassName "
    "schedulerName schedulingGates serviceAccountName setHostnameAsFQDN shareProcessNamespace "
    "subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints",
    containers=_CONTAINER,
    initContainers=_CONTAINER,
    securityContext=fields(
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser "
        "seLinuxOptions seccompProfile supplementalGroups sysctls windowsOptions"
    ),
    volumes=fields(
        "name configMap csi secret",
        emptyDir=fields("medium sizeLimit"),
        hostPath=fields("path type"),
        nfs=fields("path readOnly server"),
        persistentVolumeClaim=fields("claimName readOnly"),
    ),
)
_METADATA = fields("annotations finalizers labels name namespace")
_REPLICAS = fields(
    "replicas restartPolicy", template=fields("", metadata=_METADATA, spec=_POD_SPEC)
)
# The fields of MPIJob in kubeflow.org/v2beta1, and of a pod's parts in v1 as far as files use them.
MPIJOB = fields(
    "apiVersion kind",
    metadata=_METADATA,
    spec=fields(
        "launcherCreationPolicy mpiImplementation runLauncherAsWorker slotsPerWorker "
        "sshAuthMountPath",
        mpiReplicaSpecs=fields("", Launcher=_REPLICAS, Worker=_REPLICAS),
        runPolicy=fields(
            "activeDeadlineSeconds backoffLimit cleanPodPolicy managedBy suspend "
            "ttlSecondsAfterFinished",
            schedulingPolicy=fields(
                "minAvailable minResources priorityClass queue scheduleTimeoutSeconds"
            ),
        ),
    ),
)
DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def unknown_fields(value: Any, known: Any = MPIJOB, path: str = "") -> list[str]:
    """The fields of an MPIJob that its schema does not have."""
    if known is None:  # any value, or a part that no file here looks into
        return []
    if isinstance(value, list):
        return [found for part in value for found in unknown_fields(part, known, f"{path}[]")]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} instead of fields"]
    unknown = [f"{path}.{name}" for name in value if name not in known]
    inner = [
        found
        for name, part in value.items()
        if name in known
        for found in unknown_fields(part, known[name], f"{path}.{name}")
    ]
    return unknown + inner


def parse_yaml(text: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load(text)


def parsed(job: Job) -> Any:
    return parse_yaml(job_script("k8s", job))


def launcher_container(document: Any) -> Any:
    pod = document["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]
    return pod["containers"][0]


def as_kubernetes_hands_it_on(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a word of `command` or of a value: $$ is $, $(NAME) the variable."""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replaced, text)


def test_the_schema_finds_what_it_does_not_know() -> None:
    document = parsed(TWO_NODES)
    assert unknown_fields(document) == []
    document["spec"]["waitForWorkers"] = True
    launcher_container(document)["volumeMount"] = []
    launcher_container(document)["env"] = [{"nam": "A"}]
    assert unknown_fields(document) == [
        ".spec.waitForWorkers",
        ".spec.mpiReplicaSpecs.Launcher.template.spec.containers[].volumeMount",
        ".spec.mpiReplicaSpecs.Launcher.template.spec.containers[].env[].nam",
    ]


def test_the_mpijob() -> None:
    document = parsed(TWO_NODES)
    spec = document["spec"]
    assert (document["apiVersion"], document["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    assert (spec["slotsPerWorker"], spec["mpiReplicaSpecs"]["Worker"]["replicas"]) == (4, 2)
    for replica in spec["mpiReplicaSpecs"].values():
        annotations = replica["template"]["metadata"]["annotations"]
        assert annotations == {"sidecar.istio.io/inject": "false"}
        pod = replica["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    launcher = launcher_container(document)
    assert launcher["command"] == [
        *["mpirun", "-np", "8", "--map-by", "slot", "--bind-to", "none"],
        *["-x", "PATH", "-x", "HOROVOD_CYCLE_TIME", "-x", "NCCL_DEBUG"],
        *TWO_NODES.command,
    ]
    assert launcher["env"] == [
        {"name": "HOROVOD_CYCLE_TIME", "value": "1"},
        {"name": "NCCL_DEBUG", "value": "INFO"},
    ]


@pytest.mark.parametrize("text", [HOSTILE, INJECTED, "", "yes", "1e3", "null", "$", "$$(A)", "𝜋"])
def test_strings_reach_the_pods_as_they_are(text: str) -> None:
    document = parsed(changed(command=("python", text), environment={"A": text}))
    assert unknown_fields(document) == []
    launcher = launcher_container(document)
    variables = {"HOME": "/wrong", "A": "wrong"}
    command = [as_kubernetes_hands_it_on(word, variables) for word in launcher["command"]]
    assert command[-2:] == ["python", text]
    assert as_kubernetes_hands_it_on(launcher["env"][0]["value"], variables) == text


@pytest.mark.parametrize(
    ("name", "pod_name"),
    [
        ("d-b32-n8", "d-b32-n8"),
        ("D-b32.n8", "d-b32-n8-7eaf8252"),
        ("8-gpus", "job-8-gpus-09fec509"),
        ("...", "job-1a43b61b"),
        ("x" * 64, "x" * 39 + "-3ad2ac12"),
        ("true", "true"),
    ],
)
def test_names_are_dns_labels(name: str, pod_name: str) -> None:
    found = parsed(changed(name=name))["metadata"]["name"]
    assert found == pod_name
    assert DNS_LABEL.fullmatch(f"{found}-worker-1023")


def test_names_that_look_alike_stay_apart() -> None:
    names = ["a-b", "a.b", "a_b", "A-b", "a--b"]
    assert len({parsed(changed(name=name))["metadata"]["name"] for name in names}) == len(names)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", JOB_KINDS)
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": ""}, "the job's name is ''; it must be 1 to 64 ASCII letters"),
        ({"name": "x" * 65}, "it must be 1 to 64"),
        ({"name": "a b"}, "the job's name is 'a b'"),
        ({"name": "a\n#SBATCH"}, "the job's name is 'a\\n#SBATCH'"),
        ({"name": "ä"}, "the job's name is 'ä'"),
        ({"name": "../x"}, "the job's name is '../x'"),
        ({"ranks": 0}, "has 0 ranks; it must be 1 to"),
        ({"ranks_per_node": 0}, "has 0 ranks per node"),
        ({"ranks": 6}, "6 ranks at 4 per node, which do not fill the last one"),
        ({"time_limit_s": 0}, "has 0 seconds of time limit"),
        ({"gpus_per_rank": -1}, "has -1 GPUs per rank"),
        ({"cpus_per_rank": -1}, "has -1 CPUs per rank"),
        ({"command": ()}, "must begin with a program"),
        ({"command": ("--multi-prog", "x")}, "must begin with a program"),
        ({"command": ("python", ":", "-np", "1", "evil")}, "no launcher hands the argument ':' on"),
        ({"command": ("python", "\0")}, "which has characters that cannot be printed"),
        ({"command": ("python", "a\rb")}, "which has characters that cannot be printed"),
        ({"environment": {"A": "\x1b[2J"}}, "which has characters that cannot be printed"),
        ({"environment": {"A": "\udcff"}}, "which has characters that cannot be printed"),
        ({"environment": {"A=B": ""}}, "'A=B' is no name of a variable"),
        ({"environment": {"A;touch x": ""}}, "is no name of a variable"),
        ({"environment": {"": ""}}, "'' is no name of a variable"),
    ],
)
def test_wrong_values_are_refused(kind: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        job_script(kind, changed(**values))
    assert sentence in error.value.sentence


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="'pbs'; it must be one of slurm, lsf, k8s"):
        job_script("pbs", TWO_NODES)


def test_every_kind_has_its_suffix() -> None:
    assert FILE_SUFFIXES == {"slurm": ".sbatch", "lsf": ".lsf", "k8s": ".yaml"}
    assert set(JOB_KINDS) == set(FILE_SUFFIXES)
