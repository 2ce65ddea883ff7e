"""The parts that no other test runs; the whole is in test_session and test_end_to_end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distbench.errors import CorrectnessError
from distbench.groups import Group
from distbench.worker import proving
from distbench.worker.reduced_patterns import AdasumOfOrthogonal
from distbench.worker.reducing import Reduction
from tests.fakes import FakeWorld, on_every_rank, small_config
from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")

HVD = SimpleNamespace(Average=0, Sum=1, Adasum=2, nccl_built=lambda: 1, size=lambda: 1)


def a_session(world: FakeWorld, kind: str = "CPU", **settings: Any) -> Any:
    device = SimpleNamespace(kind=kind)
    return SimpleNamespace(world=world, hvd=HVD, config=small_config(**settings), device=device)


def test_what_is_in_use_is_read_back_from_the_phases_of_all_groups() -> None:
    _, _, phases = lone_phases(["forward"])
    built: Any = SimpleNamespace(phases={"world": phases, "alone": phases})
    found = proving.settings_of(a_session(FakeWorld(0, 1)), built)
    (precision,) = [one for one in found if one["name"] == "precision"]
    assert (precision["requested"], precision["in_use"]) == ("float32", "float32")

    def other(world: FakeWorld) -> Any:
        return proving.settings_of(a_session(world, precision="bfloat16"), built)

    errors = on_every_rank(2, other)
    assert [type(error) for error in errors] == [CorrectnessError] * 2
    assert "precision is bfloat16, but float32 is in use" in errors[0].sentence


def test_only_on_gpus_with_nccl_do_ranks_average_before_adasum() -> None:
    world = FakeWorld(0, 4)
    for kind, averaged in (("CPU", 1), ("GPU", world.local_size)):
        orthogonal = proving._patterns(a_session(world, kind, reduction="adasum"), 4)[0]
        assert isinstance(orthogonal, AdasumOfOrthogonal)
        assert orthogonal._ranks_averaged == averaged


def test_controls_without_communication_are_as_one_rank() -> None:
    world = FakeWorld(0, 2)
    world.process_sets = {(0, 1): "both"}
    assert proving.reduction_of(world, Group("world", (0, 1), "reducing")) == Reduction(2, "both")
    assert proving.reduction_of(world, Group("i", (0, 1), "independent")) == Reduction(1)
