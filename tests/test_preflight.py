from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distbench.config import SELF_ALLREDUCE
from distbench.errors import CorrectnessError, MismatchError
from distbench.worker import preflight
from distbench.worker.executed_ops import ALLREDUCE_OP
from distbench.worker.mean_pattern import MeanPattern
from distbench.worker.members import Members
from distbench.worker.phases import Phase
from tests.fakes import FakeWorld, on_every_rank
from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")

SHAPES = [(3, 3, 2, 4), (4,), (1500, 2), (7,)]


def counting(executed: int) -> preflight.OpCounter:
    return lambda call: Counter({ALLREDUCE_OP: executed})


def phase(run: Callable[[], Any] = lambda: None, allreduces: int = 0, **more: Any) -> Phase:
    return Phase("a_phase", run, images_per_step=1, allreduces_per_step=allreduces, **more)


def test_the_expected_count_passes_and_any_other_fails() -> None:
    assert preflight.check_executed_allreduces(phase(allreduces=32), counting(32)) == 32
    for executed in (0, 31, 33):
        with pytest.raises(CorrectnessError, match=f"executed {executed} allreduces in a step"):
            preflight.check_executed_allreduces(phase(allreduces=32), counting(executed))


def allreduce_phase(reduce: Callable[[list[Any]], list[Any]]) -> Phase:
    """A phase whose `allreduce` is `reduce`."""
    inputs = [tf.Variable(tf.ones(shape)) for shape in SHAPES]
    return phase(lambda: reduce([one.read_value() for one in inputs]), inputs=inputs)


def exact_allreduce(size: int) -> Callable[[Any], Any]:
    """What the mean of every rank's pattern is, summed in float32 as an allreduce does."""
    pattern = MeanPattern(size)

    def reduce(inputs: Any) -> Any:
        outputs = []
        for index, one in enumerate(inputs):
            total = tf.add_n([pattern.sent(rank, index, one.shape) for rank in range(size)])
            outputs.append(total * np.float32(1 / size))
        return outputs

    return reduce


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7, 8, 33, 64, 100])
def test_the_mean_of_the_pattern_is_exact_at_any_size(size: int) -> None:
    for rank in (0, size - 1):
        checked = allreduce_phase(exact_allreduce(size))
        preflight.check_allreduce_mean(checked, SHAPES, size, rank)


def spoilt(change: Callable[[list[Any]], list[Any]]) -> Phase:
    reduce = exact_allreduce(4)
    return allreduce_phase(lambda inputs: change(reduce(inputs)))


@pytest.mark.parametrize(
    "change",
    [
        lambda out: [*out[:-1], out[-1] * 0],  # a tensor that was left out
        lambda out: [out[0] + 2.0**-20, *out[1:]],  # hardly wrong
        lambda out: [out[0], out[3][:4], *out[2:]],  # swapped
        lambda out: [*out[:2], tf.roll(out[2], 1, axis=0), out[3]],  # shifted
        lambda out: [out[0] * np.nan, *out[1:]],
        lambda out: out[:-1],
    ],
)
def test_a_wrong_mean_is_found(change: Callable[[list[Any]], list[Any]]) -> None:
    with pytest.raises(CorrectnessError):
        preflight.check_allreduce_mean(spoilt(change), SHAPES, 4, 0)


def test_an_allreduce_that_only_returns_its_input_is_found() -> None:
    lazy = allreduce_phase(list)
    with pytest.raises(CorrectnessError, match="off by"):
        preflight.check_allreduce_mean(lazy, SHAPES, 4, 1)


def test_the_inputs_hold_the_gradients_again_afterwards() -> None:
    checked = allreduce_phase(exact_allreduce(2))
    preflight.check_allreduce_mean(checked, SHAPES, 2, 0)
    assert all(bool(tf.reduce_all(one == 1.0)) for one in checked.inputs)


def test_a_mean_without_one_rank_is_found_at_odd_sizes() -> None:
    with pytest.raises(CorrectnessError):
        preflight.check_allreduce_mean(allreduce_phase(exact_allreduce(6)), SHAPES, 7, 0)


def test_the_real_phases_pass() -> None:
    network, _, phases = lone_phases(["forward", "forward_backward"])
    preflight.check_forward(phases["forward"], network)
    difference = preflight.check_gradients(phases["forward_backward"], network, "CPU")
    assert 0 <= difference < 1e-4


def test_a_function_that_returns_only_the_loss_is_refused() -> None:
    """The classic trap: TensorFlow prunes the whole backward pass of such a function."""
    network, _, phases = lone_phases(["forward_backward"])
    loss_only = dataclasses.replace(
        phases["forward_backward"],
        with_keep_prob=tf.function(lambda keep_prob: network.loss(tf.constant(keep_prob))),
    )
    with pytest.raises(CorrectnessError, match="returned 1 tensors where the 32 gradients"):
        preflight.check_gradients(loss_only, network, "CPU")


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
        preflight.check_gradients(slightly_off, network, "CPU")
    infinite = changed(lambda out: [*out[:3], out[3] * np.inf, *out[4:]])
    with pytest.raises(CorrectnessError, match="NaN or an infinity in tensor 3"):
        preflight.check_gradients(infinite, network, "CPU")


