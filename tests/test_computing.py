from __future__ import annotations

import numpy as np
import pytest

from distbench.config import Config
from distbench.worker.computing import BY_DEFAULT, Computing

tf = pytest.importorskip("tensorflow")


def test_the_settings_of_a_run() -> None:
    assert Computing.of(Config()) == BY_DEFAULT
    assert not BY_DEFAULT.is_narrow
    assert Computing.of(Config(precision="bfloat16")).loss_scale == 1.0
    assert Computing.of(Config(precision="float16")).loss_scale == 1024.0
    fed = Computing.of(Config(precision="float16", loss_scale=8, layout="NCHW", input="host"))
    assert fed == Computing("float16", 8.0, "NCHW", True)


def test_by_default_nothing_is_wrapped() -> None:
    variable, tensor = tf.Variable([1.0]), tf.constant([1.0])
    assert BY_DEFAULT.weight(variable) is variable
    assert BY_DEFAULT.entered(tensor) is tensor
    assert BY_DEFAULT.left(tensor) is tensor


@pytest.mark.parametrize(
    "how", [Computing("bfloat16"), Computing("float16"), Computing("float16", 4096.0)]
)
def test_gradients_come_back_in_float32_and_without_the_scale(how: Computing) -> None:
    weight = tf.Variable([0.5, -2.0])
    with tf.GradientTape() as tape:
        narrow = how.weight(weight) * how.entered(tf.constant([3.0, 4.0]))
        loss = tf.reduce_sum(how.left(narrow))
    assert narrow.dtype == how.precision
    assert loss.dtype == tf.float32
    gradient = tape.gradient(loss, weight)
    assert gradient.dtype == tf.float32
    np.testing.assert_array_equal(gradient.numpy(), [3.0, 4.0])
    assert float(loss) == -6.5


def test_a_scale_saves_gradients_that_float16_cannot_hold() -> None:
    def gradient(scale: float) -> float:
        weight, how = tf.Variable(1.0), Computing("float16", scale)
        with tf.GradientTape() as tape:
            loss = how.left(how.weight(weight)) * 1e-9
        return float(tape.gradient(loss, weight))

    assert gradient(1.0) == 0.0
    assert gradient(2.0**15) == pytest.approx(1e-9, rel=0.01)


def test_channels_go_and_come_back() -> None:
    images = tf.random.normal([2, 3, 5, 7])
    how = Computing(layout="NCHW")
    assert how.channels_last(images).shape == (2, 5, 7, 3)
    np.testing.assert_array_equal(how.channels_back(how.channels_last(images)), images)
    assert BY_DEFAULT.channels_last(images) is images


def test_the_share_of_dropout_has_the_type_of_the_activations() -> None:
    half = tf.zeros([2], tf.bfloat16)
    assert Computing("bfloat16").share(tf.constant(0.5), half).dtype == tf.bfloat16
    assert Computing("bfloat16").share(1.0, half) == 0.0
    assert BY_DEFAULT.share(tf.constant(0.25), tf.zeros([2])).dtype == tf.float32
