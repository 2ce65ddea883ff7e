"""What a compiled function's graph says of the settings it was built with.

The graph is what TensorFlow was asked for. What it makes of that on a device, such as transposing to
the layout that a library prefers, is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from distbench.worker.computing import LOSS_SCALE_OP
from distbench.worker.executed_ops import ALLREDUCE_OP, GROUPED_ALLREDUCE_OP

CONVOLUTION_OPS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
STACKED_PRODUCT_OPS = ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")  # Winograd's alone
IMAGE_DIMENSIONS = 4


class GraphFacts(NamedTuple):
    """What is found in one graph; a set is empty where the graph holds no such op."""

    product_types: frozenset[str]  # of the convolutions
    layouts: frozenset[str]
    stacked_products: int  # Winograd's: one of a convolution, and one of each gradient of it
    loss_scales: frozenset[float]
    wire_types: frozenset[str]  # of what Horovod reduces
    reduce_operations: frozenset[int]  # as Horovod numbers them
    single_allreduces: int
    grouped_tensors: tuple[int, ...]  # how many tensors each grouped op reduces
    is_compiled_whole: bool  # by XLA
    is_compiled_in_part: bool
    is_fed: bool


def facts_of(function: Any) -> GraphFacts:
    """Reads the graph of a concrete function, with the functions that it calls."""
    import tensorflow as tf

    definition = function.graph.as_graph_def()
    nodes = list(_nodes(definition))
    convolutions = [node for node in nodes if node.op in CONVOLUTION_OPS]
    reducing = [node for node in nodes if node.op in (ALLREDUCE_OP, GROUPED_ALLREDUCE_OP)]
    scales = [node for node in nodes if node.op == "Const" and _is_loss_scale(node.name)]
    return GraphFacts(
        product_types=frozenset(_type_name(node) for node in convolutions),
        layouts=frozenset(node.attr["data_format"].s.decode() for node in convolutions),
        stacked_products=sum(node.op in STACKED_PRODUCT_OPS for node in nodes),
        loss_scales=frozenset(float(tf.make_ndarray(node.attr["value"].tensor)) for node in scales),
        wire_types=frozenset(_type_name(node) for node in reducing),
        reduce_operations=frozenset(int(node.attr["reduce_op"].i) for node in reducing),
        single_allreduces=sum(node.op == ALLREDUCE_OP for node in reducing),
        grouped_tensors=_grouped(nodes),
        is_compiled_whole=_must_compile(function.function_def),
        is_compiled_in_part=any(map(_must_compile, definition.library.function)),
        is_fed=any(len(spec.shape) == IMAGE_DIMENSIONS for spec in _given(function)),
    )


def tensors_of_grouped_ops(function: Any) -> tuple[int, ...]:
    """How many tensors each grouped allreduce of a function's graph reduces; nothing for no function."""
    return () if function is None else _grouped(list(_nodes(function.graph.as_graph_def())))


def _grouped(nodes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(
        int(node.attr["num_tensors"].i) for node in nodes if node.op == GROUPED_ALLREDUCE_OP
    )


def _nodes(definition: Any) -> Iterator[Any]:
    yield from definition.node
    for called in definition.library.function:
        yield from called.node_def


def _type_name(node: Any) -> str:
    import tensorflow as tf

    return str(tf.dtypes.as_dtype(node.attr["T"].type).name)


def _is_loss_scale(name: str) -> bool:
    """TensorFlow numbers the second op of a name: loss_scale_1."""
    return name.rpartition("/")[2].rstrip("0123456789").rstrip("_") == LOSS_SCALE_OP


def _must_compile(function_definition: Any) -> bool:
    return bool(function_definition.attr["_XlaMustCompile"].b)


def _given(function: Any) -> list[Any]:
    """What the caller hands over; variables are captured, and not among it."""
    captured = len(function.captured_inputs)
    return list(function.inputs[: len(function.inputs) - captured])
