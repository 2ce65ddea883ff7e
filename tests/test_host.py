from __future__ import annotations

import re
from types import SimpleNamespace

from distbench.worker import host


def test_only_allowed_variables_are_kept() -> None:
    kept = {
        "HOROVOD_CYCLE_TIME": "1",
        "NCCL_DEBUG": "INFO",
        "CUDA_VISIBLE_DEVICES": "0",
        "OMPI_MCA_btl": "tcp",
        "OMPI_MCA_pml_ob1_priority": "1",
        "SLURM_NTASKS": "8",
    }
    dropped = {
        "HOME": "/home/somebody",
        "AWS_SESSION_TOKEN": "t",
        "HOROVOD_SECRET_KEY": "s",
        "NCCL_API_TOKEN": "t",
        "OMPI_MCA_initial_wdir": "/home/somebody",
        "SLURM_JWT": "t",
        "CUDA_HOME": "/opt/site/cuda",
        "TF_CLI_CONFIG_FILE": "/home/somebody/.rc",
    }
    assert host.environment({**kept, **dropped}) == kept


def test_of_a_path_only_the_last_part_is_kept() -> None:
    environ = {"HOROVOD_TIMELINE": "/home/somebody/timeline.json"}
    assert host.environment(environ) == {"HOROVOD_TIMELINE": "…/timeline.json"}


def test_versions_name_python_and_this_package() -> None:
    found = host.versions()
    assert re.fullmatch(r"3\.\d+\.\d+", found["python"])
    assert found["distbench"]


def test_machine_is_described() -> None:
    found = host.machine()
    assert len(found["cores_allowed"]) >= 1
    assert found["memory_bytes"] > 2**20
    assert found["cpu"]


def test_build_flags_come_from_the_library() -> None:
    def answer(value: object) -> object:
        return lambda: value

    names = ("mpi", "gloo", "nccl", "cuda", "rocm", "ddl", "ccl")
    hvd = SimpleNamespace(**{f"{name}_built": answer(False) for name in names})
    hvd.nccl_built = answer(22105)
    hvd.mpi_enabled = answer(True)
    found = host.horovod_build(hvd)
    assert found["nccl_built"] == 22105
    assert found["mpi_enabled"] is True
    assert found["cuda_built"] is False


def test_no_mpi_is_imported_under_gloo() -> None:
    assert host.mpi_library("gloo") is None


def test_git_commit_is_a_commit_or_nothing() -> None:
    commit = host.git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)


def test_boot_id_is_stable() -> None:
    assert host.boot_id() == host.boot_id()
