from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from distbench import vgg
from distbench.worker.computing import Computing
from distbench.worker.network import Network

tf = pytest.importorskip("tensorflow")

SMALL = {"image_size": 32, "classes": 10, "fc_units": 128, "width_multiplier": 0.25}


def small_network(configuration: str = "D", rank: int = 0, **changes: Any) -> Network:
    return Network(
        vgg.build(configuration, **{**SMALL, **changes}), batch_size=2, seed=0, rank=rank
    )


def one() -> Any:
    return tf.constant(1.0)


@pytest.mark.parametrize("configuration", vgg.CONFIGURATIONS)
def test_the_graph_has_what_the_table_says(configuration: str) -> None:
    network = small_network(configuration)
    shapes = [tuple(parameter.shape) for parameter in network.parameters]
    assert shapes == list(network.vgg.parameter_shapes)
    assert sum(math.prod(shape) for shape in shapes) == network.vgg.parameter_count
    assert (
        sum(parameter.numpy().nbytes for parameter in network.parameters) == network.vgg.grad_bytes
    )
    assert network.outputs(one()).softmax.shape == (2, 10)


@pytest.mark.parametrize("configuration", vgg.CONFIGURATIONS)
def test_the_graphs_flops_are_those_of_the_table(configuration: str) -> None:
    """TensorFlow's own count of the built graph's convolutions and matrix products."""
    from tensorflow.python.profiler import model_analyzer, option_builder

    network = small_network(configuration)
    function = tf.function(network.outputs).get_concrete_function(tf.TensorSpec([], tf.float32))
    options = option_builder.ProfileOptionBuilder(
        option_builder.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    counted = {"Conv2D": 0, "MatMul": 0}
    profile = model_analyzer.profile(function.graph, options=options.build(), op_log=None)
    for node in _leaves(profile):
        if node.name.startswith(("conv", "fc")):
            kind = "MatMul" if node.name.startswith("fc") else "Conv2D"
            counted[kind] += node.float_ops
    assert sum(counted.values()) == 2 * network.vgg.forward_flops  # two images


def _leaves(node: Any) -> list[Any]:
    return [node, *(leaf for child in node.children for leaf in _leaves(child))]


@pytest.mark.parametrize(("configuration", "keras_name"), [("D", "VGG16"), ("E", "VGG19")])
def test_equal_weights_give_the_outputs_of_keras(configuration: str, keras_name: str) -> None:
    import keras

    network = Network(vgg.build(configuration), batch_size=1, seed=3, rank=0)
    model = getattr(keras.applications, keras_name)(weights=None)
    model.set_weights([parameter.numpy() for parameter in network.parameters])
    expected = model(network.images, training=False).numpy()
    found = network.outputs(one())
    np.testing.assert_allclose(found.softmax.numpy(), expected, rtol=1e-4)
    assert found.predictions.numpy().tolist() == expected.argmax(axis=1).tolist()
    assert np.ptp(np.log(expected)) > 0.01  # the outputs differ between classes


def test_kernels_are_glorot_uniform_and_biases_constant() -> None:
    network = Network(vgg.build("A", 32, 1000, 1024), batch_size=1, seed=0, rank=0)
    for layer, kernel, bias in zip(
        network.vgg.weight_layers, network.parameters[::2], network.parameters[1::2]
    ):
        window = layer.kernel_side**2 if isinstance(layer, vgg.Convolution) else 1
        limit = math.sqrt(6 / (window * (layer.inputs + layer.outputs)))
        values = kernel.numpy()
        assert np.abs(values).max() <= limit * (1 + 1e-6)
        assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert set(np.unique(bias.numpy())) == {
            np.float32(0.0 if isinstance(layer, vgg.Convolution) else 0.1)
        }


def test_images_are_noise_and_differ_between_ranks_while_weights_do_not() -> None:
    first, second = small_network(rank=0), small_network(rank=1)
    assert first.images.numpy().std() == pytest.approx(0.1, rel=0.05)
    assert not np.array_equal(first.images.numpy(), second.images.numpy())
    for left, right in zip(first.parameters, second.parameters):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_local_response_normalisation_is_the_papers() -> None:
    """Against the formula x / (2 + 1e-4 Σ x²)^0.75 over five neighbouring channels, in numpy."""
    from distbench.worker.network import _normalise

    x = np.random.default_rng(0).normal(size=(1, 2, 2, 8)).astype(np.float32) * 50
    squares = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    sums = sum(squares[..., shift : shift + 8] for shift in range(5))
    expected = x / (2.0 + 1e-4 * sums) ** 0.75
    found = _normalise(vgg.LocalResponseNormalisation("lrn1"), tf.constant(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_the_relu_head_has_no_negative_logits_and_the_linear_one_has() -> None:
    assert small_network(head="relu", classes=200).outputs(one()).fc8.numpy().min() >= 0
    assert small_network(head="linear", classes=200).outputs(one()).fc8.numpy().min() < 0


def test_keep_prob_turns_dropout_on() -> None:
    network = small_network()
    without = [network.outputs(one()).fc8.numpy() for _ in range(2)]
    dropped = [network.outputs(tf.constant(0.5)).fc8.numpy() for _ in range(2)]
    np.testing.assert_array_equal(without[0], without[1])
    assert not np.array_equal(dropped[0], dropped[1])


def test_loss_is_half_the_sum_of_squares() -> None:
    network = small_network()
    logits = network.outputs(one()).fc8.numpy()
    assert float(network.loss(one())) == pytest.approx((logits**2).sum() / 2, rel=1e-5)


def test_every_layout_and_precision_computes_the_same_network() -> None:
    """In the layout of GPUs a CPU can only build the graph, and its own optimizer makes it run."""
    right = small_network("A-LRN").outputs(one()).fc8.numpy()
    for how in (Computing(layout="NCHW"), Computing("bfloat16"), Computing("bfloat16", 1, "NCHW")):
        table = vgg.build("A-LRN", **SMALL)  # type: ignore[arg-type]
        network = Network(table, 2, 0, 0, computing=how)
        assert network.images.shape == ((2, 3, 32, 32) if how.layout == "NCHW" else (2, 32, 32, 3))
        fc8 = tf.function(network.outputs)(one()).fc8
        assert fc8.dtype == tf.float32
        error = np.linalg.norm(fc8.numpy() - right) / np.linalg.norm(right)
        assert error < (0.1 if how.is_narrow else 1e-4)
        assert network.in_float32().computing == how._replace(precision="float32")
