from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.config import Config
from distbench.errors import CorrectnessError
from distbench.knobs import KNOBS
from distbench.winograd_layers import suited_layers
from distbench.worker.graph_facts import GraphFacts
from distbench.worker.knobs_in_use import Setting, check_in_use, settings_in_use

tf = pytest.importorskip("tensorflow")

HVD = SimpleNamespace(Average=0, Sum=1, Adasum=2, size=lambda: 2)
STEP = GraphFacts(
    product_types=frozenset({"bfloat16"}),
    layouts=frozenset({"NHWC"}),
    stacked_products=0,
    loss_scales=frozenset(),
    wire_types=frozenset({"float16"}),
    reduce_operations=frozenset({0}),
    single_allreduces=0,
    grouped_tensors=(16, 16),
    is_compiled_whole=False,
    is_compiled_in_part=True,
    is_fed=True,
)
ASKED = Config(
    precision="bfloat16", compression="fp16", grouped_allreduce=2, xla="compute", input="host"
)


SERVED = suited_layers(ASKED.network(), ASKED.batch_size)


def read(config: Config, *facts: GraphFacts, **environ: str) -> dict[str, Setting]:
    found = settings_in_use(config, facts, HVD, "gpu" in environ, environ)
    return {setting.name: setting for setting in found}


def test_what_a_graph_holds_is_what_is_in_use() -> None:
    found = read(ASKED, STEP)
    assert {*found, "loss_scale"} == set(KNOBS)
    in_use = {name: setting.in_use for name, setting in found.items()}
    assert in_use["precision"] == "bfloat16"
    assert in_use["compression"] == "fp16"
    assert (in_use["grouped_allreduce"], in_use["reduction"]) == ("2", "average")
    assert (in_use["xla"], in_use["input"], in_use["layout"]) == ("compute", "host", "NHWC")
    check_in_use(found.values())


@pytest.mark.parametrize(
    ("config", "change", "told"),
    [
        (ASKED, {"product_types": frozenset({"float32"})}, "precision is bfloat16, but float32"),
        (ASKED, {"product_types": frozenset({"float32", "bfloat16"})}, "bfloat16 and float32"),
        (ASKED, {"wire_types": frozenset({"float32"})}, "compression is fp16, but none"),
        (ASKED, {"grouped_tensors": ()}, "grouped_allreduce is 2, but 0"),
        (ASKED, {"reduce_operations": frozenset({2})}, "reduction is average, but adasum"),
        (ASKED, {"reduce_operations": frozenset({1})}, "is average, but scaled_sum"),
        (ASKED, {"reduce_operations": frozenset({3})}, "but Horovod's 3 is in use"),
        (ASKED, {"is_compiled_in_part": False}, "xla is compute, but off"),
        (ASKED, {"is_compiled_whole": True}, "xla is compute, but all"),
        (ASKED, {"is_fed": False}, "input is host, but device"),
        (ASKED, {"stacked_products": 3}, "convolution is library, but winograd"),
        (
            dataclasses.replace(ASKED, convolution="winograd"),
            {},
            "convolution is winograd, but library",
        ),
        (
            dataclasses.replace(ASKED, convolution="winograd"),
            {"stacked_products": 3 * len(SERVED) - 1},
            "convolution is winograd, but winograd in part",
        ),
        (ASKED, {"layouts": frozenset({"NCHW"})}, "layout is NHWC, but NCHW"),
        (
            Config(precision="float16", loss_scale=8),
            {"product_types": frozenset({"float16"}), "loss_scales": frozenset({4.0})},
            "loss_scale is 8, but 4",
        ),
    ],
)
def test_something_else_in_use_than_was_asked_for_is_an_error(
    config: Config, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(CorrectnessError, match=told):
        check_in_use(read(config, STEP._replace(**change)).values())


def test_what_no_graph_holds_is_not_known_and_no_error() -> None:
    alone = STEP._replace(wire_types=frozenset(), grouped_tensors=(), reduce_operations=frozenset())
    found = read(ASKED, alone)
    assert found["compression"].in_use is None
    assert "no graph of this rank" in found["compression"].how
    assert found["xla"].in_use == "compute"
    check_in_use(found.values())
    assert read(Config())["precision"].in_use is None


def test_what_horovod_does_not_tell_is_said_to_be_unreadable() -> None:
    found = read(Config(cycle_time_ms=2), STEP, HOROVOD_CYCLE_TIME="2")
    cycle, fusion = found["cycle_time_ms"], found["fusion_threshold_mb"]
    assert cycle == (
        "cycle_time_ms",
        "2",
        None,
        "requested, not readable; HOROVOD_CYCLE_TIME=2",
    )
    assert (fusion.requested, fusion.in_use) == ("default", None)
    assert fusion.how.endswith("HOROVOD_FUSION_THRESHOLD is not set")


def test_tf32_is_read_on_gpus_only() -> None:
    assert read(Config())["tf32"].in_use is None
    assert read(Config(), gpu="yes")["tf32"].in_use == "on"  # TensorFlow's own choice
    off = read(Config(tf32="on"), gpu="yes", NVIDIA_TF32_OVERRIDE="0")
    with pytest.raises(CorrectnessError, match="tf32 is on, but off is in use"):
        check_in_use(off.values())


def test_threads_are_those_of_tensorflow() -> None:
    count = tf.config.threading.get_inter_op_parallelism_threads()
    assert read(Config())["inter_op_threads"].in_use == str(count)
    with pytest.raises(CorrectnessError, match="inter_op_threads is 7, but"):
        check_in_use(read(Config(inter_op_threads=7)).values())


@pytest.mark.parametrize("graphs", [1, 3])
def test_winograd_in_every_layer_that_it_serves_is_in_use(graphs: int) -> None:
    config = dataclasses.replace(ASKED, convolution="winograd")
    facts = STEP._replace(stacked_products=graphs * len(SERVED))
    assert read(config, facts)["convolution"].in_use == "winograd"
