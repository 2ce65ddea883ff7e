from __future__ import annotations

import pytest

from distbench.doctor.mpi_flavour import Mpi, are_kin, judge, recognised
from distbench.doctor.verdicts import OK, PROBLEM
from tests.test_packages import healthy, worst

SAYS = {
    "mpirun (Open MPI) 4.1.8\n\nReport bugs to x": Mpi("Open MPI", "4.1.8"),
    "prterun (Open MPI) 5.0.11": Mpi("Open MPI", "5.0.11"),
    "Open MPI v4.1.4, package: Debian": Mpi("Open MPI", "4.1.4"),
    "HYDRA build details:\n    Version:   5.0.2\n": Mpi("MPICH", "5.0.2"),
    "MPICH Version:      4.2.1": Mpi("MPICH", "4.2.1"),
    "Intel(R) MPI Library for Linux* OS, Version 2021.13": Mpi("Intel MPI", "2021.13"),
    "mpirun (IBM Spectrum MPI) 10.4.0": Mpi("IBM Spectrum MPI", "10.4.0"),
    "something else": Mpi("", ""),
}


@pytest.mark.parametrize(("text", "mpi"), SAYS.items())
def test_each_flavour_is_recognised_by_its_own_words(text: str, mpi: Mpi) -> None:
    assert recognised(text) == mpi


def mpirun(says: str = "mpirun (Open MPI) 4.1.8", horovodrun: str = "/x/horovodrun") -> dict:
    return {"mpirun": "/x/mpirun", "says": says, "horovodrun": horovodrun}


def said(launcher: dict, library: str, mpi4pys: str) -> list[str]:
    training = healthy(mpi_library=library)["training"]
    return worst(judge(launcher, training, {"mpi4py": "4.1", "mpi_library": mpi4pys}))


def test_one_mpi_everywhere_is_well() -> None:
    library = "Open MPI v4.1.8, package: x"
    assert said(mpirun(), library, library) == []
    training = healthy(mpi_library=library)["training"]
    verdicts = judge(mpirun(), training, {"mpi_library": library})
    assert [one.level for one in verdicts] == [OK] * 3


def test_another_flavour_of_mpirun_is_a_problem_for_both() -> None:
    library = "Open MPI v4.1.8"
    problems = said(mpirun("HYDRA build details: Version: 5.0.2 MPICH"), library, library)
    assert len(problems) == 2
    assert "Horovod is linked with Open MPI 4.1.8 and mpirun is of MPICH 5.0.2" in problems[0]
    assert all(one.startswith(PROBLEM) for one in problems)


def test_another_release_is_a_note_since_it_may_work() -> None:
    library = "Open MPI v4.0.3"
    assert [one.partition(":")[0] for one in said(mpirun(), library, library)] == ["note"] * 2


def test_horovod_and_mpi4py_on_two_libraries_is_a_problem() -> None:
    told = said(mpirun(), "Open MPI v4.1.8", "MPICH Version: 4.2.1")
    assert any("one process cannot hold both" in one for one in told)


def test_launchers_that_horovodrun_does_not_handle_are_noted() -> None:
    five = "Open MPI v5.0.11"
    assert "--binding-args" in said(mpirun("mpirun (Open MPI) 5.0.11"), five, five)[0]
    hydra = "HYDRA build details:\n Version: 5.0.2"
    assert (
        "names only HYDRA" in said(mpirun(hydra), "MPICH Version: 5.0.2", "MPICH Version: 5.0")[0]
    )


def test_what_is_not_on_the_path_is_noted() -> None:
    missing = {"mpirun": "", "says": "", "horovodrun": ""}
    told = said(missing, "Open MPI v4.1.8", "Open MPI v4.1.8")
    assert [one.partition(";")[0] for one in told] == [
        "note: Horovod is built with MPI, but no mpirun is on PATH",
        "note: horovodrun is not on PATH",
    ]
    no_mpi = healthy(horovod_build={"gloo_built": True})["training"]
    assert worst(judge({**missing, "horovodrun": "/x"}, no_mpi, {})) == []


def test_mpirun_that_says_nothing_is_noted() -> None:
    assert "does not say what MPI" in said(mpirun(""), "Open MPI v4.1.8", "Open MPI v4.1.8")[0]


def test_kin_share_a_launcher() -> None:
    assert are_kin(Mpi("MPICH", "4"), Mpi("Intel MPI", "2021"))
    assert are_kin(Mpi("", ""), Mpi("Intel MPI", "2021"))
    assert not are_kin(Mpi("MPICH", "4"), Mpi("Open MPI", "4"))