def test_a_gradient_may_rightly_be_zero() -> None:
    zero, one = tf.zeros([3]), tf.ones([3])
    assert preflight._relative_difference(zero, zero) == 0.0
    assert preflight._relative_difference(one, zero) == float("inf")
    assert preflight._relative_difference(zero, one) == 1.0


def test_wrong_predictions_are_refused() -> None:
    network, _, phases = lone_phases(["forward"])
    right = phases["forward"].run
    wrong = dataclasses.replace(phases["forward"], run=lambda: (right() + 1) % 10)
    with pytest.raises(CorrectnessError, match="forward predicts other classes"):
        preflight.check_forward(wrong, network)


def test_ranks_must_hold_the_same_bits() -> None:
    def body(world: FakeWorld, difference: float) -> str:
        tensor = tf.constant([1.0, 2.0 + difference * world.rank])
        return preflight.check_same_bits("it", [tensor], Members(world, range(world.size)))

    first, second = on_every_rank(2, lambda world: body(world, 0.0))
    assert first == second
    found = on_every_rank(2, lambda world: body(world, 2.0**-22))
    assert [type(error) for error in found] == [CorrectnessError] * 2
    assert "it differs between rank 0 and rank 1" in found[1].sentence


def test_ranks_must_hold_the_same_configuration() -> None:
    def body(world: FakeWorld) -> None:
        identity = {"config.batch_size": 8 + (world.rank == 2), "version of python": "3.11"}
        preflight.check_same_everywhere(world, identity)

    found = on_every_rank(3, body)
    assert [type(error) for error in found] == [MismatchError] * 3
    assert "rank 2 has config.batch_size = 9, rank 0 has 8" in found[0].sentence
    assert found[0].exit_code == 3


NAMES = ["forward", "forward_backward", "allreduce", "forward_backward_allreduce", "train_step"]


def test_a_whole_preflight_on_one_rank() -> None:
    network, _, phases = lone_phases(NAMES)
    shapes = network.vgg.parameter_shapes
    members = Members(FakeWorld(0, 1), [0])
    for name in ("forward", "forward_backward"):
        found = preflight.prove_computing(name, phases[name], network, members, "CPU")
    assert found is not None
    assert found < 1e-4
    proof = preflight.prove_phases(phases, NAMES, shapes, members, counting(0))
    assert proof["executed_allreduces"] == dict.fromkeys(NAMES, 0)
    assert set(proof["reduced_gradients_digest"]) == {"forward_backward_allreduce", "train_step"}
    final = preflight.prove_after_timing(phases, NAMES, shapes, members)
    assert set(final) == {"reduced_gradients_digest"}


def test_a_rank_outside_of_the_group_only_has_to_be_there() -> None:
    network, _, phases = lone_phases(NAMES)
    shapes = network.vgg.parameter_shapes

    def body(world: FakeWorld) -> Any:
        members = Members(world, [1])
        own = phases if world.rank == 1 else {}
        preflight.prove_computing("forward", own.get("forward"), network, members, "CPU")
        found = preflight.prove_phases(own, NAMES, shapes, members, counting(0))
        preflight.prove_parameters(network.parameters, shapes, members)
        preflight.prove_after_timing(own, NAMES, shapes, members)
        return found

    outside, inside = on_every_rank(2, body)
    assert inside["executed_allreduces"] == dict.fromkeys(NAMES, 0)
    assert outside["executed_allreduces"] == dict.fromkeys(NAMES, None)
    assert outside["reduced_gradients_digest"] == inside["reduced_gradients_digest"]


def test_a_control_that_communicates_is_refused() -> None:
    network, _, phases = lone_phases(["forward_backward", "train_step"])
    shapes = network.vgg.parameter_shapes
    members = Members(FakeWorld(0, 1), [0])
    names = list(phases)
    found = preflight.prove_uncoupled(phases, names, shapes, members, counting(0))
    assert found == {"executed_allreduces": {"train_step": 0}}
    with pytest.raises(CorrectnessError, match="train_step executed 32 allreduces in a step"):
        preflight.prove_uncoupled(phases, names, shapes, members, counting(32))


def test_a_rank_that_reduces_with_itself_must_do_so() -> None:
    network, _, phases = lone_phases(["forward_backward"])
    shapes = network.vgg.parameter_shapes
    members = Members(FakeWorld(0, 1), [0])
    own = {SELF_ALLREDUCE: dataclasses.replace(phases["forward_backward"], allreduces_per_step=32)}
    found = preflight.prove_uncoupled(own, [SELF_ALLREDUCE], shapes, members, counting(32))
    assert found == {"executed_allreduces": {SELF_ALLREDUCE: 32}}
    with pytest.raises(CorrectnessError, match="executed 0 allreduces in a step instead of 32"):
        preflight.prove_uncoupled(own, [SELF_ALLREDUCE], shapes, members, counting(0))


def test_weights_that_ran_away_are_found_after_the_timing() -> None:
    network, _, _ = lone_phases(["forward_backward"])
    network.parameters[3].assign(network.parameters[3] * np.nan)
    with pytest.raises(
        CorrectnessError, match="the network holds a NaN or an infinity in tensor 3"
    ):
        preflight.prove_finite(
            network.parameters, network.vgg.parameter_shapes, Members(FakeWorld(0, 1), [0])
        )
