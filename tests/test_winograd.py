"""Against TensorFlow's own convolution and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distbench import vgg
from distbench.worker import winograd
from distbench.worker.computed_values import check_gradients
from distbench.worker.computing import Computing
from distbench.worker.network import Network
from distbench.worker.phases import PhaseLadder
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica

tf = pytest.importorskip("tensorflow")

# Rounding differs by 2e-6 to 5e-6; one pixel that is wrong, by 1e-2 and more.
TOLERANCE = 2e-5


def drawn(*shape: int, seed: int = 0) -> Any:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def of_library(images: Any, kernel: Any) -> Any:
    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME")


def outputs_and_gradients(convolve: Any, images: Any, kernel: Any, weights: Any) -> list[Any]:
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        outputs = convolve(images, kernel)
        loss = tf.reduce_sum(outputs * weights)
    return [outputs, *tape.gradient(loss, [images, kernel])]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 12), (7, 7), (14, 14), (5, 6), (1, 3)])
@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_the_librarys_convolution(height: int, width: int, compiled: bool) -> None:
    """Whole tiles, and tiles that stand over the image in one way or both."""
    images, kernel = drawn(3, height, width, 5), drawn(3, 3, 5, 7, seed=1)
    weights = drawn(3, height, width, 7, seed=2)
    run = tf.function(outputs_and_gradients) if compiled else outputs_and_gradients
    found = run(winograd.convolve, images, kernel, weights)
    for one, other in zip(found, run(of_library, images, kernel, weights)):
        assert one.shape == other.shape
        assert float(tf.norm(one - other) / tf.norm(other)) < TOLERANCE


def test_a_kernels_gradient_alone_is_right() -> None:
    kernel = tf.Variable(drawn(3, 3, 4, 4))

    @tf.function
    def gradient(images: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(winograd.convolve(images, kernel))
        return tape.gradient(loss, kernel)

    images = drawn(2, 8, 8, 4)
    wanted = outputs_and_gradients(of_library, images, kernel.read_value(), tf.ones([2, 8, 8, 4]))[
        2
    ]
    np.testing.assert_allclose(gradient(images), wanted, rtol=1e-4, atol=1e-4)


def wide_network(convolution: str) -> Network:
    """A network with layers that Winograd's algorithm serves, small enough for a test."""
    table = vgg.build("A", 32, 10, 64)
    return Network(table, 4, 0, 0, computing=Computing(convolution=convolution))


def test_a_networks_gradients_are_proven_by_the_library() -> None:
    network = wide_network("winograd")
    ladder = PhaseLadder(network, None, Replica(network.parameters))
    phases = ladder.build(["forward", "forward_backward"], Reduction(ranks=1))
    assert check_gradients(phases["forward_backward"], network, "CPU") < 0.02


def test_the_names_of_the_layers_are_kept() -> None:
    function = tf.function(wide_network("winograd").outputs).get_concrete_function(1.0)
    operations = function.graph.get_operations()
    stacked = [one.name for one in operations if one.type == "BatchMatMulV2"]
    assert [name.partition("/")[0] for name in stacked] == ["conv2_1"]
