"""The recipes under launch/, without building anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from distbench.job_scripts import Job, job_script
from distbench.launchers import Launch, launch_argv
from tests.test_job_scripts import DNS_LABEL, RECORDED, parse_yaml, unknown_fields

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
BATCH_FILES = [*sorted(LAUNCH.glob("*/*.sbatch")), *sorted(LAUNCH.glob("*/*.lsf"))]
RECORDED_BATCH_FILES = [*sorted(RECORDED.glob("*.sbatch")), *sorted(RECORDED.glob("*.lsf"))]
STAND_IN = LAUNCH / "container" / "stand-in" / "nvidia-smi"
SCRIPTS = [
    *sorted(LAUNCH.glob("*.sh")),
    ROOT / ".ci" / "run",
    *BATCH_FILES,
    *RECORDED_BATCH_FILES,
    STAND_IN,
]
DOCKERFILES = sorted(LAUNCH.glob("container/*.Dockerfile"))
YAML_FILES = sorted(LAUNCH.glob("kubernetes/*.yaml"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_and_quoted(script: Path) -> None:
    shell = "sh" if script.read_text().startswith("#!/bin/sh\n") else "bash"
    subprocess.run([shell, "-n", str(script)], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", "-x", str(script)], check=True, cwd=ROOT)


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "launch" / script), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_setup_refuses_what_it_does_not_know() -> None:
    ended = run("setup.sh", "--fast")
    assert ended.returncode == 8
    assert "unknown argument --fast" in ended.stderr


def test_setup_names_a_missing_python(tmp_path: Path) -> None:
    tools = ("bash", "dirname", "env", "sha256sum", "cat")
    for tool in tools:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    ended = run("setup.sh", PATH=str(tmp_path))
    assert ended.returncode == 8
    assert "no Python 3.11 was found; install it" in ended.stderr


def test_setup_checks_the_environment_that_it_is_told_to_use(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    ended = run("setup.sh", "--use-current-env", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert ended.returncode == 8
    assert "this environment cannot run distbench" in ended.stderr


@pytest.mark.parametrize("ranks", ["0", "two", "-1", "1;id"])
def test_local_wants_a_number_of_ranks(ranks: str) -> None:
    ended = run("local.sh", "-np", ranks)
    assert ended.returncode == 2
    assert f"-np is '{ranks}'; it must be a whole number" in ended.stderr


def function_of_setup(name: str, *arguments: str, log: Path) -> str:
    """Runs one function of setup.sh alone."""
    text = (ROOT / "launch" / "setup.sh").read_text()
    without_main = re.sub(r"^main .*$", "", text, flags=re.MULTILINE)
    script = f"{without_main}\n{name} {' '.join(arguments)} {log}\n"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    return ended.stderr


def test_a_failed_build_shows_the_compilers_error_and_not_the_whole_log(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    noise = [f"[ 10%] Building CXX object number {index}" for index in range(4000)]
    noise[2000] = "/src/xla_mpi_ops.cc:41:10: fatal error: xla/client.h: No such file or directory"
    log.write_text("\n".join(noise))
    shown = function_of_setup("explain_failed_build", log=log)
    assert "2001:/src/xla_mpi_ops.cc:41:10: fatal error: xla/client.h" in shown
    assert str(log) in shown
    assert len(shown.splitlines()) < 40


def test_a_failed_build_without_a_known_error_shows_the_end(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("\n".join(f"line {index}" for index in range(4000)))
    shown = function_of_setup("explain_failed_build", log=log)
    assert "line 3999" in shown
    assert len(shown.splitlines()) < 40


def test_ci_calls_the_test_command() -> None:
    assert "launch/test.sh" in (ROOT / ".ci" / "run").read_text()


def test_the_pair_of_versions_is_the_same_everywhere() -> None:
    constraints = (ROOT / "launch" / "constraints.txt").read_text().splitlines()
    setup = (ROOT / "launch" / "setup.sh").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    assert {"tensorflow-cpu==2.18.1", "tensorflow_cpu==2.18.1"} & set(constraints)
    assert "horovod==0.28.1" in constraints
    assert "TENSORFLOW_VERSION=2.18.1 HOROVOD_VERSION=0.28.1" in setup
    assert project.count("horovod==0.28.1") == 2


def test_the_recipes_are_all_here() -> None:
    """What the globs above found: an empty list would test nothing."""
    names = [path.name for path in (*BATCH_FILES, *DOCKERFILES, *YAML_FILES)]
    assert names == [
        *["horovodrun.sbatch", "srun.sbatch", "jsrun.lsf"],
        *["cpu.Dockerfile", "gpu.Dockerfile", "mpijob.yaml"],
    ]
    assert len(RECORDED_BATCH_FILES) == 4


def test_every_recipe_says_what_was_run() -> None:
    recipes = [LAUNCH / "local.sh", *BATCH_FILES, *DOCKERFILES, *YAML_FILES]
    for path in recipes:
        comments = " ".join(
            line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#")
        )
        assert "Run for real: " in comments, path.name
        assert "Not run: " in comments, path.name
        assert f"({path.relative_to(LAUNCH)})" in (LAUNCH / "README.md").read_text()
        assert len(path.read_text().splitlines()) <= 100, f"{path.name} is not short"


def test_the_links_of_the_recipes_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (LAUNCH / "README.md").read_text())
    assert targets
    assert all((LAUNCH / target).exists() for target in targets)


# --- batch files -----------------------------------------------------------------------------------

FLAGS = ["--output", ";$(touch x)\n'\" *", ""]


def run_batch_file(script: Path, folder: Path, **variables: str) -> list[str]:
    """Runs a batch file with stand-ins for what it calls; returns the launcher's argument list."""
    programs, submitted_from = folder / "bin", folder / "a folder"
    programs.mkdir()
    (submitted_from / "launch").mkdir(parents=True)
    (submitted_from / "launch" / "environment.sh").write_text("enter_environment() { :; }\n")
    for name in ("srun", "jsrun", "horovodrun"):
        (programs / name).write_text(
            f"#!/bin/bash\nprintf '%s\\0' {name} \"$@\" >'{folder}/argv'\n"
        )
    (programs / "scontrol").write_text(
        '#!/bin/bash\n[[ "$*" == "show hostnames node-[1-2]" ]] && printf "node-1\\nnode-2\\n"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", **variables}
    for name in ("SLURM_SUBMIT_DIR", "LS_SUBCWD"):
        environment[name] = str(submitted_from)
    subprocess.run(
        ["/bin/bash", str(script), *FLAGS], cwd=folder, env=environment, check=True, timeout=60
    )
    assert [path.name for path in submitted_from.iterdir()] == ["launch"]
    return (folder / "argv").read_text().split("\0")[:-1]


ALLOCATION = {
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_JOB_NODELIST": "node-[1-2]",
}
COMMAND = ["python", "-m", "distbench", *FLAGS]


def test_the_srun_recipe_starts_what_distbench_would(tmp_path: Path) -> None:
    found = run_batch_file(LAUNCH / "slurm" / "srun.sbatch", tmp_path, **ALLOCATION)
    of_study = launch_argv(Launch("srun", 8, arguments=("--cpus-per-task=8",)), COMMAND)
    # The recipe leaves the number of ranks to the directives.
    assert sorted(found) == sorted(word for word in of_study if word != "--ntasks=8")
    assert (found[0], found[-len(COMMAND) :]) == ("srun", COMMAND)


def test_the_horovodrun_recipe_names_the_nodes_of_its_allocation(tmp_path: Path) -> None:
    found = run_batch_file(LAUNCH / "slurm" / "horovodrun.sbatch", tmp_path, **ALLOCATION)
    hosts = "node-1:4,node-2:4"
    assert found == ["horovodrun", "--gloo", "-np", "8", "-H", hosts, *COMMAND]


def test_the_jsrun_recipe_starts_what_distbench_would(tmp_path: Path) -> None:
    found = run_batch_file(LAUNCH / "lsf" / "jsrun.lsf", tmp_path)
    sets = ("--rs_per_host=6", "--gpu_per_rs=1", "--cpu_per_rs=7")
    assert sorted(found) == sorted(launch_argv(Launch("jsrun", 12, arguments=sets), COMMAND))
    assert (found[0], found[-len(COMMAND) :]) == ("jsrun", COMMAND)


@pytest.mark.parametrize("script", BATCH_FILES, ids=lambda path: path.name)
def test_directives_stand_before_the_first_command(script: Path) -> None:
    """sbatch reads none behind it."""
    lines = script.read_text().splitlines()
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    directives = [n for n, line in enumerate(lines) if re.match(r"#(SBATCH|BSUB) -", line)]
    assert len(directives) >= 4
    assert max(directives) < min(commands)


def test_a_batch_file_that_was_not_submitted_says_so() -> None:
    for script in BATCH_FILES:
        ended = subprocess.run(
            ["/bin/bash", str(script)],
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode != 0
        assert "submit this file with " in ended.stderr


# --- Kubernetes ------------------------------------------------------------------------------------


def test_the_mpijob_has_the_fields_of_its_schema_and_no_others() -> None:
    for path in YAML_FILES:
        assert unknown_fields(parse_yaml(path.read_text())) == []


def test_the_mpijob_is_the_one_that_distbench_would_write() -> None:
    document = parse_yaml((LAUNCH / "kubernetes" / "mpijob.yaml").read_text())
    command = ("python", "-m", "distbench")
    job = Job("distbench", 8, 4, command, {}, time_limit_s=3600, cpus_per_rank=8)
    assert document == parse_yaml(job_script("k8s", job))


def names_in(value: Any) -> list[str]:
    """The value of every `name` and `claimName`."""
    if isinstance(value, list):
        return [name for part in value for name in names_in(part)]
    if not isinstance(value, dict):
        return []
    own = [part for key, part in value.items() if key in ("name", "claimName")]
    return own + [name for part in value.values() for name in names_in(part)]


def test_names_in_the_mpijob_are_dns_labels() -> None:
    names = names_in(parse_yaml((LAUNCH / "kubernetes" / "mpijob.yaml").read_text()))
    assert {"distbench", "launcher", "worker", "results", "distbench-results"} <= set(names)
    assert all(DNS_LABEL.fullmatch(name) for name in names)


# --- containers ------------------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    split = [line.partition(" ") for line in lines if line.strip()]
    return [(name, arguments.strip()) for name, _, arguments in split]


def arguments_of(path: Path, instruction: str) -> list[str]:
    return [arguments for name, arguments in instructions(path) if name == instruction]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_built_on_a_tag_that_says_what_it_is(path: Path) -> None:
    (base,) = arguments_of(path, "FROM")
    defaults = dict(argument.split("=", 1) for argument in arguments_of(path, "ARG"))
    image = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], base)
    assert re.fullmatch(r"(python:3\.11-slim|nvidia/cuda:12\.\d\.\d-devel)-\w+", image)
    assert "latest" not in path.read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_do_not_run_as_root(path: Path) -> None:
    names = [name for name, _ in instructions(path)]
    assert arguments_of(path, "USER") == ["distbench"]
    setup = [arguments.endswith("launch/setup.sh") for _, arguments in instructions(path)]
    assert setup.count(True) == 1
    assert names.index("USER") < setup.index(True)
    assert "sudo" not in path.read_text()
    assert "chmod 777" not in path.read_text()
    assert "useradd --create-home --uid 1000 distbench" in path.read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_in_the_checkout(path: Path) -> None:
    copied = set()
    for arguments in arguments_of(path, "COPY"):
        *sources, _ = [word for word in arguments.split() if not word.startswith("--")]
        copied |= set(sources)
    assert all((ROOT / source).exists() for source in copied)
    # What setup.sh and an installation of distbench read.
    assert {"pyproject.toml", "setup.py", "README.md", "distbench/", "launch/"} <= copied


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_runs_is_a_shells_language(path: Path) -> None:
    for arguments in arguments_of(path, "RUN"):
        command = re.sub(r"^(--\S+\s+)+", "", arguments)
        subprocess.run(["sh", "-n", "-c", command], check=True)


