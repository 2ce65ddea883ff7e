"""Read from real graphs; Horovod's own ops, which need Horovod to be loaded, among them."""

from __future__ import annotations

from typing import Any

import pytest

from distbench import vgg
from distbench.worker.computing import Computing
from distbench.worker.graph_facts import GraphFacts, facts_of, tensors_of_grouped_ops
from distbench.worker.network import Network
from distbench.worker.phases import PhaseLadder
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica

tf = pytest.importorskip("tensorflow")


def facts(name: str, xla: str = "off", configuration: str = "A", **how: Any) -> GraphFacts:
    table = vgg.build(configuration, 32, 10, 128, 0.25)
    network = Network(table, 2, 0, 0, computing=Computing(**how))
    ladder = PhaseLadder(network, None, Replica(network.parameters), xla=xla)
    return facts_of(ladder.build([name], Reduction(ranks=1))[name].function)


def test_what_runs_by_default() -> None:
    assert facts("forward_backward") == GraphFacts(
        product_types=frozenset({"float32"}),
        layouts=frozenset({"NHWC"}),
        stacked_products=0,
        loss_scales=frozenset(),
        wire_types=frozenset(),
        reduce_operations=frozenset(),
        single_allreduces=0,
        grouped_tensors=(),
        is_compiled_whole=False,
        is_compiled_in_part=False,
        is_fed=False,
    )


def test_precision_scale_layout_and_feeding_are_seen() -> None:
    found = facts(
        "forward_backward", precision="float16", loss_scale=64.0, layout="NCHW", is_fed=True
    )
    assert found.product_types == {"float16"}
    assert found.layouts == {"NCHW"}
    assert found.loss_scales == {64.0}
    assert found.is_fed
    assert facts("forward", precision="bfloat16").product_types == {"bfloat16"}
    assert facts("forward", configuration="A-LRN", layout="NCHW").layouts == {"NCHW"}


def test_winograds_products_are_seen() -> None:
    table = vgg.build("A", 32, 10, 64)
    network = Network(table, 4, 0, 0, computing=Computing(convolution="winograd"))
    ladder = PhaseLadder(network, None, Replica(network.parameters))
    phases = ladder.build(["forward", "forward_backward"], Reduction(ranks=1))
    assert [facts_of(phase.function).stacked_products for phase in phases.values()] == [1, 3]


def test_what_xla_compiles_is_seen() -> None:
    whole, part = facts("forward_backward", "compute"), facts("train_step", "compute")
    assert (whole.is_compiled_whole, part.is_compiled_whole) == (True, False)
    assert part.is_compiled_in_part
    assert facts("train_step", "all").is_compiled_whole


def test_horovods_ops_are_read_inside_of_functions_that_are_called() -> None:
    library = pytest.importorskip("horovod.tensorflow.mpi_ops").MPI_LIB
    tensors = [tf.zeros([2]), tf.zeros([3])]
    half = [tf.cast(one, tf.float16) for one in tensors]

    @tf.function
    def inner() -> Any:
        return library.horovod_grouped_allreduce(
            half, reduce_op=2, prescale_factor=1.0, postscale_factor=1.0
        )

    function = tf.function(
        lambda: (
            library.horovod_allreduce(
                tensors[0], reduce_op=0, prescale_factor=1.0, postscale_factor=1.0
            ),
            inner(),
        )
    ).get_concrete_function()
    found = facts_of(function)
    assert found.wire_types == {"float16", "float32"}
    assert found.reduce_operations == {0, 2}
    assert (found.single_allreduces, found.grouped_tensors) == (1, (2,))
    assert tensors_of_grouped_ops(function) == (2,)
    assert tensors_of_grouped_ops(None) == ()
