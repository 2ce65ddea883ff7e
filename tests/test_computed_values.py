from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distbench.errors import CorrectnessError
from distbench.worker import computed_values
from distbench.worker.computing import Computing
from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica
from tests.fakes import small_config
from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")


def test_the_real_phases_pass() -> None:
    network, _, phases = lone_phases(["forward", "forward_backward"])
    computed_values.check_forward(phases["forward"], network)
    difference = computed_values.check_gradients(phases["forward_backward"], network, "CPU")
    assert 0 <= difference < 1e-4


def test_a_function_that_returns_only_the_loss_is_refused() -> None:
    """The classic trap: TensorFlow prunes the whole backward pass of such a function."""
    network, _, phases = lone_phases(["forward_backward"])
    loss_only = dataclasses.replace(
        phases["forward_backward"],
        with_keep_prob=tf.function(lambda keep_prob: network.loss(tf.constant(keep_prob))),
    )
    with pytest.raises(CorrectnessError, match="returned 1 tensors where the 32 gradients"):
        computed_values.check_gradients(loss_only, network, "CPU")


def test_wrong_or_infinite_gradients_are_refused() -> None:
    network, _, phases = lone_phases(["forward_backward"])
    original = phases["forward_backward"]
    assert original.with_keep_prob is not None

    def changed(change: Callable[[list[Any]], list[Any]]) -> Phase:
        return dataclasses.replace(
            original,
            with_keep_prob=lambda keep_prob: change(list(original.with_keep_prob(keep_prob))),
        )

    slightly_off = changed(lambda out: [out[0] * 1.01, *out[1:]])
    with pytest.raises(CorrectnessError, match="differs from an eager computation"):
        computed_values.check_gradients(slightly_off, network, "CPU")
    infinite = changed(lambda out: [*out[:3], out[3] * np.inf, *out[4:]])
    with pytest.raises(CorrectnessError, match="NaN or an infinity in tensor 3"):
        computed_values.check_gradients(infinite, network, "CPU")


def test_a_gradient_may_rightly_be_zero() -> None:
    zero, one = tf.zeros([3]), tf.ones([3])
    assert computed_values._relative_difference(zero, zero) == 0.0
    assert computed_values._relative_difference(one, zero) == float("inf")
    assert computed_values._relative_difference(zero, one) == 1.0


def test_wrong_predictions_are_refused() -> None:
    network, _, phases = lone_phases(["forward"])
    right = phases["forward"].run
    wrong = dataclasses.replace(phases["forward"], run=lambda: (right() + 1) % 10)
    with pytest.raises(CorrectnessError, match="forward predicts other classes"):
        computed_values.check_forward(wrong, network)


def narrow(**how: Any) -> tuple[Network, Phase]:
    config = small_config(config="A")
    network = Network(config.network(), 2, 0, 0, computing=Computing(**how))
    ladder = PhaseLadder(network, None, Replica(network.parameters))
    name = "forward_backward"
    return network, ladder.build([name], Reduction(ranks=1))[name]


@pytest.mark.parametrize(
    "how", [{"precision": "bfloat16"}, {"precision": "float16", "loss_scale": 1024.0}]
)
def test_gradients_of_16_bits_point_where_those_of_float32_do(how: dict[str, Any]) -> None:
    network, phase = narrow(**how)
    assert 0 <= computed_values.check_gradients(phase, network, "CPU") < 0.5
    found = computed_values.check_against_float32(phase, network)
    assert found["cosine"] > 0.99
    assert found["least_cosine_of_a_tensor"] > 0.8
    assert found["ratio_of_norms"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "change",
    [
        lambda out: [one * 1024 for one in out],  # the loss scale left on
        lambda out: [-one for one in out],
        lambda out: [out[0] * 0, *out[1:]],  # a tensor that underflowed
        lambda out: [out[0], *[one * np.nan for one in out[1:]]],
    ],
)
def test_a_precision_that_computes_nonsense_is_found(
    change: Callable[[list[Any]], list[Any]],
) -> None:
    network, _, phases = lone_phases(["forward_backward"])
    right = phases["forward_backward"]
    assert right.with_keep_prob is not None
    wrong = dataclasses.replace(
        right, with_keep_prob=lambda keep_prob: change(list(right.with_keep_prob(keep_prob)))
    )
    assert computed_values.check_against_float32(right, network)["cosine"] > 0.9999
    with pytest.raises(CorrectnessError, match="whose cosine with those of float32 is"):
        computed_values.check_against_float32(wrong, network)


def test_a_loss_scale_that_overflows_is_named() -> None:
    network, phase = narrow(precision="float16", loss_scale=2.0**24)
    with pytest.raises(CorrectnessError, match=r"the loss scale of 1.67772e\+07 may be wrong"):
        computed_values.check_gradients(phase, network, "CPU")
    assert computed_values.advice(Computing()) == ""


def test_two_zeros_are_the_same_and_one_is_not() -> None:
    assert computed_values._cosine(0.0, 0.0, 0.0) == 1.0
    assert computed_values._cosine(0.0, 0.0, 2.0) == 0.0
    assert computed_values._cosine(-4.0, 4.0, 4.0) == -1.0