def test_the_mpijob_and_the_images_agree() -> None:
    spec = parse_yaml((LAUNCH / "kubernetes" / "mpijob.yaml").read_text())["spec"]
    pod = spec["mpiReplicaSpecs"]["Worker"]["template"]["spec"]
    folder, _, file = pod["containers"][0]["command"][-1].rpartition("/")
    sshd = (LAUNCH / "container" / file).read_text()
    assert f"HostKey {spec['sshAuthMountPath']}/id_rsa\n" in sshd
    assert pod["securityContext"]["runAsUser"] == 1000
    ports = {
        re.findall(r"^\s*Port (\d+)$", (LAUNCH / "container" / name).read_text(), re.MULTILINE)[0]
        for name in ("sshd_config", "ssh_config")
    }
    assert ports == {"2222"}
    for path in DOCKERFILES:
        copies = arguments_of(path, "COPY")
        assert f"--chown=distbench:distbench launch/container/{file} {folder}/" in copies
        assert "SetEnv PATH=/opt/distbench/.venv/bin:" in sshd
        assert "PATH=/opt/distbench/.venv/bin:$PATH" in arguments_of(path, "ENV")
        assert "/opt/distbench" in arguments_of(path, "WORKDIR")


@pytest.mark.parametrize(
    ("capabilities", "list_for_horovod"), [("9.0", "90"), ("9.0,8.0,9.0", "80,90")]
)
def test_an_image_build_without_a_gpu_builds_for_the_gpus_it_is_told(
    capabilities: str, list_for_horovod: str, tmp_path: Path
) -> None:
    (tmp_path / "nvcc").write_text("#!/bin/sh\n")
    (tmp_path / "nvcc").chmod(0o755)
    text = re.sub(r"^main .*$", "", (LAUNCH / "setup.sh").read_text(), flags=re.MULTILINE)
    ended = subprocess.run(
        ["bash", "-c", f"{text}\nfind_flavour; compute_capabilities"],
        env={
            "PATH": f"{STAND_IN.parent}:{tmp_path}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "COMPUTE_CAPABILITIES": capabilities,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["gpu", list_for_horovod]
    (dockerfile,) = [path for path in DOCKERFILES if path.name.startswith("gpu")]
    (setup,) = [run for run in arguments_of(dockerfile, "RUN") if "setup.sh" in run]
    assert 'PATH="/opt/distbench/launch/container/stand-in:$PATH"' in setup
