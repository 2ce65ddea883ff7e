"""What is asked of Horovod, which is recorded here; that it reduces so is proven by real ranks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distbench.config import Config
from distbench.worker.reducing import BY_DEFAULT, Reducer, Reducing, Reduction, in_groups


class Recorder:
    Average, Adasum, Sum = "average", "adasum", "sum"
    Compression = SimpleNamespace(fp16="half")

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def allreduce(self, tensor: Any, **how: Any) -> Any:
        self.asked.append(how)
        return f"reduced {tensor}"

    def grouped_allreduce(self, tensors: Any, **how: Any) -> Any:
        self.asked.append({"count": len(tensors), **how})
        return [f"reduced {tensor}" for tensor in tensors]

    def DistributedGradientTape(self, tape: Any, **how: Any) -> Any:
        self.asked.append(how)
        return tape


OF_TWO = Reduction(2, "both")


def test_by_default_each_gradient_is_averaged_by_itself() -> None:
    hvd = Recorder()
    reducer = Reducer(hvd, Reducing.of(Config()))
    assert reducer.reduced(["a", "b"], "g", OF_TWO) == ["reduced a", "reduced b"]
    assert hvd.asked == [
        {"name": "g_0", "op": "average", "process_set": "both"},
        {"name": "g_1", "op": "average", "process_set": "both"},
    ]
    hvd.asked.clear()
    assert reducer.tape("tape", OF_TWO) == "tape"
    assert hvd.asked == [{"process_set": "both"}]  # Horovod's own defaults are left to it
    assert Reducing.of(Config()) == BY_DEFAULT


def test_a_scaled_sum_is_the_mean_of_what_it_was_scaled_to() -> None:
    hvd = Recorder()
    reducer = Reducer(hvd, Reducing.of(Config(reduction="scaled_sum")))
    reducer.reduced(["a"], "g", OF_TWO)
    reducer.tape("tape", OF_TWO)
    assert [how["op"] for how in hvd.asked] == ["sum", "sum"]
    assert reducer.scale(OF_TWO) == 0.5
    assert reducer.scale(Reduction(1)) == 1.0
    assert Reducer(hvd, BY_DEFAULT).scale(OF_TWO) == 1.0


def test_compression_groups_and_adasum_are_asked_for() -> None:
    hvd = Recorder()
    config = Config(compression="fp16", grouped_allreduce=2, reduction="adasum")
    reducer = Reducer(hvd, Reducing.of(config))
    assert reducer.reduced(["a", "b", "c"], "g", OF_TWO) == ["reduced a", "reduced b", "reduced c"]
    how = {"op": "adasum", "process_set": "both", "compression": "half"}
    assert hvd.asked == [
        {"count": 2, "name": "g_group_0", **how},
        {"count": 1, "name": "g_group_1", **how},
    ]
    hvd.asked.clear()
    reducer.tape("tape", OF_TWO)
    assert hvd.asked == [{**how, "groups": 2}]


@pytest.mark.parametrize(("count", "groups"), [(32, 1), (32, 3), (32, 32), (22, 4)])
def test_groups_are_those_of_horovods_tape(count: int, groups: int) -> None:
    util = pytest.importorskip("horovod.common.util")
    tensors = list(range(count))
    assert [list(group) for group in in_groups(tensors, groups)] == util.split_list(tensors, groups)
